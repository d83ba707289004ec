"""Makes queries of one writer's texts: the newest are test queries, with the items before each as profile.

A query is what a text answers (`writing`), or its draft (`rewriting`); the text is the gold answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from personakit.data.lamp_formats import REWRITING, WRITING, build_input, profile_item, search_text
from personakit.data.near_duplicates import NearDuplicateOf, NearDuplicates
from personakit.data.own.profile import Item
from personakit.data.splitting import DEV_SHARE, SPLITS, TEST_SHARE, SplitExamples
from personakit.records import Example, Profile, ProfileItem, Query

#: The most queries of a split, and items of a profile: the newest. A question's file repeats its profile.
MAX_QUERIES = {"train": 500, "dev": 100, "test": 100}
MAX_PROFILE = 50
MIN_QUERIES = 3


def held_out(items: Sequence[Item], task: str, user_id: str) -> SplitExamples | None:
    """Return the splits of a task, None where fewer than `MIN_QUERIES` items can be queries.

    `items` are oldest first. 15 % of the queries, the newest, are test, the 15 % before them dev. A query
    near to one of a later split is dropped, and so are profile items near to the query or to its answer.
    """
    asked = [place for place, item in enumerate(items) if _given(item, task)]
    if len(asked) < MIN_QUERIES:
        return None
    test, dev = (max(1, round(share * len(asked))) for share in (TEST_SHARE, DEV_SHARE))
    places = {"test": asked[-test:], "dev": asked[-test - dev : -test], "train": asked[: -test - dev]}
    dropped: Counter[str] = Counter()
    splits: dict[str, list[Example]] = {}
    later: list[str] = []
    profile_items = [_profile_item(item, task) for item in items]
    for split in reversed(SPLITS):
        in_later = NearDuplicates(later)
        splits[split] = []
        for rank, place in enumerate(reversed(places[split])):
            if len(splits[split]) == MAX_QUERIES[split]:
                reason = f"{split} queries older than the newest {MAX_QUERIES[split]}"
                dropped[reason] = len(places[split]) - rank
                break
            texts = (_given(items[place], task), items[place].text)
            if any(in_later.of(text) for text in texts):
                dropped[f"{split} queries that repeat one of a later split"] += 1
                continue
            example, repeats = _example(items[place], task, user_id, profile_items[:place])
            dropped["profile items that repeat the query or its answer"] += repeats
            splits[split].append(example)
            later += texts
    return SplitExamples(splits, {reason: count for reason, count in dropped.items() if count})


def _given(item: Item, task: str) -> str:
    return (item.request if task == WRITING else item.draft) or ""


def _profile_item(item: Item, task: str) -> ProfileItem:
    fields = (
        {"request": item.request or "", "text": item.text}
        if task == WRITING
        else {"original": item.draft or "", "revised": item.text}
    )
    return profile_item(task, item.id, fields, item.date)


def _example(item: Item, task: str, user_id: str, earlier: Sequence[ProfileItem]) -> tuple[Example, int]:
    given = _given(item, task)
    own = [NearDuplicateOf(text) for text in (given, item.text)]
    kept: list[ProfileItem] = []
    repeats = 0
    for other in reversed(earlier):
        if len(kept) == MAX_PROFILE:
            break
        if task == REWRITING and not other.fields["original"]:
            continue
        if any(text.matches(value) for text in own for value in other.fields.values() if value):
            repeats += 1
        else:
            kept.append(other)
    text = build_input(task, **{"request" if task == WRITING else "original": given})
    query = Query(item.id, task, text, search_text(task, text), user_id, item.text)
    return Example(query, Profile(user_id, tuple(reversed(kept)))), repeats
