"""Builds a LaMP task from plain histories: one item per user becomes the query, the rest the profile.

Users are split, not items, so all test users are new. A user with a single item yields a query with an empty
profile. No text, including near duplicates, occurs in two splits, and a query's text never occurs in its own
profile.
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


def hold_out(profiles: Sequence[Profile], task: str, seed: int) -> SplitExamples:
    """Return one query per user: the last item of a dated profile, else a random one (counted in `drawn`).

    Raises `UserError` for a task whose queries cannot be built from items (LaMP_1 needs two references; a
    LaMP_7 item does not contain the tweet before the paraphrase).
    """
    format = task_format(task)
    if format.task not in TASKS:
        raise UserError(
            f"{format.task} queries cannot be built from a history, expected one of {', '.join(TASKS)}",
            hint="use the file as a profile instead (`personakit infer --profile FILE`)",
        )
    split_of = split_users((profile.user_id for profile in profiles), seed)
    dropped: Counter[str] = Counter()
    drawn = 0
    later_texts: list[str] = []  # texts of the splits processed so far
    splits: dict[str, list[Example]] = {split: [] for split in SPLITS}
    for split in reversed(SPLITS):  # a text in several splits stays in the last one: test before train
        in_later_splits, texts = NearDuplicates(later_texts), []
        for profile in profiles:
            if split_of[profile.user_id] != split:
                continue
            items = [item for item in profile.items if not in_later_splits.of(_text(task, item))]
            dropped["items whose text is in another split"] += len(profile.items) - len(items)
            if not items:
                dropped["users with no item left"] += 1
                continue
            example, repeats = _query(format.task, Profile(profile.user_id, tuple(items)), seed)
            drawn += items[-1].date is None and len(items) > 1
            dropped["profile items that repeat the query's text"] += repeats
            splits[split].append(example)
            texts += [_text(task, item) for item in items]
        later_texts += texts
    return SplitExamples(splits, {reason: count for reason, count in dropped.items() if count}, drawn)


def _query(task: str, profile: Profile, seed: int) -> tuple[Example, int]:
    generator = random.Random(f"hold out {seed} {profile.user_id}")
    newest = profile.items[-1]
    target = generator.choice(profile.items) if newest.date is None else newest
    text = _text(task, target)
    other_items = [item for item in profile.items if item is not target]
    target_text = NearDuplicateOf(text)
    profile_items = tuple(item for item in other_items if not target_text.matches(_text(task, item)))
    part = task_format(task).input_key
    assert part is not None
    wording = build_input(task, **{part: text})
    query = Query(
        id=f"{profile.user_id}-{target.id}",
        task=task,
        text=wording,
        search_text=search_text(task, wording),
        user_id=profile.user_id,
        gold=item_output(task, target),
    )
    return Example(query, Profile(profile.user_id, profile_items)), len(other_items) - len(profile_items)


def _text(task: str, item: ProfileItem) -> str:
    text = item_input(task, item)
    assert text is not None
    return text
