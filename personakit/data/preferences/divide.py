"""Divides pairs so that no prompt and no answer stands on two sides.

Pairs that share a prompt or an answer text form a cluster, and clusters are never parted. Texts are
compared without case, spacing and punctuation (`near_duplicates.normalized`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import NamedTuple

from personakit.data.near_duplicates import normalized
from personakit.data.preferences.rows import Texts

SIGNAL_SHARE = 0.6
"""Of a user's pairs, where the data does not divide them: lamp-mini's 6 of 10."""


class Key(NamedTuple):
    """What two equal pairs have in common: a number for each text, equal for equal texts."""

    prompt: int
    chosen: int
    rejected: int

    @property
    def reversed(self) -> Key:
        """The key of the same comparison with the opposite preference."""
        return Key(self.prompt, self.rejected, self.chosen)


def text_key(text: str) -> int:
    """Return a number that equal texts share within this process."""
    return hash(normalized(text))


def key_of(texts: Texts) -> Key:
    """Return the key of a pair."""
    return Key(*map(text_key, texts))


def cluster(keys: Sequence[Iterable[int]]) -> list[int]:
    """Return the number of each pair's cluster, counted in order of first appearance."""
    parents = list(range(len(keys)))
    owner: dict[int, int] = {}

    def root(place: int) -> int:
        while parents[place] != place:
            parents[place] = parents[parents[place]]
            place = parents[place]
        return place

    for place, key in enumerate(keys):
        for each in key:
            first, second = root(owner.setdefault(each, place)), root(place)
            parents[max(first, second)] = min(first, second)
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(place), len(numbers)) for place in range(len(keys))]


def divide(keys: Sequence[Key], random: Random, share: float = SIGNAL_SHARE) -> tuple[list[int], list[int]]:
    """Return which pairs are signals and which are held out, both in their order.

    Whole clusters are drawn until about `share` of the pairs are signals; each side has at least one
    cluster where there are two. A single cluster cannot be divided: both sides are then empty.
    """
    clusters = cluster(keys)
    count = max(clusters, default=-1) + 1
    if count < 2:
        return [], []
    sizes = [0] * count
    for each in clusters:
        sizes[each] += 1
    order = random.sample(range(count), count)
    chosen, pairs = {order[0]}, sizes[order[0]]
    for each in order[1:-1]:
        if pairs + sizes[each] / 2 <= share * len(keys):
            chosen.add(each)
            pairs += sizes[each]
    signals = [place for place, each in enumerate(clusters) if each in chosen]
    return signals, [place for place, each in enumerate(clusters) if each not in chosen]
