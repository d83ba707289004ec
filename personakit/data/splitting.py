"""Splits by user, from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from personakit.records import Example

SPLITS = ("train", "dev", "test")
DEV_SHARE = TEST_SHARE = 0.15


@dataclass(frozen=True, slots=True)
class SplitExamples:
    """The examples of each split, and counts of dropped rows, items or users by reason.

    `drawn` counts users whose query was drawn at random, for want of dates.
    """

    splits: Mapping[str, Sequence[Example]]
    dropped: Mapping[str, int] = field(default_factory=dict)
    drawn: int = 0


def split_users(user_ids: Iterable[str], seed: int | str) -> dict[str, str]:
    """Return each user's split: 15 % test, 15 % dev, the rest train. It depends only on ids and seed.

    With three users or more, no split is empty.
    """
    users: Sequence[str] = sorted(set(user_ids))
    order = random.Random(f"split {seed}").sample(users, len(users))
    test = max(round(TEST_SHARE * len(order)), len(order) >= 2)
    dev = max(round(DEV_SHARE * len(order)), len(order) >= 3)
    return {
        user: "test" if place < test else "dev" if place < test + dev else "train"
        for place, user in enumerate(order)
    }
