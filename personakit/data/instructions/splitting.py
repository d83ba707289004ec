"""Splits instructions so that near duplicates never end up in different splits.

Rows with near-duplicate questions or answers form a group (`near_duplicates.py`), and each group goes to one
split. The shares are close to lamp-mini's: 40 % to tune the LoRA, 30 % to train the matching network (RL uses
other instructions than the LoRA), 15 % each for dev and test.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from personakit.data.disjoint_sets import DisjointSets
from personakit.data.instructions.leaks import ANSWER_WORDS
from personakit.data.instructions.near_duplicates import NearTexts, TextSketch
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
    questions, answers = NearTexts(), NearTexts()
    near_duplicates = 0
    for index, row in enumerate(rows):
        question, answer = TextSketch.of(f"{row.instruction} {row.input}"), TextSketch.of(row.output)
        like = questions.like(question)
        questions.add(index, question)
        if len(answer.words.split()) >= ANSWER_WORDS:
            like |= answers.like(answer)
            answers.add(index, answer)
        near_duplicates += bool(like)
        for other in like:
            sets.union(index, other)
    groups: dict[int, list[int]] = {}
    for index, label in enumerate(sets.labels()):
        groups.setdefault(label, []).append(index)
    return list(groups.values()), near_duplicates
