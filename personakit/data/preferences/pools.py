"""Splits data with only a few personas: by text instead of by user.

Two personas or five levels cannot be split by user. Their rows are draws from a pool of pairs (AlignX's
P-Soups file: 600 rows with 237 targets and 37 signal pairs), so each text is assigned to one split and,
within it, to the signals or the held-out pairs. In a split, every cluster of a persona's held-out pairs that
share a prompt or an answer becomes one user, so that means over users count every text once. The signals of
each such user are drawn from the persona's signal pairs in that split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from random import Random

from personakit.data.preferences.corpus import Corpus, CorpusPair, ImportedUser
from personakit.data.preferences.rows import AMONG_SIGNALS, CONTRADICTING, REPEATED
from personakit.data.preferences.signal_split import cluster, split_signals
from personakit.data.preferences.user_split import SplitUser
from personakit.data.skips import SkipCounts
from personakit.data.splitting import SPLITS, Fold, split_users

SIGNALS = 4
"""Signal pairs per user, as in a row of P-Soups and in FSPO's ELIX and Review."""

NO_POOL = "held-out pairs of a persona without signal pairs in their split"
OTHERS = "rows whose comments, lines about the user or items belong to no user of a pool"


def split_by_text(
    corpus: Corpus, skips: SkipCounts, *, has_signals: bool, seed: int, fold: Fold | None = None
) -> Mapping[str, Sequence[SplitUser]]:
    """Return the users of each split. The result depends only on rows, seed and fold (of texts)."""
    personas = _personas(corpus, skips)
    pairs = [pair for person in personas for pair in (*person.signals, *person.pairs)]
    if has_signals:
        signal_texts = {text for pair in pairs if pair.is_signal for text in pair.key}
        overlapping = [pair for pair in pairs if not pair.is_signal and not signal_texts.isdisjoint(pair.key)]
        if overlapping:
            skips.add(AMONG_SIGNALS, corpus.place(overlapping[0]), len(overlapping))
        signals = [pair for pair in pairs if pair.is_signal]
        targets = [pair for pair in pairs if not pair.is_signal and signal_texts.isdisjoint(pair.key)]
    else:
        signal_indices, target_indices = split_signals([pair.key for pair in pairs], Random(f"pool {seed}"))
        signals, targets = (
            [pairs[index] for index in signal_indices],
            [pairs[index] for index in target_indices],
        )
    split_of = {pair: split for pair, _, split in _split(signals, f"{seed} signals", fold)}
    pools: dict[tuple[str, str], list[CorpusPair]] = {}
    owner = {pair: person for person in personas for pair in (*person.signals, *person.pairs)}
    for pair in signals:
        pools.setdefault((owner[pair].user, split_of[pair]), []).append(pair)
    held_out: dict[tuple[str, str, int], list[CorpusPair]] = {}
    for pair, number, split in _split(targets, f"{seed} targets", fold):
        held_out.setdefault((owner[pair].user, split, number), []).append(pair)
    splits: dict[str, list[SplitUser]] = {split: [] for split in SPLITS}
    counts = Counter[tuple[str, str]]()
    for (name, split, _), cluster_pairs in held_out.items():
        pool = pools.get((name, split))
        if pool is None:
            skips.add(NO_POOL, corpus.place(cluster_pairs[0]), len(cluster_pairs))
            continue
        counts[name, split] += 1
        user = f"{name}/{split}-{counts[name, split]}"
        splits[split].append(
            SplitUser(user, owner[cluster_pairs[0]].persona, _draw(pool, user, seed), cluster_pairs, ())
        )
    return splits


def _split(
    pairs: Sequence[CorpusPair], seed: str, fold: Fold | None
) -> Iterator[tuple[CorpusPair, int, str]]:
    """Yield each pair with its cluster number and the cluster's split."""
    clusters = cluster([pair.key for pair in pairs])
    split_of = split_users(map(str, clusters), seed, fold=fold)
    for pair, number in zip(pairs, clusters, strict=True):
        yield pair, number, split_of[str(number)]


def _draw(pool: Sequence[CorpusPair], user: str, seed: int) -> list[CorpusPair]:
    indices = Random(f"signals {seed} {user}").sample(range(len(pool)), min(SIGNALS, len(pool)))
    return [pool[index] for index in sorted(indices)]


def _personas(corpus: Corpus, skips: SkipCounts) -> list[ImportedUser]:
    """Return one user per persona with the pairs of all its rows, named by order of appearance."""
    by_persona: dict[str, ImportedUser] = {}
    seen: dict[str, set[tuple[int, ...]]] = {}
    for person in corpus.users():
        merge_by_persona = corpus.derived_users and person.persona is not None
        label = person.persona if merge_by_persona else person.user
        assert label is not None
        name = f"persona-{len(by_persona) + 1}" if merge_by_persona else person.user
        merged = by_persona.setdefault(label, ImportedUser(name, person.persona, [], [], [], False))
        known = seen.setdefault(label, set())
        for side, pairs in ((merged.signals, person.signals), (merged.pairs, person.pairs)):
            for pair in pairs:
                # A pair may be a signal in one row and a target in another: keep both.
                signed_key = (pair.is_signal, *pair.key)
                signed_reverse = (pair.is_signal, *pair.key.reversed)
                if signed_key in known or signed_reverse in known:
                    skips.add(REPEATED if signed_key in known else CONTRADICTING, corpus.place(pair))
                    continue
                known.add(signed_key)
                side.append(pair)
        skipped_rows = [row for row in person.rows if corpus.has_other_signals(row)]
        if skipped_rows:
            skips.add(OTHERS, corpus.row_place(skipped_rows[0]), len(skipped_rows))
    return list(by_persona.values())
