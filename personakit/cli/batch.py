"""`personakit infer --batch`: a file of queries in, a file of answers out, in the same order.

Every line is read and checked before the first is answered. Answers gather in `OUTPUT.part`, synced a
batch at a time, which takes OUTPUT's name when the last is there; `--resume` goes on with it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personakit.cli.errors import resumable
from personakit.cli.output import Result, note
from personakit.errors import UserError

if TYPE_CHECKING:
    from personakit.cli.histories import Histories
    from personakit.records import Profile, Query

#: Queries answered in one call and then written: what a killed batch loses at most.
CHUNK = 64

_FORM = 'a line is {"id": "1", "query": "..."}, with "user", "profile" or "task" where they differ'


@dataclass(frozen=True, slots=True)
class BatchQuery:
    """One line of the batch file, with its history."""

    query: Query
    profile: Profile


def answer_batch(
    path: Path,
    histories: Histories,
    *,
    run: Path,
    base: str | None,
    task: str | None,
    output: Path | None,
    resume: bool,
) -> Result:
    """Answer every line of `path` (`-`: stdin)."""
    asked = read_batch(path, histories, task)
    if output is None:
        if resume:
            raise UserError("--resume needs --output FILE: stdout keeps nothing", hint="name the file")
        lines = [line for chunk in _answers(asked, run, base) for line in chunk]
        return Result(lines, lambda out: out.print("".join(map(_line, lines)), end=""))
    if output.exists():
        raise UserError(f"{output}: exists already", hint="remove it or choose another name")
    part = output.with_name(output.name + ".part")
    done = _keep_whole_lines(part, asked) if resume else 0
    if not resume and part.exists():
        raise UserError(
            f"{part}: an earlier batch stopped there", hint="go on with --resume, or remove the file"
        )
    command = f"personakit infer --batch {path} --output {output} --resume"
    output.parent.mkdir(parents=True, exist_ok=True)
    with resumable(command), part.open("ab") as file:
        for chunk in _answers(asked[done:], run, base, done=done, total=len(asked)):
            file.write("".join(map(_line, chunk)).encode())
            file.flush()
            os.fsync(file.fileno())
    part.replace(output)
    failed = _failures(output)
    if failed:
        note(f'{failed} of {len(asked)} queries have no answer: "error" in their lines says why')
    document = {"written": str(output), "queries": len(asked), "resumed_after": done, "errors": failed}
    return Result(document, lambda out: out.print(str(output)))


def read_batch(path: Path, histories: Histories, task: str | None) -> list[BatchQuery]:
    """Read and check all lines; raises `UserError` naming the first that is wrong."""
    asked: dict[str, BatchQuery] = {}
    place = "stdin" if str(path) == "-" else str(path)
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        where = f"{place}, line {number}"
        raw = _object(line, where)
        id = str(raw.get("id", number))
        if id in asked:
            raise UserError(f'{where}: "id" is "{id}", as on an earlier line', hint="give each line its own")
        try:
            asked[id] = BatchQuery(
                *histories.ask(
                    raw["query"],
                    raw.get("task", task),
                    id=id,
                    user=raw.get("user"),
                    profile=_own_profile(raw.get("profile"), where),
                )
            )
        except UserError as error:
            raise type(error)(f"{where}: {error.message}", hint=error.hint) from error
    if not asked:
        raise UserError(f"{place} holds no queries, expected at least one", hint=_FORM)
    return list(asked.values())


def _lines(path: Path) -> list[str]:
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist, expected a JSONL file", hint=_FORM) from error
    try:
        return data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {line}: not UTF-8", hint="save the file as UTF-8 text") from error


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        raw = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}, column {error.colno}: not valid JSON ({error.msg})", hint=_FORM) from error
    if not isinstance(raw, dict):
        raise UserError(f"{where}: {line[:40]!r} is no JSON object", hint=_FORM)
    unknown = raw.keys() - {"id", "query", "user", "profile", "task"}
    if unknown:
        raise UserError(f'{where}: unknown field "{min(unknown)}"', hint=_FORM)
    for key in ("query", "user", "task"):
        if not isinstance(raw.get(key, "" if key != "query" else None), str):
            found = json.dumps(raw[key]) if key in raw else "missing"
            raise UserError(f'{where}: "{key}" is {found}, expected a text', hint=_FORM)
    return raw


def _own_profile(given: Any, where: str) -> Path | Sequence[dict[str, Any]] | None:
    if given is None or isinstance(given, list):
        return given
    if isinstance(given, str):
        return Path(given)
    raise UserError(f'{where}: "profile" is {json.dumps(given)[:40]}, expected a file or a list', hint=_FORM)


def _answers(
    asked: Sequence[BatchQuery], run: Path, base: str | None, *, done: int = 0, total: int | None = None
) -> Iterator[list[dict[str, Any]]]:
    """Yield the answers as documents, a chunk at a time."""
    from personakit.cli.infer import document_of
    from personakit.methods import open_run
    from personakit.training.progress import Staged, choose_progress

    personalizer = open_run(run, base=base)
    with Staged(choose_progress(), "answers", total or len(asked), done) as progress:
        for start in range(0, len(asked), CHUNK):
            chunk = asked[start : start + CHUNK]
            answers = personalizer.respond([one.query for one in chunk], [one.profile for one in chunk])
            yield [
                document_of(one.query, one.profile, answer)
                for one, answer in zip(chunk, answers, strict=True)
            ]
            progress.update(done + start + len(chunk))


def _line(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False) + "\n"


def _keep_whole_lines(part: Path, asked: Sequence[BatchQuery]) -> int:
    """Cut the unfinished output after its last whole line and return how many there are."""
    if not part.is_file():
        return 0
    kept, end = 0, 0
    with part.open("rb") as file:
        for line, one in zip(file, asked, strict=False):
            if not line.endswith(b"\n"):
                break
            try:
                answered = json.loads(line)["id"]
            except (ValueError, TypeError, LookupError) as error:
                raise UserError(
                    f"{part}, line {kept + 1}: no answer of a batch",
                    hint="remove the unfinished output, or choose another --output",
                ) from error
            if answered != one.query.id:
                raise UserError(
                    f"{part}, line {kept + 1}: the answer to another query than line {kept + 1} of the batch",
                    hint="resume with the same batch file, or remove the unfinished output",
                )
            kept, end = kept + 1, end + len(line)
    os.truncate(part, end)
    return kept


def _failures(output: Path) -> int:
    with output.open("rb") as file:
        return sum(json.loads(line)["error"] is not None for line in file)
