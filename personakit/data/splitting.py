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
    """The examples of each split, and how many rows, items or users were dropped, by reason."""

    splits: Mapping[str, Sequence[Example]]
    dropped: Mapping[str, int] = field(default_factory=dict)


def split_users(user_ids: Iterable[str], seed: int | str) -> dict[str, str]:
    """Return the split of each user: 15 % test, 15 % dev, the rest train; the same for equal ids and seed.

    From three users on every split has at least one.
    """
    users: Sequence[str] = sorted(set(user_ids))
    order = random.Random(f"split {seed}").sample(users, len(users))
    test = max(round(TEST_SHARE * len(order)), len(order) >= 2)
    dev = max(round(DEV_SHARE * len(order)), len(order) >= 3)
    return {
        user: "test" if place < test else "dev" if place < test + dev else "train"
        for place, user in enumerate(order)
    }
