"""Makes a LaMP-shaped task of plain histories: one item of each user is asked for, the rest is the profile.

Users are split, not items: a test user is new. A user of one item gives a query with an empty
profile, which is kept and counted. A text, near-duplicates included, stands in one split only, and never in
the profile of the query that asks about it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from personakit.data.lamp_formats import build_input, item_input, item_output, search_text, task_format
from personakit.data.near_duplicates import NearDuplicateOf, NearDuplicates
from personakit.data.splitting import SPLITS, SplitExamples, split_users
from personakit.errors import UserError
from personakit.records import Example, Profile, ProfileItem, Query

TASKS = ("LaMP_2", "LaMP_2N", "LaMP_3", "LaMP_4", "LaMP_5", "LaMP_6", "rewriting")


def hold_out(profiles: Sequence[Profile], task: str, seed: int, *, newest: bool = False) -> SplitExamples:
    """Return one query for each user: an item drawn from the seed, or with `newest` the last one.

    Raises `UserError` for a task whose query cannot be made of an item (LaMP_1: it needs two
    references; LaMP_7: an item does not hold the tweet before its paraphrase).
    """
    format = task_format(task)
    if format.task not in TASKS:
        raise UserError(
            f"{format.task} queries cannot be made of a history, expected one of {', '.join(TASKS)}",
            hint="use the file as a profile instead (`personakit infer --profile FILE`)",
        )
    split_of = split_users((profile.user_id for profile in profiles), seed)
    dropped: Counter[str] = Counter()
    later: list[str] = []  # the texts of the splits done so far
    splits: dict[str, list[Example]] = {split: [] for split in SPLITS}
    for split in reversed(SPLITS):  # test keeps its texts, train gives way
        taken, seen_here = NearDuplicates(later), []
        for profile in profiles:
            if split_of[profile.user_id] != split:
                continue
            items = [item for item in profile.items if not taken.of(_text(task, item))]
            dropped["items whose text is in another split"] += len(profile.items) - len(items)
            if not items:
                dropped["users with no item left"] += 1
                continue
            example, repeats = _query(format.task, Profile(profile.user_id, tuple(items)), seed, newest)
            dropped["profile items that repeat the query's text"] += repeats
            splits[split].append(example)
            seen_here += [_text(task, item) for item in items]
        later += seen_here
    return SplitExamples(splits, {reason: count for reason, count in dropped.items() if count})


def _query(task: str, profile: Profile, seed: int, newest: bool) -> tuple[Example, int]:
    generator = random.Random(f"hold out {seed} {profile.user_id}")
    asked = profile.items[-1] if newest else generator.choice(profile.items)
    text = _text(task, asked)
    others = [item for item in profile.items if item is not asked]
    same = NearDuplicateOf(text)
    rest = tuple(item for item in others if not same.matches(_text(task, item)))
    part = task_format(task).input_key
    assert part is not None
    wording = build_input(task, **{part: text})
    query = Query(
        id=f"{profile.user_id}-{asked.id}",
        task=task,
        text=wording,
        search_text=search_text(task, wording),
        user_id=profile.user_id,
        gold=item_output(task, asked),
    )
    return Example(query, Profile(profile.user_id, rest)), len(others) - len(rest)


def _text(task: str, item: ProfileItem) -> str:
    text = item_input(task, item)
    assert text is not None
    return text
