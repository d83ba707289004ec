"""Splits by user, from a seed; folds, for data with few users."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from personakit.errors import UserError
from personakit.records import Example

#: (k, n): the k-th of n parts, k from 1.
Fold = tuple[int, int]

SPLITS = ("train", "dev", "test")
DEV_SHARE = TEST_SHARE = 0.15


@dataclass(frozen=True, slots=True)
class SplitExamples:
    """The examples of each split, and counts of dropped rows, items or users by reason.

    `drawn` counts users whose query was drawn at random, for want of dates. `peers` maps query ids to what
    another user, of any split, answered to the same text.
    """

    splits: Mapping[str, Sequence[Example]]
    dropped: Mapping[str, int] = field(default_factory=dict)
    drawn: int = 0
    peers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """How users are split, and how many queries are made of them.

    `fold` (k, n) makes the k-th of n equal parts of the users the test users, k from 1 to n, instead of 15 %
    of them: with all n folds every user is tested once. Users with fewer than `min_items` items are in train,
    behind all others. A training user has at most `queries` queries, another one has one.
    """

    seed: int = 0
    fold: Fold | None = None
    min_items: int = 0
    queries: int = 1

    def split(self, items: Mapping[str, int]) -> dict[str, str]:
        """Return each user's split, from the numbers of items. Raises `UserError` where one is empty."""
        users = [user for user, count in items.items() if count >= self.min_items]
        if items and not users:
            most = max(items.values())
            raise UserError(
                f"no user has {self.min_items} items, the most are {most}",
                hint="ask for fewer items of a user",
            )
        return split_users(users, self.seed, fold=self.fold) | dict.fromkeys(
            items.keys() - set(users), "train"
        )


def parse_fold(text: str) -> Fold:
    """Return (k, n) of "k/n". Raises `UserError`."""
    part, _, count = text.partition("/")
    if not (part.isdecimal() and count.isdecimal() and 1 <= int(part) <= int(count) and int(count) >= 2):
        raise UserError(
            f'the fold is "{text}", expected K/N with K from 1 to N and N at least 2',
            hint="for example 1/5, the first of five folds",
        )
    return int(part), int(count)


def split_users(user_ids: Iterable[str], seed: int | str, *, fold: Fold | None = None) -> dict[str, str]:
    """Return each user's split: 15 % test, 15 % dev, the rest train. It depends only on the arguments.

    With three users or more, no split is empty. `fold` is that of `SplitPlan`.
    """
    users: Sequence[str] = sorted(set(user_ids))
    order = random.Random(f"split {seed}").sample(users, len(users))
    test = max(round(TEST_SHARE * len(order)), len(order) >= 2)
    dev = max(round(DEV_SHARE * len(order)), len(order) >= 3)
    if fold is not None:
        part, count = fold
        if len(order) < count or len(order) - len(order) // count < 2:
            raise UserError(
                f"{count} folds of {len(order)} users, expected one user in each and two in the others",
                hint="ask for other folds, or for fewer items of a user",
            )
        first, end = (len(order) * (part - 1) // count, len(order) * part // count)
        order, test = order[first:] + order[:first], end - first
        dev = min(dev, len(order) - test - 1)
    return {
        user: "test" if place < test else "dev" if place < test + dev else "train"
        for place, user in enumerate(order)
    }
