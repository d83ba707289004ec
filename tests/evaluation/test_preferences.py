"""Held-out pairs: accuracy under both references, ties, bits, comparisons and counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from personakit.errors import RunError
from personakit.evaluation.candidates import Candidate, ExamplesWithTraits
from personakit.evaluation.pair_scoring import (
    ACCURACY,
    BITS,
    FACTS,
    SAME_CONTEXT,
    TASK,
    gain_in_bits,
    scored_pairs,
)
from personakit.evaluation.results import Claims, compute_results
from personakit.evaluation.runner import run_passes
from personakit.evaluation.samples import read_samples
from personakit.records import Answer, Context, Example, Profile, ProfileItem, Query

USERS = 12


class Speaker:
    """Scores a text by its length in nats, plus a bonus for the user's own word."""

    def __init__(self, worth: float = 0.0) -> None:
        self.worth = worth

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        raise AssertionError("pairs are scored, not answered")

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        return [
            len(text) + self.worth * (profile.user_id in text)
            for profile, text in zip(profiles, texts, strict=True)
        ]

    def report_context(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        return [Answer("", context=Context(summary="short"), tokens=9, context_tokens=3) for _ in queries]


@dataclass(frozen=True)
class Row:
    policy: Speaker
    reference: Speaker
    start: Speaker
    beta: float = 0.1


def pairs() -> ExamplesWithTraits:
    examples, traits = [], {}
    for number in range(USERS):
        name = f"user{number:02}"
        profile = Profile(name, (ProfileItem("1", {"comment": "x"}, "x"),))
        for at in (1, 2):
            query = Query(f"{name}/{at}", "preference", "say", "say", name, f"by {name}")
            examples.append(Example(query, profile))
            traits[query.id] = {"taste": number % 2, "place": number}
    return ExamplesWithTraits(examples, traits)


def run(folder: Path, rows: dict[str, Row], **how: Any) -> dict[str, Any]:
    examples = pairs()
    rejected = {example.query.id: "by anybody else" for example in examples}
    candidates = [
        Candidate(label, lambda row=row: row, profiles="other" if "other" in label else "own")  # type: ignore[misc]
        for label, row in rows.items()
    ]
    log = run_passes(candidates, {TASK: examples}, scored_pairs(rejected), folder / "samples.jsonl")
    claims = Claims(
        compared=[("good", other) for other in rows if other != "good"],
        wrong_user=[("good", "other", "base")],
        gaps=[("good", "base", "best")],
    )
    return compute_results(log, {TASK: FACTS}, claims, resamples=50, **how)


GOOD = Row(Speaker(30.0), Speaker(), Speaker(20.0))
FROZEN = Speaker(4.0)


def test_pair_is_correct_if_the_preferred_answers_margin_is_larger(tmp_path: Path) -> None:
    bad = Row(Speaker(-1.0), Speaker(), Speaker(-2.0))
    rows = {
        "base": Row(Speaker(), Speaker(), Speaker()),
        "good": GOOD,
        "bad": bad,
        "other": GOOD,
        "best": GOOD,
    }
    rows["frozen"] = Row(FROZEN, Speaker(), FROZEN)
    results = run(tmp_path, rows)
    values = {(row["method"], row["metric"]): row["value"] for row in results["rows"]}
    # The rejected answer is longer, so the plain likelihood always prefers it.
    assert values["good", ACCURACY] == 1.0
    assert values["base", ACCURACY] == 0.5, "ties count half"
    assert (values["bad", ACCURACY], values["bad", SAME_CONTEXT]) == (0.0, 1.0)
    assert (values["frozen", ACCURACY], values["frozen", SAME_CONTEXT]) == (1.0, 0.5)
    assert values["good", BITS] == pytest.approx(1 - math.log2(1 + math.exp(-3.0)), abs=1e-6)
    assert values["base", BITS] == 0.0
    # Another user's history has no effect: their word is in none of this user's answers.
    assert values["other", ACCURACY] == 0.5
    assert results["wrong_user"][0]["holds"]
    assert results["gap_closed"][0]["value"] == 1.0
    [sample] = [each for each in read_samples(tmp_path / "samples.jsonl") if each.method == "good"][:1]
    assert (sample.prediction, sample.gold, sample.context["summary"]) == (sample.gold, "by user00", "short")
    assert sample.trace["rejected"] == "by anybody else"


def test_the_wrong_user_differs_in_every_trait(tmp_path: Path) -> None:
    run(tmp_path, {"good": GOOD, "other": GOOD})
    for sample in read_samples(tmp_path / "samples.jsonl"):
        if sample.method == "other":
            mine, theirs = (int(name[-2:]) for name in (sample.user_id, str(sample.profile_of)))
            assert mine % 2 != theirs % 2


def test_p_values_are_corrected_over_the_rows(tmp_path: Path) -> None:
    results = run(tmp_path, {"base": Row(Speaker(), Speaker(), Speaker()), "good": GOOD, "other": GOOD})
    raw = [verdict["p_values_holm"][TASK] for verdict in results["beats"]]
    assert [verdict["p_holm"] for verdict in results["beats"]] == [pytest.approx(2 * p) for p in raw]


def test_failed_pair_does_not_affect_others(tmp_path: Path) -> None:
    class Failing(Speaker):
        def score(
            self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
        ) -> list[float]:
            if any(query.id == "user03/1" for query in queries):
                raise RunError("too long", hint="none")
            return super().score(queries, profiles, texts)

    results = run(tmp_path, {"good": Row(Failing(30.0), Speaker(), Speaker())})
    failed = [each.query_id for each in read_samples(tmp_path / "samples.jsonl") if each.error]
    assert failed == ["user03/1"]
    assert {row["errors"] for row in results["rows"]} == {1}


@pytest.mark.parametrize(("margin", "bits"), [(0.0, 0.0), (800.0, 1.0), (-800.0, 1 - 800 / math.log(2))])
def test_bits_do_not_overflow(margin: float, bits: float) -> None:
    assert gain_in_bits(margin) == pytest.approx(bits)
