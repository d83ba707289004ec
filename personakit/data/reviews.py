"""Reads review files, `[{"id", "profile": [{"rating", "title", "text", "pid"}]}]`, as two LaMP tasks.

Predicting the rating is LaMP_3, predicting the title LaMP_5 (with the same templates, so that one model
serves both). PGraphRAG publishes Amazon and other reviews in this format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from personakit.data.lamp import checked_score
from personakit.data.lamp_formats import profile_item
from personakit.data.missing import is_missing
from personakit.data.skips import SkipCounts
from personakit.data.tables import read_rows
from personakit.errors import UserError
from personakit.records import Profile, ProfileItem

TASKS = ("LaMP_3", "LaMP_5")


def read_reviews(path: Path, counts: SkipCounts | None = None) -> Mapping[str, Sequence[Profile]]:
    """Return each user's reviews as profiles of LaMP_3 and of LaMP_5.

    Item ids are positions, because a product may be reviewed twice. Reviews of which a task's field is null
    are left out of that task and counted. Raises `UserError` with user and review for a field that is not
    there, a rating outside 1 to 5, or a repeated user.
    """
    found_counts = SkipCounts() if counts is None else counts
    profiles: dict[str, list[Profile]] = {task: [] for task in TASKS}
    seen: set[str] = set()
    for row in read_rows(path, found_counts):
        place, user = row.place, row.values
        user_id = _text(user, "id", place)
        if not user_id or not isinstance(user.get("profile"), list):
            raise UserError(f'{place}: expected an object with a text "id" and a list "profile"', hint=_HINT)
        if user_id in seen:
            raise UserError(f'{place}: user "{user_id}" is repeated, expected one entry per user', hint=_HINT)
        seen.add(user_id)
        for task in TASKS:
            items = (
                _item(task, review, str(n), f'{place} (id "{user_id}"), review {n}', found_counts)
                for n, review in enumerate(user["profile"], start=1)
            )
            profiles[task].append(Profile(user_id, tuple(item for item in items if item is not None)))
    if not seen:
        raise UserError(f"{path} has no users, expected one per entry", hint=_HINT)
    return profiles


_HINT = 'reviews are [{"id": "user", "profile": [{"rating": 5, "title": "...", "text": "..."}]}]'


def _item(task: str, review: Any, id: str, place: str, counts: SkipCounts) -> ProfileItem | None:
    if not isinstance(review, dict):
        raise UserError(f"{place} is {review!r:.60}, expected an object", hint=_HINT)
    for key in ("text", "rating" if task == "LaMP_3" else "title"):
        if key in review and is_missing(review[key]):
            counts.add(f'reviews left out of {task} because "{key}" is empty or missing', place)
            return None
    text = _text(review, "text", place)
    if task == "LaMP_5":
        return profile_item(task, id, {"title": _text(review, "title", place), "abstract": text})
    score = checked_score(review.get("rating"))
    if score is None:
        found = "missing" if "rating" not in review else repr(review["rating"])
        raise UserError(f'{place}: "rating" is {found}, expected 1 to 5', hint=_HINT)
    return profile_item(task, id, {"text": text, "score": score})


def _text(raw: Mapping[str, Any], key: str, place: str) -> str:
    if not isinstance(raw.get(key), str):
        found = "missing" if key not in raw else f"{raw[key]!r:.60}"
        raise UserError(f'{place}: "{key}" is {found}, expected a text', hint=_HINT)
    text: str = raw[key]
    return text
