"""Builds a LaMP task from plain histories: one item per user becomes the query, the rest the profile.

Users are split, not items, so all test users are new. A user with a single item yields a query with an empty
profile. No text, including near duplicates, occurs in two splits, and a query's text never occurs in its own
profile.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from personakit.data.lamp_formats import build_input, item_input, item_output, search_text, task_format
from personakit.data.near_duplicates import NearDuplicateOf, NearDuplicates
from personakit.data.splitting import SPLITS, SplitExamples, SplitPlan
from personakit.errors import UserError
from personakit.records import Example, Profile, ProfileItem, Query

TASKS = ("LaMP_2", "LaMP_2N", "LaMP_3", "LaMP_4", "LaMP_5", "LaMP_6", "rewriting")


def hold_out(
    profiles: Sequence[Profile], task: str, split_of: Mapping[str, str], plan: SplitPlan
) -> SplitExamples:
    """Return one query per user: the last item of a dated profile, else a random one (counted in `drawn`).

    Training users have up to `plan.queries`, each with the items before it, or without dates all others. The
    first of every user come first, and users with fewer items than `plan.min_items` last, so that the first
    n queries are the best n to train on. `split_of` is each user's split (`plan.split`).

    Raises `UserError` for a task whose queries cannot be built from items (LaMP_1 needs two references; a
    LaMP_7 item does not contain the tweet before the paraphrase).
    """
    format = task_format(task)
    if format.task not in TASKS:
        raise UserError(
            f"{format.task} queries cannot be built from a history, expected one of {', '.join(TASKS)}",
            hint="use the file as a profile instead (`personakit infer --profile FILE`)",
        )
    dropped: Counter[str] = Counter()
    drawn = 0
    later_texts: list[str] = []  # texts of the splits processed so far
    splits: dict[str, list[Example]] = {split: [] for split in SPLITS}
    for split in reversed(SPLITS):  # a text in several splits stays in the last one: test before train
        in_later_splits, texts = NearDuplicates(later_texts), []
        ids: set[str] = set()
        ranked: dict[tuple[bool, int], list[Example]] = defaultdict(list)
        for profile in profiles:
            if split_of[profile.user_id] != split:
                continue
            items = [item for item in profile.items if not in_later_splits.of(_text(task, item))]
            dropped["items whose text is in another split"] += len(profile.items) - len(items)
            if not items:
                dropped["users with no item left"] += 1
                continue
            count = plan.queries if split == "train" else 1
            for place, (target, others) in enumerate(_targets(profile.user_id, items, count, plan.seed)):
                id = f"{profile.user_id}-{target.id}"
                if id in ids:  # an id column need not be unique
                    id += f"-{place}"
                ids.add(id)
                example, repeats = _query(format.task, id, profile.user_id, target, others)
                dropped["profile items that repeat the query's text"] += repeats
                ranked[len(profile.items) < plan.min_items, place].append(example)
            drawn += items[-1].date is None and len(items) > 1
            texts += [_text(task, item) for item in items]
        splits[split] = [example for rank in sorted(ranked) for example in ranked[rank]]
        later_texts += texts
    return SplitExamples(splits, {reason: count for reason, count in dropped.items() if count}, drawn)


def _targets(
    user_id: str, items: Sequence[ProfileItem], count: int, seed: int
) -> Iterator[tuple[ProfileItem, Sequence[ProfileItem]]]:
    """Yield at most `count` of a user's items, each with the items of its profile."""
    if items[-1].date is not None:
        for place in range(len(items) - 1, max(-1, len(items) - 1 - count), -1):
            yield items[place], items[:place]
        return
    generator = random.Random(f"hold out {seed} {user_id}")
    first = generator.choice(items)
    others = [item for item in items if item is not first]
    for target in (first, *generator.sample(others, min(count - 1, len(others)))):
        yield target, [item for item in items if item is not target]


def _query(
    task: str, id: str, user_id: str, target: ProfileItem, others: Sequence[ProfileItem]
) -> tuple[Example, int]:
    text = _text(task, target)
    target_text = NearDuplicateOf(text)
    profile_items = tuple(item for item in others if not target_text.matches(_text(task, item)))
    part = task_format(task).input_key
    assert part is not None
    wording = build_input(task, **{part: text})
    query = Query(
        id=id,
        task=task,
        text=wording,
        search_text=search_text(task, wording),
        user_id=user_id,
        gold=item_output(task, target),
    )
    return Example(query, Profile(user_id, profile_items)), len(others) - len(profile_items)


def _text(task: str, item: ProfileItem) -> str:
    text = item_input(task, item)
    assert text is not None
    return text
