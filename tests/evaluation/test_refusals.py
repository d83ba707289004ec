"""Batches with some or all queries failing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from personakit.errors import RunError, ServerUnavailableError
from personakit.evaluation.candidates import Candidate
from personakit.evaluation.runner import evaluate
from personakit.evaluation.samples import read_samples
from personakit.records import Answer, Profile, Query

from .people import Imitator
from .test_runner import TASKS, people


class Picky(Imitator):
    """Fails a whole batch if it contains a query in `refused`, like an endpoint."""

    refused: frozenset[str] = frozenset()
    error: type[RunError] = RunError

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        if self.refused & {query.id for query in queries}:
            raise self.error("not this one", hint="none")
        return super().respond(queries, profiles)


def picky(*refused: str, error: type[RunError] = RunError) -> type[Picky]:
    return type("Picky", (Picky,), {"refused": frozenset(refused), "error": error})


def ask(folder: Path, personalizer: type[Picky], *, resume: bool = False) -> list[tuple[str, bool]]:
    some = {"LaMP_3": people()["LaMP_3"]}
    log = evaluate([Candidate("m", personalizer)], some, TASKS, folder, batch_size=4, resume=resume)
    return [(sample.query_id, sample.error is None) for sample in read_samples(log)]


def test_bisection_isolates_the_failing_query(tmp_path: Path):
    found = ask(tmp_path, picky("3001", "3006"))
    assert [id for id, answered in found if not answered] == ["3001", "3006"]
    assert len(found) == 10


def test_repeated_failures_stop_the_requests(tmp_path: Path):
    with pytest.raises(RunError, match="not this one"):
        ask(tmp_path, picky(*(f"300{number}" for number in range(10))))


def test_answers_before_an_outage_are_kept_and_resumed(tmp_path: Path):
    with pytest.raises(ServerUnavailableError):
        ask(tmp_path, picky("3006", error=ServerUnavailableError))
    logged = [sample.query_id for sample in read_samples(tmp_path / "samples.jsonl")]
    assert logged == [f"300{number}" for number in range(6)]
    assert len(ask(tmp_path, picky(), resume=True)) == 10
    alone = tmp_path / "alone"
    ask(alone, picky())
    assert (tmp_path / "samples.jsonl").read_bytes() == (alone / "samples.jsonl").read_bytes()


def test_resume_replaces_failed_answers(tmp_path: Path):
    candidates = [Candidate(name, picky("3001", "3006", "4009")) for name in ("m", "n")]
    evaluate(candidates, people(), TASKS, tmp_path, batch_size=4)
    alone = evaluate([Candidate(name, Imitator) for name in "mn"], people(), TASKS, tmp_path / "alone")
    assert (tmp_path / "samples.jsonl").read_bytes() != alone.read_bytes()
    asked: list[list[str]] = []

    class Counting(Imitator):
        def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
            asked.append([query.id for query in queries])
            return super().respond(queries, profiles)

    mended = [Candidate(name, Counting) for name in "mn"]
    log = evaluate(mended, people(), TASKS, tmp_path, batch_size=4, resume=True)
    assert log.read_bytes() == alone.read_bytes()
    # Batches with a failed query are repeated unchanged; the others are not.
    whole = [[f"300{n}" for n in range(4)], [f"300{n}" for n in range(4, 8)], ["4008", "4009"]]
    assert asked == whole * 2


def test_outage_during_resume_keeps_the_log(tmp_path: Path):
    ask(tmp_path, picky("3001", "3006"))
    before = (tmp_path / "samples.jsonl").read_bytes()
    with pytest.raises(ServerUnavailableError):
        ask(tmp_path, picky("3001", error=ServerUnavailableError), resume=True)
    assert (tmp_path / "samples.jsonl").read_bytes() == before
    with pytest.raises(ServerUnavailableError):  # after the first of the two batches was replaced
        ask(tmp_path, picky("3006", error=ServerUnavailableError), resume=True)
    errors = [sample.query_id for sample in read_samples(tmp_path / "samples.jsonl") if sample.error]
    assert errors == ["3006"]


def test_interrupted_log_with_failures_is_completed(tmp_path: Path):
    some = {"LaMP_3": people()["LaMP_3"]}
    with pytest.raises(ServerUnavailableError):
        evaluate([Candidate("m", _failing_then_gone)], some, TASKS, tmp_path, batch_size=4)
    assert [sample.error is None for sample in read_samples(tmp_path / "samples.jsonl")].count(False) == 1
    assert all(answered for _, answered in ask(tmp_path, picky(), resume=True))
    ask(tmp_path / "alone", picky())
    assert (tmp_path / "samples.jsonl").read_bytes() == (tmp_path / "alone" / "samples.jsonl").read_bytes()


def _failing_then_gone() -> Imitator:
    class Failing(Picky):
        refused = frozenset({"3001"})

        def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
            if "3006" in {query.id for query in queries}:
                raise ServerUnavailableError("nobody there", hint="none")
            return super().respond(queries, profiles)

    return Failing()
