"""`personakit infer --learn`: adds what the user made of answers to their profile file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from personakit.cli.output import note
from personakit.errors import UserError

if TYPE_CHECKING:
    from personakit.data.batch import BatchRow
    from personakit.records import Query


@dataclass(frozen=True, slots=True)
class Answered:
    """What a query was answered with; None: nothing. A `degraded` answer may be the user's own draft."""

    text: str | None
    degraded: bool = False


#: Adds the answers to profiles, given in the order of the queries.
Learn = Callable[[Sequence[Answered]], None]


def learner(
    rows: Sequence[BatchRow], default: Path | None, columns: Mapping[str, str], *, option: str
) -> Learn:
    """Check that the final texts of the rows can be learned; return what learns them.

    `option` is how they were given. Raises `UserError` before anything is answered.
    """
    if all(row.final is None for row in rows):
        return lambda answers: None
    from personakit.data.own.learning import check_learnable

    finals = [(row, row.source or default) for row in rows if row.final is not None]
    for path, task in dict.fromkeys((path, row.query.task) for row, path in finals):
        if path is None:
            raise UserError(
                f"{option} adds the final text to a profile file, and none was given",
                hint="--profile FILE.jsonl; personakit data import makes one",
            )
        check_learnable(path, task, columns)
    return lambda answers: _learn(rows, answers, default, columns)


def _learn(
    rows: Sequence[BatchRow], answers: Sequence[Answered], default: Path | None, columns: Mapping[str, str]
) -> None:
    from personakit.data.own.learning import Edit, learn
    from personakit.data.skips import counted
    from personakit.tasks.edits import edit_share

    edits: dict[Path, list[Edit]] = {}
    for row, answer in zip(rows, answers, strict=True):
        path = row.source or default
        if row.final is None or path is None:
            continue
        if answer.text is None:
            note(f"not learned: query {row.query.id} has no answer")
            continue
        own_draft = answer.degraded and answer.text.strip() == row.query.search_text.strip()
        draft = None if own_draft else answer.text.strip()
        edits.setdefault(path, []).append(Edit(row.final.strip(), draft, _request(row.query)))
    for path, of_path in edits.items():
        for edit, learned in zip(of_path, learn(path, of_path, columns), strict=True):
            if learned.outcome == "known":
                note(f"nothing to learn: {path} has this text already")
                continue
            what = "the text" if learned.outcome == "added" else "the draft of a text that was there"
            share = "the answer was the text that was given, so it is no draft"
            if edit.draft is not None:
                share = f"{100 * edit_share(edit.draft, edit.text):.0f}% of the answer's words changed"
            note(f"learned: {what} is in {path}, now {counted(learned.items, 'texts')}; {share}")


def _request(query: Query) -> str | None:
    """Return the message that a text answers; a text that is rewritten is no request."""
    from personakit.data.lamp_formats import WRITING
    from personakit.data.queries import PREFERENCE

    return query.search_text if query.task in (WRITING, PREFERENCE) else None
