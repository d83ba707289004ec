"""Small LaMP examples of every task."""

from __future__ import annotations

from personakit.data.lamp_formats import FORMATS, build_input, profile_item, search_text
from personakit.records import Example, Profile, ProfileItem, Query

TASKS = tuple(FORMATS)
AWKWARD = 'said "]}", then {left}] \\ caf\u00e9 \U0001f600\n'


def item(task: str, owner: str, number: int, date: str | None = None) -> ProfileItem:
    values = {"score": "4", "tag": "classic", "category": "travel"}
    fields = {
        key: values.get(key, f"{key} {number} of {owner}: {AWKWARD}") for key in FORMATS[task].item_keys
    }
    return profile_item(task, f"{owner}-{number}", fields, date)


def example(
    task: str, id: str, items: tuple[ProfileItem, ...], user_id: str = "", gold: str | None = None
) -> Example:
    format = FORMATS[task]
    parts = {
        name: f"{name} of {id} {AWKWARD}end"
        for _, name in format.pieces
        if name is not None and name not in dict(format.fixed_parts)
    }
    text = build_input(task, **parts)
    query = Query(id, task, text, search_text(task, text), user_id, gold)
    return Example(query, Profile(user_id, items))


def gold(task: str) -> str:
    return (FORMATS[task].labels or ("a gold answer",))[0]


def user_split(task: str, users: int = 4, per_user: int = 3, golds: bool = True) -> list[Example]:
    """Queries of a user share a profile but for the item they ask about."""
    return [
        example(
            task,
            f"q{user}.{asked}",
            tuple(item(task, f"u{user}", n) for n in range(6) if n != asked),
            gold=gold(task) if golds else None,
        )
        for user in range(users)
        for asked in range(per_user)
    ]
