"""Looks the preferences of a data folder over: what they hold, and what would spoil an experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from personakit.data.preferences.divide import Key, key_of
from personakit.data.preferences.rows import PreferenceRow, Skip, Skips
from personakit.data.preferences.store import lines, parse, sift
from personakit.errors import UserError


@dataclass(frozen=True, slots=True)
class PreferenceCheck:
    """What one split of preferences holds, over all users that can be used.

    `pairs` are held out; `personas` counts users whose persona is known. `skipped` is left out
    wherever the split is opened.
    """

    split: str
    users: int
    pairs: int
    signal_pairs: int
    comments: int
    about: int
    items: int
    personas: int
    skipped: Mapping[str, Skip]


def check_preferences(files: Mapping[str, Path]) -> tuple[list[PreferenceCheck], list[str]]:
    """Read every split and return what it holds, and warnings, each one sentence.

    Raises `UserError` for the first line of the wrong shape, saying how many there are.
    """
    checks: list[PreferenceCheck] = []
    warnings: list[str] = []
    users_of: dict[str, set[str]] = {}
    held_of: dict[str, set[Key]] = {}
    for split, path in files.items():
        skips = Skips()
        rows = [row for row in _rows(path) if sift(row, skips)]
        check = PreferenceCheck(
            split=split,
            users=len(rows),
            pairs=sum(len(row.pairs) for row in rows),
            signal_pairs=sum(len(row.signal_pairs) for row in rows),
            comments=sum(len(row.comments) for row in rows),
            about=sum(len(row.about) for row in rows),
            items=sum(len(row.items) for row in rows),
            personas=sum(row.persona is not None for row in rows),
            skipped=skips.report,
        )
        checks.append(check)
        warnings += [
            f"preferences {split}: {skip.count} {reason} are left out (first: {skip.first})"
            for reason, skip in check.skipped.items()
        ]
        if not rows:
            warnings.append(f"preferences {split}: no user whose preferences can be used")
        users = {row.user or "" for row in rows}
        if len(users) < len(rows):
            warnings.append(f"preferences {split}: {len(rows) - len(users)} users are given again")
        held = {key_of(texts) for row in rows for texts in row.pairs}
        for other in users_of:
            warnings += _shared(split, other, users & users_of[other], held, held_of[other])
        users_of[split], held_of[split] = users, held
    return checks, warnings


def _shared(split: str, other: str, users: set[str], held: set[Key], known: set[Key]) -> list[str]:
    said = [
        (len(users), "users"),
        (len(held & known), "held-out pairs"),
        (len({key.prompt for key in held} & {key.prompt for key in known}), "held-out prompts"),
    ]
    return [f"preferences: {count} {what} of {split} are also in {other}" for count, what in said if count]


def _rows(path: Path) -> Sequence[PreferenceRow]:
    rows: list[PreferenceRow] = []
    errors: list[UserError] = []
    for line in lines(path):
        try:
            rows.append(parse(path, line))
        except UserError as error:
            errors.append(error)
    if errors:
        more = f" (and {len(errors) - 1} more lines are wrong)" if len(errors) > 1 else ""
        raise UserError(errors[0].message + more, hint=errors[0].hint)
    return rows
