"""Reads review files, `[{"id", "profile": [{"rating", "title", "text", "pid"}]}]`, as two LaMP tasks.

Predicting the rating is LaMP_3, predicting the title LaMP_5 (with the same templates, so that one model
serves both). PGraphRAG publishes Amazon and other reviews in this format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from personakit.data.json_stream import stream_list
from personakit.data.lamp import checked_score
from personakit.data.lamp_formats import profile_item
from personakit.errors import UserError
from personakit.records import Profile, ProfileItem

TASKS = ("LaMP_3", "LaMP_5")


def read_reviews(path: Path) -> Mapping[str, Sequence[Profile]]:
    """Return each user's reviews as profiles of LaMP_3 and of LaMP_5.

    Item ids are positions, because a product may be reviewed twice. Raises `UserError` with user and review
    for a missing field, a rating outside 1 to 5, or a repeated user.
    """
    profiles: dict[str, list[Profile]] = {task: [] for task in TASKS}
    seen: set[str] = set()
    for number, user in enumerate(stream_list(path), start=1):
        place = f"{path}, item {number}"
        user_id = _text(user, "id", place) if isinstance(user, dict) else ""
        if not user_id or not isinstance(user.get("profile"), list):
            raise UserError(f'{place}: expected an object with a text "id" and a list "profile"', hint=_HINT)
        if user_id in seen:
            raise UserError(f'{place}: user "{user_id}" is repeated, expected one entry per user', hint=_HINT)
        seen.add(user_id)
        for task in TASKS:
            items = (
                _item(task, review, str(n), f'{place} (id "{user_id}"), review {n}')
                for n, review in enumerate(user["profile"], start=1)
            )
            profiles[task].append(Profile(user_id, tuple(items)))
    return profiles


_HINT = 'reviews are [{"id": "user", "profile": [{"rating": 5, "title": "...", "text": "..."}]}]'


def _item(task: str, review: Any, id: str, place: str) -> ProfileItem:
    if not isinstance(review, dict):
        raise UserError(f"{place} is {review!r:.60}, expected an object", hint=_HINT)
    text = _text(review, "text", place)
    score = checked_score(review.get("rating"))
    if score is None:
        found = "missing" if "rating" not in review else repr(review["rating"])
        raise UserError(f'{place}: "rating" is {found}, expected 1 to 5', hint=_HINT)
    title = _text(review, "title", place)
    fields = {"text": text, "score": score} if task == "LaMP_3" else {"title": title, "abstract": text}
    return profile_item(task, id, fields)


def _text(raw: dict[str, Any], key: str, place: str) -> str:
    if not isinstance(raw.get(key), str):
        found = "missing" if key not in raw else f"{raw[key]!r:.60}"
        raise UserError(f'{place}: "{key}" is {found}, expected a text', hint=_HINT)
    text: str = raw[key]
    return text
