"""Splits instructions so that no split holds a near duplicate of another's.

Rows whose questions or answers are near-duplicates form a group, and a group goes to one split. The shares
are lamp-mini's, nearly: 40 % to tune the LoRA on, 30 % for the matching network to learn from (RL's
instructions are not those the LoRA was tuned on), 15 % each for dev and test.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from personakit.data.instructions.leaks import question, telling_answer
from personakit.data.near_duplicates import NearDuplicates
from personakit.records import Instruction

SPLITS = ("lora", "train", "dev", "test")
SHARES = {"lora": 0.4, "train": 0.3, "dev": 0.15, "test": 0.15}


def split_instructions(rows: Sequence[Instruction], seed: int) -> tuple[dict[str, list[Instruction]], int]:
    """Return the rows of each split in their order, and how many hang together with an earlier row.

    Equal rows and seed give equal splits.
    """
    groups, joined = _groups(rows)
    order = random.Random(f"split instructions {seed}").sample(groups, len(groups))
    wanted = {split: share * len(rows) for split, share in SHARES.items()}
    filled = dict.fromkeys(SPLITS, 0)
    chosen: dict[int, str] = {}
    for group in sorted(order, key=len, reverse=True):  # large ones first, or a share would be overrun
        split = max(SPLITS, key=lambda name: wanted[name] - filled[name])
        filled[split] += len(group)
        chosen.update(dict.fromkeys(group, split))
    splits: dict[str, list[Instruction]] = {split: [] for split in SPLITS}
    for place, row in enumerate(rows):
        splits[chosen[place]].append(row)
    return splits, joined


def _groups(rows: Sequence[Instruction]) -> tuple[list[list[int]], int]:
    """Return the places of each group's rows, and how many rows belong to an earlier row's group."""
    from scipy.sparse import coo_array  # type: ignore[import-untyped]
    from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]

    questions = NearDuplicates([question(row) for row in rows])
    answers = NearDuplicates([row.output for row in rows])
    pairs: list[tuple[int, int]] = []
    joined = 0
    for place, row in enumerate(rows):
        found = questions.of(question(row))
        if telling_answer(row):
            found |= answers.of(row.output)
        earlier = [(place, other) for other in found if other < place]
        joined += bool(earlier)
        pairs += earlier
    places = tuple(zip(*pairs, strict=True)) or ((), ())
    edges = coo_array(([1] * len(pairs), places), shape=(len(rows), len(rows)))
    _, labels = connected_components(edges, directed=False)
    groups: dict[int, list[int]] = {}
    for place, label in enumerate(labels.tolist()):
        groups.setdefault(label, []).append(place)
    return list(groups.values()), joined
