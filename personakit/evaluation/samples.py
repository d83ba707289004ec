"""The sample log `samples.jsonl`: one line per answer, from which all results are computed.

Each batch is appended and synced at once, so an interruption loses at most one batch. Resuming keeps the
complete batches, recomputes incomplete ones and those with a failed sample, and ends with the same file as
without the interruption.
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

#: Maximum characters per profile item, to limit the size of the log.
ITEM_CHARACTERS = 300

#: The log's name in an evaluation's folder.
SAMPLES_FILE = "samples.jsonl"

_PLAN_CHANGED = "resume with the same methods, data, limit and batch size, or evaluate into another folder"


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer, with its query, context, scores and costs.

    `profile_of` is the user whose history was used (None: no history). `scores` are the metrics of this
    sample and `utility`, in [0, 1], its contribution to a user's gain; both are None without an answer or a
    gold. `context` is {"items": [{"id", "text"}], "summary", "prompts"}.

    `unparsable`: official scoring could not parse the answer and applied its fallback rule. `error`: why
    there is no answer. `refused`: why a model refused; its answer is still scored. `degraded`: which fallback
    answered. `cut`: the token limit cut the answer. `prompt_cut`: prompt tokens beyond a model's context
    window, which it did not read.
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
    prompt_cut: int = 0

    @property
    def key(self) -> tuple[str, int | None, str]:
        """Method, seed and task, which identify one pass over the examples."""
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
    """Return the sample of an answer that used `profile`; `task` defaults to the query's.

    A failed answer is counted but gets no scores.
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
        prompt_cut=answer.prompt_cut,
    )


def append_batch(path: Path, batch: Sequence[Sample]) -> None:
    """Append a batch in one write and sync it. Raises `RunError` if that fails."""
    try:
        with path.open("ab") as log:
            log.write(_lines(batch))
            log.flush()
            os.fsync(log.fileno())
    except OSError as error:
        raise RunError(
            f"{path}: the sample log could not be written: {error.strerror}",
            hint="free some space, then continue with --resume, which keeps the logged answers",
        ) from error


def read_samples(path: Path) -> Iterator[Sample]:
    """Yield the samples of a log. Raises `UserError` with the line of an invalid sample."""
    try:
        log = path.open("rb")
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read: {error.strerror}, expected the samples of an evaluation",
            hint="run `personakit eval` first, or give the folder it wrote",
        ) from error
    with log:
        for number, line in enumerate(log, start=1):
            try:
                yield Sample(**orjson.loads(line))
            except (orjson.JSONDecodeError, TypeError) as error:
                raise UserError(
                    f"{path}, line {number}: {_clip(line.decode(errors='replace'), 60)!r} "
                    "is not a sample of this version",
                    hint="if it was interrupted, continue it with --resume; otherwise start a new one",
                ) from error


def count_answers(log: Path) -> int:
    """Return the number of samples with an answer; 0 without a log."""
    if not log.exists():
        return 0
    return sum(sample.error is None for sample in read_samples(log))


def truncate_to_complete_batches(
    path: Path, batches: Iterable[Iterable[tuple[str, int | None, str, str]]]
) -> tuple[int, list[int]]:
    """Truncate the log after its last complete batch; return their number, and the indices of failed ones.

    `batches` gives for each planned batch the (method, seed, task, query id) of its samples in order. A batch
    has failed if one of its samples has an error. Raises `UserError` if the log does not match the plan.
    """
    failed: list[int] = []
    if not path.exists():
        return 0, failed
    end, complete = 0, 0
    with path.open("rb") as log:
        for batch in batches:
            position, errors = end, False
            for expected in batch:
                line = log.readline()
                if not line.endswith(b"\n"):
                    os.truncate(path, end)
                    return complete, failed
                position += len(line)
                found, error = _read_key(line)
                if found != expected:
                    raise UserError(f"{path}: found sample {found}, expected {expected}", hint=_PLAN_CHANGED)
                errors = errors or error
            if errors:
                failed.append(complete)
            end, complete = position, complete + 1
        if log.read(1):
            raise UserError(f"{path}: has more than the {complete} planned batches", hint=_PLAN_CHANGED)
    return complete, failed


def replace_batches(path: Path, made: Mapping[int, Sequence[Sample]], sizes: Iterable[int]) -> None:
    """Replace the batches at the indices of `made` in the log, atomically.

    `sizes` is the number of samples of each batch, in order, which must not change.
    """
    with atomic_file(path) as temporary, path.open("rb") as log, temporary.open("wb") as new:
        for place, size in enumerate(sizes):
            lines = [log.readline() for _ in range(size)]
            new.write(_lines(made[place]) if place in made else b"".join(lines))


def _lines(samples: Iterable[Sample]) -> bytes:
    return b"".join(orjson.dumps(sample, option=orjson.OPT_APPEND_NEWLINE) for sample in samples)


def _read_key(line: bytes) -> tuple[tuple[str, int | None, str, str] | None, bool]:
    """Return a sample's (method, seed, task, query id), None if invalid, and whether it failed."""
    try:
        sample = orjson.loads(line)
        key = sample["method"], sample["seed"], sample["task"], sample["query_id"]
        return key, sample["error"] is not None
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None, False


def readable_context(context: Context) -> dict[str, Any]:
    """Return a context in the log's format, with items cut to `ITEM_CHARACTERS`."""
    items = [{"id": item.id, "text": _clip(" · ".join(item.fields.values()))} for item in context.items]
    return {"items": items, "summary": context.summary, "prompts": list(context.prompts)}


def _writable(text: str) -> str:
    """Replace unpaired surrogates, which an endpoint may send and UTF-8 cannot encode."""
    return text.encode(errors="replace").decode()


def _clip(text: str, limit: int = ITEM_CHARACTERS) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
