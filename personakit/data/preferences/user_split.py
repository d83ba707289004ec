"""From people to users: each one's signals and held-out pairs, and the split they are in.

Users are split, not pairs. Where a format names no users (AlignX), two rows with the same prompt may be
the same person's, so made users who share a held-out prompt go to the same split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from personakit.data.preferences.corpus import Corpus, CorpusPair, Person
from personakit.data.preferences.divide import cluster, divide
from personakit.data.preferences.rows import (
    AMONG_SIGNALS,
    NO_PAIRS,
    NO_SIGNALS,
    ONE_PAIR,
    ONE_TEXT,
    Skips,
)
from personakit.data.splitting import SPLITS, split_users


@dataclass(frozen=True, slots=True)
class MadeUser:
    """A user to be written: which pairs, and the rows whose comments, about and items are theirs."""

    user: str
    persona: str | None
    signals: Sequence[CorpusPair]
    pairs: Sequence[CorpusPair]
    rows: Sequence[int]


def split_people(
    corpus: Corpus, skips: Skips, *, divided: bool, seed: int
) -> Mapping[str, Sequence[MadeUser]]:
    """Return the users of each split; the same for the same rows and seed."""
    made = [
        user
        for person in corpus.people()
        if (user := _user(person, corpus, skips, divided=divided, seed=seed)) is not None
    ]
    if corpus.made_users:
        together = [
            str(each) for each in cluster([[pair.key.prompt for pair in user.pairs] for user in made])
        ]
    else:
        together = [user.user for user in made]
    split_of = split_users(together, seed)
    splits: dict[str, list[MadeUser]] = {split: [] for split in SPLITS}
    for user, group in zip(made, together, strict=True):
        splits[split_of[group]].append(user)
    return splits


def _user(person: Person, corpus: Corpus, skips: Skips, *, divided: bool, seed: int) -> MadeUser | None:
    signals, pairs = person.signals, person.pairs
    if not divided and not person.others:
        random = Random(f"divide {seed} {person.user}")
        first, second = divide([pair.key for pair in pairs], random)
        if not first and pairs:
            _skip(pairs, ONE_PAIR if len(pairs) == 1 else ONE_TEXT, corpus, skips)
            return None
        signals, pairs = [pairs[place] for place in first], [pairs[place] for place in second]
    told = {text for pair in signals for text in pair.key}
    overlapping = [pair for pair in pairs if not told.isdisjoint(pair.key)]
    _skip(overlapping, AMONG_SIGNALS, corpus, skips)
    pairs = [pair for pair in pairs if told.isdisjoint(pair.key)]
    if not pairs or not (signals or person.others):
        _skip(pairs, NO_SIGNALS, corpus, skips)
        _skip(signals, NO_PAIRS, corpus, skips)
        return None
    return MadeUser(person.user, person.persona, signals, pairs, person.rows)


def _skip(pairs: Sequence[CorpusPair], reason: str, corpus: Corpus, skips: Skips) -> None:
    if pairs:
        skips.add(reason, corpus.place(pairs[0]), len(pairs))
