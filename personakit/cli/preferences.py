"""One user's preferences for `personakit data show`."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from personakit.cli.output import Result, harmless, note, shortened
from personakit.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from personakit.data.preferences import PreferenceStore
    from personakit.records import PreferencePair, PreferenceUser

TASKS = ("preferences", "preference")
_WIDTH = 160


def wants_preferences(path: str, task: str | None) -> bool:
    """Tell whether preferences are asked for: by name, or because the folder holds nothing else."""
    from personakit.data.folders import data_folder, holds_questions
    from personakit.data.preferences import preference_files

    if task is not None:
        return task.casefold() in TASKS
    folder = data_folder(path)
    return bool(preference_files(folder)) and not holds_questions(folder)


def show_preferences(path: str, split: str, *, user: str | None, limit: int | None) -> Result:
    """Return one user's signals and at most `limit` of their held-out pairs; by default the first user's."""
    from personakit.data.preferences import open_preferences
    from personakit.data.preferences.native import record

    store = open_preferences(path, split)
    shown = find_user(store, path, split, user)
    note(f"{path}, preferences, {split}: {len(store)} users, {sum(store.pair_counts)} held-out pairs")
    for reason, skip in store.skipped.items():
        note(f"left out of {split}: {skip.count} {reason} (first: {skip.first})")
    document: dict[str, Any] = record(shown)
    document["pairs"] = document["pairs"][:limit]
    return Result(document, lambda out: _show(out, shown, limit))


def find_user(store: PreferenceStore, path: str, split: str, user: str | None) -> PreferenceUser:
    """Return a user of a split by name, by default the first; raises `UserError` with the nearest name."""
    if user is not None and user not in store.user_ids:
        near = difflib.get_close_matches(user, store.user_ids, n=1)
        raise UserError(
            f'{path} (preferences, {split}) has no user "{user}"',
            hint=f"did you mean {near[0]}?"
            if near
            else f"there are {len(store)}, such as {store.user_ids[0]}",
        )
    return store[0 if user is None else store.user_ids.index(user)]


def _show(out: Console, user: PreferenceUser, limit: int | None) -> None:
    def line(name: str, text: str) -> None:
        out.print(f"{name} {harmless(shortened(text, _WIDTH))}")

    def pair(number: int, one: PreferencePair) -> None:
        line(f"{number:4}. prompt  ", one.prompt)
        line("      chosen  ", one.chosen)
        line("      rejected", one.rejected)

    signals = user.signals
    out.print(f"user {harmless(user.user_id)}")
    if user.persona is not None:
        line("persona:", user.persona)
    for said in signals.about:
        line("about:", said)
    for said in signals.comments:
        line("comment:", said)
    for item in signals.items:
        line("item:", "  ".join(f"{key}: {value}" for key, value in item.fields.items()))
    for title, pairs in (("signals", signals.pairs), ("held out", user.pairs[:limit])):
        out.print(f"{title}: {len(pairs)} pairs")
        for number, one in enumerate(pairs, start=1):
            pair(number, one)
