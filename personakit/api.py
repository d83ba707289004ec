"""Evaluates from Python as `personakit eval` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from personakit.errors import UserError

#: The fields of `Options` that take several values, by the option's name.
_LISTS = {"task": "tasks", "base": "bases", "curve": "curves", "sample_id": "sample_ids"}


def evaluate(
    suite: str,
    *,
    runs: Sequence[str | Path] = (),
    data: str | Path | None = None,
    split: str = "dev",
    limit: int | None = None,
    baselines: Sequence[str] = (),
    output: str | Path | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Evaluate runs, or baselines alone, and return the content of results.json.

    Args:
        suite: "lamp", "rewriting", "preference" or "instruction".
        runs: The runs' folders; several that differ only in their seed are one row.
        data: "lamp-mini" or a data folder; by default the first run's own.
        split: "train", "dev" or "test"; an evaluation on test is recorded in the runs.
        limit: At most this many queries per task (users, instructions).
        baselines: The rows to compare with, by name; by default all that data and runs allow.
        output: The evaluation's folder; by default a new one in `runs/`.
        options: Further options of `personakit eval SUITE` without their dashes, such as `seed`; a repeatable
            one, such as `sample_id`, takes a list.

    Raises:
        UserError: for bad options or data; the message names the value, its place and what was expected.
        RunError: where no answer can be had; partial results are in the folder.
    """
    from personakit.suites import SUITES, Options
    from personakit.suites.run import run

    if suite not in SUITES:
        raise UserError(f'unknown suite "{suite}"', hint=f"there is {', '.join(SUITES)}")
    known = {*SUITES[suite].options} - {*_LISTS.values()}
    known |= {name for name, several in _LISTS.items() if several in SUITES[suite].options}
    unknown = options.keys() - known
    if unknown:
        raise UserError(
            f'evaluate: "{min(unknown)}" is not an option of "{suite}"',
            hint=f"personakit eval {suite} --help lists them",
        )
    for name, number, least in (
        ("limit", limit, 1),
        ("concurrency", options.get("concurrency"), 1),
        ("seed", options.get("seed"), 0),
    ):
        if number is not None and (not isinstance(number, int) or number < least):
            raise UserError(
                f"evaluate: {name}={number!r}, expected an integer of at least {least}", hint="leave it out"
            )
    if "no_run" in SUITES[suite].options:
        options.setdefault("no_run", not runs)
    further: dict[str, Any] = {
        _LISTS.get(name, name): _several(value) if name in _LISTS else value
        for name, value in options.items()
    }
    return run(
        suite,
        Options(
            runs=[Path(folder) for folder in _several(runs)],
            baselines=_several(baselines),
            data=None if data is None else str(data),
            split=split,
            limit=limit,
            output=None if output is None else Path(output),
            **further,
        ),
    ).results


def _several(value: Any) -> list[Any]:
    if value is None:
        return []
    return [value] if isinstance(value, (str, Path)) else list(value)
