"""Splits instructions so that near duplicates never end up in different splits.

Rows with near-duplicate questions or answers form a group, and each group goes to one split. The shares are
close to lamp-mini's: 40 % to tune the LoRA, 30 % to train the matching network (RL uses other instructions
than the LoRA), 15 % each for dev and test.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from personakit.data.disjoint_sets import DisjointSets
from personakit.data.instructions.leaks import has_comparable_answer, question
from personakit.data.near_duplicates import NearDuplicates
from personakit.records import Instruction

SPLITS = ("lora", "train", "dev", "test")
SHARES = {"lora": 0.4, "train": 0.3, "dev": 0.15, "test": 0.15}


def split_instructions(rows: Sequence[Instruction], seed: int) -> tuple[dict[str, list[Instruction]], int]:
    """Return the rows of each split in their order, and the number of near duplicates of earlier rows.

    The result depends only on rows and seed.
    """
    groups, near_duplicates = _groups(rows)
    order = random.Random(f"split instructions {seed}").sample(groups, len(groups))
    target_sizes = {split: share * len(rows) for split, share in SHARES.items()}
    sizes = dict.fromkeys(SPLITS, 0)
    split_of: dict[int, str] = {}
    for group in sorted(order, key=len, reverse=True):  # large groups first, so that shares are met
        split = max(SPLITS, key=lambda name: target_sizes[name] - sizes[name])
        sizes[split] += len(group)
        split_of.update(dict.fromkeys(group, split))
    splits: dict[str, list[Instruction]] = {split: [] for split in SPLITS}
    for index, row in enumerate(rows):
        splits[split_of[index]].append(row)
    return splits, near_duplicates


def _groups(rows: Sequence[Instruction]) -> tuple[list[list[int]], int]:
    sets = DisjointSets(len(rows))
    questions = NearDuplicates([question(row) for row in rows])
    answers = NearDuplicates([row.output for row in rows])
    near_duplicates = 0
    for index, row in enumerate(rows):
        similar = questions.of(question(row))
        if has_comparable_answer(row):
            similar |= answers.of(row.output)
        earlier = [other for other in similar if other < index]
        near_duplicates += bool(earlier)
        for other in earlier:
            sets.union(index, other)
    groups: dict[int, list[int]] = {}
    for index, label in enumerate(sets.labels()):
        groups.setdefault(label, []).append(index)
    return list(groups.values()), near_duplicates
