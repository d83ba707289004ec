"""Validates the preferences of a data folder: contents and problems that would distort an experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from personakit.data.preferences.rows import PreferenceRow
from personakit.data.preferences.signal_split import PairKey, pair_key
from personakit.data.preferences.store import lines, parse, remove_unusable
from personakit.data.skips import SkipCount, SkipCounts, counted
from personakit.errors import UserError


@dataclass(frozen=True, slots=True)
class PreferenceCheck:
    """The contents of one split of preferences, over all usable users.

    `pairs` are the held-out pairs. `personas` counts users with a known persona. `skipped` counts what is
    left out whenever the split is opened.
    """

    split: str
    users: int
    pairs: int
    signal_pairs: int
    comments: int
    about: int
    items: int
    personas: int
    skipped: Mapping[str, SkipCount]


def check_preferences(files: Mapping[str, Path]) -> tuple[list[PreferenceCheck], list[str]]:
    """Read every split. Return the contents, and warnings of one sentence each.

    Raises `UserError` for the first invalid line, with the number of invalid lines.
    """
    checks: list[PreferenceCheck] = []
    warnings: list[str] = []
    users_by_split: dict[str, set[str]] = {}
    held_out_by_split: dict[str, set[PairKey]] = {}
    for split, path in files.items():
        skips = SkipCounts()
        rows = [row for row in _rows(path) if remove_unusable(row, skips)]
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
            warnings.append(f"preferences {split}: no user has usable preferences")
        users = {row.user or "" for row in rows}
        if len(users) < len(rows):
            warnings.append(f"preferences {split}: {len(rows) - len(users)} users are repeated")
        held_out = {pair_key(texts) for row in rows for texts in row.pairs}
        for other in users_by_split:
            warnings += _overlap_warnings(
                split, other, users & users_by_split[other], held_out, held_out_by_split[other]
            )
        users_by_split[split], held_out_by_split[split] = users, held_out
    return checks, warnings


def _overlap_warnings(
    split: str, other: str, users: set[str], held_out: set[PairKey], known_held_out: set[PairKey]
) -> list[str]:
    findings = [
        (len(users), "users"),
        (len(held_out & known_held_out), "held-out pairs"),
        (len({key.prompt for key in held_out} & {key.prompt for key in known_held_out}), "held-out prompts"),
    ]
    return [
        f"preferences: {counted(count, f'{what} of {split} that are also in {other}')}"
        for count, what in findings
        if count
    ]


def _rows(path: Path) -> Sequence[PreferenceRow]:
    rows: list[PreferenceRow] = []
    errors: list[UserError] = []
    for line in lines(path):
        try:
            rows.append(parse(path, line))
        except UserError as error:
            errors.append(error)
    if errors:
        more = f" (and {len(errors) - 1} more invalid lines)" if len(errors) > 1 else ""
        raise UserError(errors[0].message + more, hint=errors[0].hint)
    return rows
