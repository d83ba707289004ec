"""Users for files that know only a few personas: texts are split instead of users.

Two personas, or five levels, cannot be split by user. Their rows are draws from a pool of pairs (AlignX's
P-Soups file: 600 rows of 237 targets and 37 signal pairs), so each text is given to one split and, within
it, to the signals or to what is held out. In a split, every cluster of held-out pairs of a persona that
share a prompt or an answer is one user: figures over users are then figures over clusters, and no text is
counted twice. Its signals are drawn from the persona's signal pairs of that split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from random import Random

from personakit.data.preferences.corpus import Corpus, CorpusPair, Person
from personakit.data.preferences.divide import cluster, divide
from personakit.data.preferences.rows import AMONG_SIGNALS, CONTRADICTING, REPEATED, Skips
from personakit.data.preferences.user_split import MadeUser
from personakit.data.splitting import SPLITS, split_users

SIGNALS = 4
"""Signal pairs of a user: those of a P-Soups row, and FSPO's shots for ELIX and Review."""

NO_POOL = "held-out pairs of a persona without signal pairs in their split"
OTHERS = "rows whose comments, lines about the user or items belong to no user of a pool"


def split_texts(
    corpus: Corpus, skips: Skips, *, divided: bool, seed: int
) -> Mapping[str, Sequence[MadeUser]]:
    """Return the users of each split; the same for the same rows and seed."""
    personas = _personas(corpus, skips)
    pairs = [pair for person in personas for pair in (*person.signals, *person.pairs)]
    if divided:
        told = {text for pair in pairs if pair.signal for text in pair.key}
        both = [pair for pair in pairs if not pair.signal and not told.isdisjoint(pair.key)]
        if both:
            skips.add(AMONG_SIGNALS, corpus.place(both[0]), len(both))
        signals = [pair for pair in pairs if pair.signal]
        targets = [pair for pair in pairs if not pair.signal and told.isdisjoint(pair.key)]
    else:
        first, second = divide([pair.key for pair in pairs], Random(f"pool {seed}"))
        signals, targets = [pairs[place] for place in first], [pairs[place] for place in second]
    split_of = {pair: split for pair, _, split in _split(signals, f"{seed} signals")}
    pools: dict[tuple[str, str], list[CorpusPair]] = {}
    owner = {pair: person for person in personas for pair in (*person.signals, *person.pairs)}
    for pair in signals:
        pools.setdefault((owner[pair].user, split_of[pair]), []).append(pair)
    held: dict[tuple[str, str, int], list[CorpusPair]] = {}
    for pair, number, split in _split(targets, f"{seed} targets"):
        held.setdefault((owner[pair].user, split, number), []).append(pair)
    splits: dict[str, list[MadeUser]] = {split: [] for split in SPLITS}
    counts = Counter[tuple[str, str]]()
    for (name, split, _), of_cluster in held.items():
        pool = pools.get((name, split))
        if pool is None:
            skips.add(NO_POOL, corpus.place(of_cluster[0]), len(of_cluster))
            continue
        counts[name, split] += 1
        user = f"{name}/{split}-{counts[name, split]}"
        splits[split].append(
            MadeUser(user, owner[of_cluster[0]].persona, _draw(pool, user, seed), of_cluster, ())
        )
    return splits


def _split(pairs: Sequence[CorpusPair], seed: str) -> Iterator[tuple[CorpusPair, int, str]]:
    """Yield each pair with its cluster and the cluster's split."""
    clusters = cluster([pair.key for pair in pairs])
    split_of = split_users(map(str, clusters), seed)
    for pair, number in zip(pairs, clusters, strict=True):
        yield pair, number, split_of[str(number)]


def _draw(pool: Sequence[CorpusPair], user: str, seed: int) -> list[CorpusPair]:
    places = Random(f"signals {seed} {user}").sample(range(len(pool)), min(SIGNALS, len(pool)))
    return [pool[place] for place in sorted(places)]


def _personas(corpus: Corpus, skips: Skips) -> list[Person]:
    """The people of a corpus, those of one persona put together and named after their place."""
    by_persona: dict[str, Person] = {}
    seen: dict[str, set[tuple[int, ...]]] = {}
    for person in corpus.people():
        named = corpus.made_users and person.persona is not None
        label = person.persona if named else person.user
        assert label is not None
        name = f"persona-{len(by_persona) + 1}" if named else person.user
        whole = by_persona.setdefault(label, Person(name, person.persona, [], [], [], False))
        known = seen.setdefault(label, set())
        for side, pairs in ((whole.signals, person.signals), (whole.pairs, person.pairs)):
            for pair in pairs:
                # A pair may be a signal in one row and a target in another: both are looked at.
                mark = (pair.signal, *pair.key)
                opposite = (pair.signal, *pair.key.reversed)
                if mark in known or opposite in known:
                    skips.add(REPEATED if mark in known else CONTRADICTING, corpus.place(pair))
                    continue
                known.add(mark)
                side.append(pair)
        others = [row for row in person.rows if corpus.has_others(row)]
        if others:
            skips.add(OTHERS, corpus.row_place(others[0]), len(others))
    return list(by_persona.values())
