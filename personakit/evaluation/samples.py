"""The sample log: one line of `samples.jsonl` for every answer, from which all results are computed.

Lines are appended and synced one batch at a time, so a killed process loses at most one batch. `resume`
keeps the complete batches, drops the rest (a truncated last line included) and computes the others again:
the file ends as if the process had never stopped. Batches with a failed sample are replaced as well.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from personakit.errors import RunError, UserError
from personakit.evaluation.candidates import Candidate
from personakit.files import atomic_file
from personakit.records import Answer, Context, Example, Profile

#: Characters kept of each profile item: enough to read, not the whole history again in every line.
ITEM_CHARACTERS = 300

#: The log's name inside a run's directory.
SAMPLES_FILE = "samples.jsonl"

_OTHER_PLAN = "resume with the same methods, data, limit and batch size, or evaluate into another folder"


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer with everything needed to score, compare and read it.

    `profile_of` is the user whose history was used (None: none). `scores` are the metrics of this sample
    alone and `utility` what it contributes to a user's gain, in [0, 1]; both are None without an answer or
    a gold. `context` is {"items": [{"id", "text"}], "summary", "prompts"}.

    `unparsable`: official scoring could not read the answer and applied its rule for that. `error`: there
    is no answer. `refused`: why a model refused; its answer is scored as it is. `degraded`: which fallback
    answered. `cut`: the token limit cut the answer.
    """

    method: str
    seed: int | None
    task: str
    query_id: str
    user_id: str
    profile_of: str | None
    profile_items: int
    query: str
    gold: str | None
    generic: str | None
    prediction: str
    scores: dict[str, float] | None
    utility: float | None
    context: dict[str, Any]
    unparsable: bool = False
    trace: dict[str, str] = field(default_factory=dict)
    tokens: int = 0
    context_tokens: int = 0
    seconds: float = 0.0
    error: str | None = None
    degraded: str | None = None
    refused: str | None = None
    cut: bool = False

    @property
    def key(self) -> tuple[str, int | None, str]:
        """Method, seed and task: what identifies one pass over the examples."""
        return self.method, self.seed, self.task


def make_sample(
    candidate: Candidate,
    example: Example,
    profile: Profile,
    answer: Answer,
    *,
    task: str | None = None,
    scores: Mapping[str, float] | None = None,
    utility: float | None = None,
    unparsable: bool = False,
) -> Sample:
    """Return the sample of one answer that was given with `profile`; `task` defaults to the query's.

    A failed answer has no scores, whatever is passed: it is counted, not scored.
    """
    query, failed = example.query, answer.error is not None
    return Sample(
        method=candidate.method,
        seed=candidate.seed,
        task=task or query.task,
        query_id=query.id,
        user_id=query.user_id,
        profile_of=profile.user_id if profile.items else None,
        profile_items=len(profile.items),
        query=query.text,
        gold=query.gold,
        generic=None if answer.generic is None else _writable(answer.generic),
        prediction=_writable(answer.text),
        scores=None if failed or scores is None else dict(scores),
        utility=None if failed else utility,
        unparsable=not failed and unparsable,
        context=readable_context(answer.context),
        trace={name: _writable(text) for name, text in answer.trace.items()},
        tokens=answer.tokens,
        context_tokens=answer.context_tokens,
        seconds=round(answer.seconds, 6),
        error=answer.error,
        degraded=answer.degraded,
        refused=answer.refused,
        cut=answer.cut,
    )


def append_batch(path: Path, batch: Sequence[Sample]) -> None:
    """Append a batch in one write and sync it. Raises `RunError` where the disk is full."""
    try:
        with path.open("ab") as log:
            log.write(_lines(batch))
            log.flush()
            os.fsync(log.fileno())
    except OSError as error:
        raise RunError(
            f"{path}: the sample log could not be written: {error.strerror}",
            hint="make room, then go on with --resume: answers logged so far are kept",
        ) from error


def read_samples(path: Path) -> Iterator[Sample]:
    """Yield the samples of a log. Raises `UserError` naming the line where it is not one."""
    try:
        log = path.open("rb")
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read: {error.strerror}, expected the samples of an evaluation",
            hint="run `personakit eval` first, or name the folder it wrote",
        ) from error
    with log:
        for number, line in enumerate(log, start=1):
            try:
                yield Sample(**orjson.loads(line))
            except (orjson.JSONDecodeError, TypeError) as error:
                raise UserError(
                    f"{path}, line {number}: {_clip(line.decode(errors='replace'), 60)!r} "
                    "is not a sample of this version",
                    hint="if the evaluation was stopped, go on with --resume; else run it again",
                ) from error


def count_answers(log: Path) -> int:
    """Return how many samples of a log have an answer; 0 where there is no log."""
    if not log.exists():
        return 0
    return sum(sample.error is None for sample in read_samples(log))


def keep_whole_batches(
    path: Path, batches: Iterable[Iterable[tuple[str, int | None, str, str]]]
) -> tuple[int, list[int]]:
    """Cut the log after its last whole batch; return how many stand, and the places of those that failed.

    `batches` is the plan: for each batch the (method, seed, task, query id) of its samples in order. One has
    failed where a sample of it has an error: a failed request is no answer.
    Raises `UserError` where the log was written by another plan.
    """
    failed: list[int] = []
    if not path.exists():
        return 0, failed
    end, whole = 0, 0
    with path.open("rb") as log:
        for batch in batches:
            position, errors = end, False
            for expected in batch:
                line = log.readline()
                if not line.endswith(b"\n"):
                    os.truncate(path, end)
                    return whole, failed
                position += len(line)
                found, error = _read_key(line)
                if found != expected:
                    raise UserError(
                        f"{path}: sample {found} stands where {expected} was expected", hint=_OTHER_PLAN
                    )
                errors = errors or error
            if errors:
                failed.append(whole)
            end, whole = position, whole + 1
        if log.read(1):
            raise UserError(f"{path}: holds more than the {whole} batches planned", hint=_OTHER_PLAN)
    return whole, failed


def put_batches(path: Path, made: Mapping[int, Sequence[Sample]], sizes: Iterable[int]) -> None:
    """Write the log anew with the batches at some places replaced, whole or not at all.

    `sizes` are the samples of each batch, in order; a batch has as many after as before.
    """
    with atomic_file(path) as temporary, path.open("rb") as log, temporary.open("wb") as new:
        for place, size in enumerate(sizes):
            lines = [log.readline() for _ in range(size)]
            new.write(_lines(made[place]) if place in made else b"".join(lines))


def _lines(samples: Iterable[Sample]) -> bytes:
    return b"".join(orjson.dumps(sample, option=orjson.OPT_APPEND_NEWLINE) for sample in samples)


def _read_key(line: bytes) -> tuple[tuple[str, int | None, str, str] | None, bool]:
    """What a sample is about (None: it is no sample), and whether it failed."""
    try:
        sample = orjson.loads(line)
        key = sample["method"], sample["seed"], sample["task"], sample["query_id"]
        return key, sample["error"] is not None
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None, False


def readable_context(context: Context) -> dict[str, Any]:
    """Return a context as the log has it, its items cut short."""
    items = [{"id": item.id, "text": _clip(" · ".join(item.fields.values()))} for item in context.items]
    return {"items": items, "summary": context.summary, "prompts": list(context.prompts)}


def _writable(text: str) -> str:
    """Replace halves of surrogate pairs, which an endpoint may send and no file can hold."""
    return text.encode(errors="replace").decode()


def _clip(text: str, limit: int = ITEM_CHARACTERS) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
