"""Answers many queries into a file, in their order, so that a stopped batch can be resumed.

Answers are appended to `OUTPUT.part`, synced to disk a chunk at a time; it is renamed to OUTPUT at the end.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from personakit.contracts import Personalizer
from personakit.data.batch import BatchRow
from personakit.errors import UserError
from personakit.files import json_text
from personakit.records import Answer, Profile, Query
from personakit.training.progress import choose_progress, report_stage

#: Queries per call and write: the most answers that an interruption loses.
CHUNK = 64


def answer_document(query: Query, profile: Profile, answer: Answer) -> dict[str, Any]:
    """Return an answer as a JSON object."""
    context = answer.context
    return {
        "id": query.id,
        "task": query.task,
        "user": query.user_id,
        "query": query.text,
        "answer": answer.text,
        "generic": answer.generic,
        "profile_items": len(profile.items),
        "context": {
            "items": [{"id": item.id, **item.fields} for item in context.items],
            "summary": context.summary,
            "prompts": list(context.prompts),
        },
        "trace": dict(answer.trace),
        "tokens": answer.tokens,
        "context_tokens": answer.context_tokens,
        "seconds": answer.seconds,
        "error": answer.error,
        "degraded": answer.degraded,
        "refused": answer.refused,
        "prompt_cut": answer.prompt_cut,
        "cut": answer.cut,
    }


def answer_line(document: dict[str, Any]) -> str:
    """Return an answer as a line of JSONL."""
    return json_text(document) + "\n"


def answer_batch(
    personalizer: Personalizer, batch: Sequence[BatchRow], *, done: int = 0
) -> Iterator[dict[str, Any]]:
    """Yield an `answer_document` for each query after the first `done`, and show progress."""
    with report_stage(choose_progress(), "answers", len(batch), done) as progress:
        for start in range(done, len(batch), CHUNK):
            rows = batch[start : start + CHUNK]
            readable = [row for row in rows if row.problem is None]
            answers = iter(
                personalizer.respond([row.query for row in readable], [row.profile for row in readable])
                if readable
                else ()
            )
            for row in rows:
                answer = next(answers) if row.problem is None else Answer("", error=row.problem)
                yield answer_document(row.query, row.profile, answer)
            progress.update(start + len(rows))


def begin_output(output: Path, batch: Sequence[BatchRow], *, resume: bool) -> int:
    """Return the number of answers of an interrupted call, which `resume` continues.

    Raises `UserError` if the output exists or its folder does not, or for an unfinished one without `resume`
    or of another batch.
    """
    if output.exists():
        raise UserError(f"{output}: exists already", hint="remove it or choose another name")
    if not output.parent.is_dir():
        raise UserError(
            f"{output}: the folder {output.parent} does not exist", hint="make it, or check the path"
        )
    if not resume and _part(output).exists():
        raise UserError(
            f"{_part(output)}: an unfinished batch exists",
            hint="continue it with --resume, or remove the file",
        )
    return _keep_whole_lines(_part(output), batch) if resume else 0


def write_answers(personalizer: Personalizer, batch: Sequence[BatchRow], output: Path, *, done: int) -> int:
    """Write the answers after the first `done`; return how many of all failed."""
    part = _part(output)
    with part.open("ab") as file:
        for number, document in enumerate(answer_batch(personalizer, batch, done=done), start=done + 1):
            file.write(answer_line(document).encode(errors="backslashreplace"))
            if (number - done) % CHUNK == 0 or number == len(batch):
                file.flush()
                os.fsync(file.fileno())
    part.replace(output)
    with output.open("rb") as file:
        return sum(json.loads(line)["error"] is not None for line in file)


def _part(output: Path) -> Path:
    return output.with_name(output.name + ".part")


def _keep_whole_lines(part: Path, batch: Sequence[BatchRow]) -> int:
    """Truncate the unfinished output after its last complete line; return the number of lines."""
    if not part.is_file():
        return 0
    kept, end = 0, 0
    with part.open("rb") as file:
        for line, (query, *_) in zip(file, batch, strict=False):
            if not line.endswith(b"\n"):
                break
            try:
                answered = json.loads(line)["id"]
            except (ValueError, TypeError, LookupError) as error:
                raise UserError(
                    f"{part}, line {kept + 1}: not an answer",
                    hint="remove the unfinished output, or choose another --output",
                ) from error
            if answered != query.id:
                raise UserError(
                    f"{part}, line {kept + 1}: the answer to another query than line {kept + 1} of the batch",
                    hint="resume with the same batch file, or remove the unfinished output",
                )
            kept, end = kept + 1, end + len(line)
    os.truncate(part, end)
    return kept
