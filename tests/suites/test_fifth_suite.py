"""A fifth suite: one file (this one) and one line (the entry in `SUITES`) give it the whole pipeline."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from personakit.cli import main
from personakit.errors import RunError, ServerUnavailableError
from personakit.evaluation.candidates import Candidate
from personakit.evaluation.common_sections import (
    comparison_section,
    cost_section,
    findings_section,
    score_section,
)
from personakit.evaluation.measurements import TaskMetrics
from personakit.evaluation.results import Claims
from personakit.evaluation.samples import make_sample
from personakit.records import Answer, Example, Profile, ProfileItem, Query
from personakit.suites import SUITES
from personakit.suites.base import COMMON, Options, Row, Suite, World

FAILING: dict[str, RunError] = {}


class Words:
    """Answers with as many words as the user's items have, or one."""

    def __init__(self, reads_history: bool, fails: bool = False) -> None:
        self.reads_history = reads_history
        self.fails = fails

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        for query in queries:
            if self.fails and query.id == "q3":
                raise RunError("too long", hint="none")
            if query.id in FAILING:
                raise FAILING[query.id]
        lengths = [len(each.items[-1].document.split()) if each.items else 1 for each in profiles]
        return [
            Answer("word " * (length if self.reads_history else 1), tokens=9, context_tokens=length)
            for length in lengths
        ]


class LengthSuite(Suite):
    """Evaluate whether an answer is as long as the user's own texts."""

    name = "length"
    options: ClassVar[Sequence[str]] = COMMON
    row_names = ("generic", "other")

    def load(self, options: Options, note: Callable[[str], None]) -> World:
        examples = []
        for number in range(options.limit or 8):
            user = f"user{number}"
            text = "x " * (2 + number % 3)
            item = ProfileItem("1", {"text": text}, text)
            query = Query(f"q{number}", "length", f"ask {number}", f"ask {number}", user, text)
            examples.append(Example(query, Profile(user, (item,))))
        return World(
            options=options,
            runs=[],
            data="made up",
            examples={"length": examples},
            facts={"length": TaskMetrics(("accuracy",))},
            fingerprints={},
            zero="generic",
        )

    def rows(self, world: World) -> list[Row]:
        return [
            Row(name="generic", label="generic", open=lambda world, run: Words(False)),
            Row(label="reader", open=lambda world, run: Words(True), curves=("history",)),
            Row(name="other", label="reader, other", open=lambda world, run: Words(True), profiles="other"),
            Row(
                name="impossible",
                label="impossible",
                open=lambda world, run: None,
                why_not=lambda world: "it cannot be",
            ),
        ]

    def answering(self, world: World) -> Any:
        def answer(
            candidate: Candidate, opened: Words, examples: Sequence[Example], profiles: Sequence[Profile]
        ) -> list[Any]:
            answers = opened.respond([example.query for example in examples], profiles)
            samples = []
            for each in zip(examples, profiles, answers, strict=True):
                correct = float(len(each[2].text.split()) == len((each[0].query.gold or "").split()))
                samples.append(make_sample(candidate, *each, scores={"accuracy": correct}, utility=correct))
            return samples

        return answer

    def claims(self, world: World, labels: Sequence[str]) -> Claims:
        return Claims(compared=[("reader", "generic"), ("reader", "reader, other")])

    def leaks(self, world: World) -> list[Any]:
        return []

    def further(
        self, world: World, rows: Sequence[Row], passes: Any, log: Path, results: dict[str, Any]
    ) -> Path:
        results["before"] = 1
        if "further" in FAILING:
            raise FAILING["further"]
        return log

    def notes(self, results: Mapping[str, Any]) -> list[str]:
        return [f"before: {results.get('before')}"]

    def sections(self, results: Mapping[str, Any], costs: Mapping[str, Any]) -> list[Any]:
        return [
            score_section(results, "generic"),
            comparison_section(results),
            findings_section(results),
            cost_section(results, costs),
        ]


@pytest.fixture(autouse=True)
def _fifth(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setitem(SUITES, "length", LengthSuite())
    monkeypatch.chdir(tmp_path)
    yield
    FAILING.clear()


def results_of(folder: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(Path(folder, "results.json").read_text())
    return document


def test_it_has_a_command_with_rows_results_users_report_and_curves(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["eval", "length", "--output", "out", "--curve", "history"]) == 0
    printed = capsys.readouterr()
    assert "no row for impossible: it cannot be" in printed.err
    assert "reader" in printed.out
    results = results_of("out")
    values = {row["method"]: row["value"] for row in results["rows"] if row["task"] == "length"}
    assert (values["generic"], values["reader"]) == (0.0, 1.0)
    assert [(point["at"], point["value"]) for point in results["curves"]["history"]][:2] == [(0, 0), (1, 1)]
    with Path("out/users.csv").open(newline="") as handle:
        gains = [float(row["gain"]) for row in csv.DictReader(handle) if row["against"] == "generic"]
    assert gains == [1.0] * 8
    page = Path("out/report.html").read_text()
    assert "tokens" in page
    Path("out/report.html").unlink()
    assert main(["report", "out"]) == 0
    assert Path("out/report.html").read_text() == page


def test_a_dry_run_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "length", "--dry-run", "--json", "--limit", "3"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["rows"], plan["queries"]) == (["generic", "reader", "reader, other"], {"length": 3})
    assert not Path("runs").exists()


def test_a_failed_query_is_found_by_bisection_and_tried_again_on_resume(
    capsys: pytest.CaptureFixture[str],
) -> None:
    FAILING["q3"] = RunError("too long", hint="none")
    assert main(["eval", "length", "--output", "out"]) == 0
    assert "3 requests failed and have no answer" in capsys.readouterr().err
    assert {row["errors"] for row in results_of("out")["rows"] if row["task"] == "length"} == {1}
    FAILING.clear()
    assert main(["eval", "length", "--output", "out", "--resume"]) == 0
    assert main(["eval", "length", "--output", "alone"]) == 0
    assert Path("out/results.json").read_bytes() == Path("alone/results.json").read_bytes()


def test_where_the_server_is_gone_the_results_are_partial_and_resume_completes_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    FAILING["q5"] = ServerUnavailableError("nobody answers", hint="start it")
    assert main(["eval", "length", "--output", "out"]) == 1
    assert results_of("out")["partial"] == {"answers": 5, "of": 24, "reason": "nobody answers"}
    assert "PARTIAL: 5 of 24 answers" in Path("out/report.html").read_text()
    FAILING.clear()
    assert main(["eval", "length", "--output", "out", "--resume"]) == 0
    assert "partial" not in results_of("out")


def test_what_was_measured_before_a_failure_is_in_the_partial_results() -> None:
    FAILING["further"] = RunError("the judge is gone", hint="start it")
    assert main(["eval", "length", "--output", "out"]) == 1
    partial = results_of("out")
    assert (partial["partial"]["answers"], partial["before"], partial["notes"]) == (24, 1, ["before: 1"])


def test_a_failure_of_a_curve_alone_is_found_by_resume(capsys: pytest.CaptureFixture[str]) -> None:
    def at(self: Suite, world: World, row: Row, kind: str, place: int) -> Row:
        return replace(row, open=lambda world, run: Words(True, fails=bool(place)))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(LengthSuite, "at", at)
        assert main(["eval", "length", "--curve", "history"]) == 0
    assert "5 requests failed" in capsys.readouterr().err  # one query at 5 of 6 places
    assert main(["eval", "length", "--curve", "history", "--resume"]) == 0
    assert "failed" not in capsys.readouterr().err


def test_unknown_and_impossible_rows_and_curves_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for options, expected in (
        (["--baseline", "nobody"], 'unknown --baseline "nobody"'),
        (["--baseline", "impossible"], "--baseline impossible: it cannot be"),
        (["--curve", "k"], 'unknown --curve "k"'),
    ):
        assert main(["eval", "length", *options]) == 2
        assert expected in capsys.readouterr().err
