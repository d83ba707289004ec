"""Assigns each user's signals and held-out pairs, and each user's split.

The split is by user. In a format without user ids (AlignX), two rows with the same prompt may belong to the
same person, so derived users that share a held-out prompt go to the same split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from personakit.data.preferences.corpus import Corpus, CorpusPair, ImportedUser
from personakit.data.preferences.rows import AMONG_SIGNALS, NO_PAIRS, NO_SIGNALS, ONE_PAIR, ONE_TEXT
from personakit.data.preferences.signal_split import cluster, split_signals
from personakit.data.skips import SkipCounts
from personakit.data.splitting import SPLITS, Fold, split_users


@dataclass(frozen=True, slots=True)
class SplitUser:
    """A user to write: their pairs, and the rows with their comments, demographic lines and items."""

    user: str
    persona: str | None
    signals: Sequence[CorpusPair]
    pairs: Sequence[CorpusPair]
    rows: Sequence[int]


def split_by_user(
    corpus: Corpus, skips: SkipCounts, *, has_signals: bool, seed: int, fold: Fold | None = None
) -> Mapping[str, Sequence[SplitUser]]:
    """Return the users of each split. The result depends only on rows, seed and fold."""
    assigned = [
        user
        for person in corpus.users()
        if (user := _user(person, corpus, skips, has_signals=has_signals, seed=seed)) is not None
    ]
    if corpus.derived_users:
        groups = [
            str(label) for label in cluster([[pair.key.prompt for pair in user.pairs] for user in assigned])
        ]
    else:
        groups = [user.user for user in assigned]
    split_of = split_users(groups, seed, fold=fold)
    splits: dict[str, list[SplitUser]] = {split: [] for split in SPLITS}
    for user, group in zip(assigned, groups, strict=True):
        splits[split_of[group]].append(user)
    return splits


def _user(
    person: ImportedUser, corpus: Corpus, skips: SkipCounts, *, has_signals: bool, seed: int
) -> SplitUser | None:
    signals, pairs = person.signals, person.pairs
    if not has_signals and not person.has_other_signals:
        random = Random(f"divide {seed} {person.user}")
        signal_indices, held_out_indices = split_signals([pair.key for pair in pairs], random)
        if not signal_indices and pairs:
            _skip(pairs, ONE_PAIR if len(pairs) == 1 else ONE_TEXT, corpus, skips)
            return None
        signals, pairs = (
            [pairs[index] for index in signal_indices],
            [pairs[index] for index in held_out_indices],
        )
    signal_texts = {text for pair in signals for text in pair.key}
    overlapping = [pair for pair in pairs if not signal_texts.isdisjoint(pair.key)]
    _skip(overlapping, AMONG_SIGNALS, corpus, skips)
    pairs = [pair for pair in pairs if signal_texts.isdisjoint(pair.key)]
    if not pairs or not (signals or person.has_other_signals):
        _skip(pairs, NO_SIGNALS, corpus, skips)
        _skip(signals, NO_PAIRS, corpus, skips)
        return None
    return SplitUser(person.user, person.persona, signals, pairs, person.rows)


def _skip(pairs: Sequence[CorpusPair], reason: str, corpus: Corpus, skips: SkipCounts) -> None:
    if pairs:
        skips.add(reason, corpus.place(pairs[0]), len(pairs))
