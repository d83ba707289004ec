"""What happens to a batch of which some queries, or all, are not answered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from personakit.errors import GoneError, RunError
from personakit.evaluation.candidates import Candidate
from personakit.evaluation.runner import evaluate
from personakit.evaluation.samples import read_samples
from personakit.records import Answer, Profile, Query

from .people import Imitator
from .test_runner import TASKS, people


class Picky(Imitator):
    """Refuses a whole batch for the queries named in `refused`, as an endpoint does."""

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


def test_the_query_that_spoils_a_batch_is_found_and_the_others_are_answered(tmp_path: Path):
    found = ask(tmp_path, picky("3001", "3006"))
    assert [id for id, answered in found if not answered] == ["3001", "3006"]
    assert len(found) == 10


def test_refused_again_and_again_nothing_more_is_asked(tmp_path: Path):
    with pytest.raises(RunError, match="not this one"):
        ask(tmp_path, picky(*(f"300{number}" for number in range(10))))


def test_where_nobody_answers_any_more_what_was_answered_is_kept_and_resumed(tmp_path: Path):
    with pytest.raises(GoneError):
        ask(tmp_path, picky("3006", error=GoneError))
    logged = [sample.query_id for sample in read_samples(tmp_path / "samples.jsonl")]
    assert logged == [f"300{number}" for number in range(6)]
    assert len(ask(tmp_path, picky(), resume=True)) == 10
    alone = tmp_path / "alone"
    ask(alone, picky())
    assert (tmp_path / "samples.jsonl").read_bytes() == (alone / "samples.jsonl").read_bytes()
