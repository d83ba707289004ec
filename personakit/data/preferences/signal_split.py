"""Splits pairs into signals and held-out pairs that share no prompt and no answer.

Pairs that share a prompt or an answer form a cluster, and clusters are never separated. Texts are compared
without case, spacing and punctuation (`near_duplicates.normalized`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import NamedTuple

from personakit.data.disjoint_sets import DisjointSets
from personakit.data.near_duplicates import normalized
from personakit.data.preferences.rows import PairTexts

SIGNAL_SHARE = 0.6
"""The share of a user's pairs that become signals if the data has no division (lamp-mini has 6 of 10)."""


class PairKey(NamedTuple):
    """A hash of each text of a pair. Equal pairs have equal keys."""

    prompt: int
    chosen: int
    rejected: int

    @property
    def reversed(self) -> PairKey:
        """The key of the same comparison with the opposite preference."""
        return PairKey(self.prompt, self.rejected, self.chosen)


def text_key(text: str) -> int:
    """Return a hash of a text without case, spacing and punctuation, valid in this process."""
    return hash(normalized(text))


def pair_key(texts: PairTexts) -> PairKey:
    """Return the key of a pair."""
    return PairKey(*map(text_key, texts))


def cluster(keys: Sequence[Iterable[int]]) -> list[int]:
    """Return each pair's cluster number, counted in order of first appearance."""
    sets = DisjointSets(len(keys))
    first_with: dict[int, int] = {}
    for index, key in enumerate(keys):
        for text in key:
            sets.union(index, first_with.setdefault(text, index))
    return sets.labels()


def split_signals(
    keys: Sequence[PairKey], random: Random, share: float = SIGNAL_SHARE
) -> tuple[list[int], list[int]]:
    """Return the indices of signals and of held-out pairs, both in order.

    Random whole clusters become signals until they hold about `share` of the pairs. If there are two clusters
    or more, each side gets at least one. A single cluster cannot be divided: both lists are then empty.
    """
    clusters = cluster(keys)
    count = max(clusters, default=-1) + 1
    if count < 2:
        return [], []
    sizes = [0] * count
    for label in clusters:
        sizes[label] += 1
    order = random.sample(range(count), count)
    chosen_clusters, chosen_pairs = {order[0]}, sizes[order[0]]
    for label in order[1:-1]:
        if chosen_pairs + sizes[label] / 2 <= share * len(keys):
            chosen_clusters.add(label)
            chosen_pairs += sizes[label]
    signals = [index for index, label in enumerate(clusters) if label in chosen_clusters]
    return signals, [index for index, label in enumerate(clusters) if label not in chosen_clusters]
