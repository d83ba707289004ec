"""Held-out pairs: accuracy under both references, ties, bits; what is compared, and what is counted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from personakit.evaluation.candidates import Candidate
from personakit.evaluation.preference_judging import ANSWERS_FILE, answering, judge_answers
from personakit.evaluation.preference_judging import TASK as ANSWERS
from personakit.evaluation.preference_results import preference_results
from personakit.evaluation.preference_table import notes, renderables
from personakit.evaluation.preferences import (
    ACCURACY,
    BITS,
    SAME_CONTEXT,
    TASK,
    PreferencePairs,
    gain_in_bits,
    weighing,
)
from personakit.evaluation.results import Claims
from personakit.evaluation.runner import run_passes
from personakit.evaluation.samples import read_samples
from personakit.records import Answer, Context, PreferenceUser, Profile, ProfileItem, Query, Signals

USERS = 12


class Speaker:
    """Gives every text its length in nats, and as much more as the user's own word in it is worth to it."""

    def __init__(self, worth: float = 0.0, *, drops: str | None = None) -> None:
        self.worth, self.drops = worth, drops

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        raise AssertionError("pairs are scored, not answered")

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        return [
            len(text) + self.worth * (profile.user_id in text)
            for profile, text in zip(profiles, texts, strict=True)
        ]

    def told(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        trace = {"left out": self.drops} if self.drops else {}
        return [
            Answer("", context=Context(summary="short"), trace=trace, tokens=9, context_tokens=3)
            for _ in queries
        ]


@dataclass(frozen=True)
class Row:
    policy: Speaker
    reference: Speaker
    start: Speaker
    beta: float = 0.1


def pairs() -> PreferencePairs:
    users = []
    for number in range(USERS):
        name = f"user{number:02}"
        profile = Profile(name, (ProfileItem("1", {"comment": "x"}, "x"),))
        asked = [
            (Query(f"{name}/{at}", "preference", "say", "say", name, f"by {name}"), "by anybody else")
            for at in (1, 2)
        ]
        persona = f"taste {number % 2}; place {number}"
        users.append((PreferenceUser(name, Signals(comments=("x",)), (), persona), profile, asked))
    return PreferencePairs(users)


def run(folder: Path, rows: dict[str, Row], **how: Any) -> dict[str, Any]:
    some = pairs()
    candidates = [
        Candidate(label, lambda row=row: row, profiles="other" if "other" in label else "own")  # type: ignore[misc]
        for label, row in rows.items()
    ]
    log = run_passes(candidates, {TASK: some}, weighing(some), folder / "samples.jsonl")
    claims = Claims(
        compared=[("good", other) for other in rows if other != "good"],
        wrong_user=[("good", "other", "base")],
        gaps=[("good", "base", "best")],
    )
    return preference_results(log, claims, made_by={}, skipped={}, resamples=50, **how)


GOOD = Row(Speaker(30.0), Speaker(), Speaker(20.0))
FROZEN = Speaker(4.0)


def test_a_pair_is_right_where_the_preferred_answer_gains_more_over_the_reference(tmp_path: Path) -> None:
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
    # The other answer is longer, so the plain likelihood would favour it everywhere.
    assert values["good", ACCURACY] == 1.0
    assert values["base", ACCURACY] == 0.5, "ties count half"
    assert (values["bad", ACCURACY], values["bad", SAME_CONTEXT]) == (0.0, 1.0)
    assert (values["frozen", ACCURACY], values["frozen", SAME_CONTEXT]) == (1.0, 0.5)
    assert values["good", BITS] == pytest.approx(1 - math.log2(1 + math.exp(-3.0)), abs=1e-6)
    assert values["base", BITS] == 0.0
    # Another user's history moves nothing: their word is in no answer to this user.
    assert values["other", ACCURACY] == 0.5
    assert results["wrong_user"][0]["holds"]
    assert results["gap_closed"][0]["value"] == 1.0
    [sample] = [each for each in read_samples(tmp_path / "samples.jsonl") if each.method == "good"][:1]
    assert (sample.prediction, sample.gold, sample.context["summary"]) == (sample.gold, "by user00", "short")
    assert sample.trace["rejected"] == "by anybody else"


def test_the_wrong_user_wants_something_else_in_every_clause(tmp_path: Path) -> None:
    run(tmp_path, {"good": GOOD, "other": GOOD})
    for sample in read_samples(tmp_path / "samples.jsonl"):
        if sample.method == "other":
            mine, theirs = (int(name[-2:]) for name in (sample.user_id, str(sample.profile_of)))
            assert mine % 2 != theirs % 2


def test_p_values_are_corrected_over_the_rows_and_what_did_not_fit_is_counted_by_user(tmp_path: Path) -> None:
    cut = replace(GOOD, policy=Speaker(30.0, drops="2 pairs, 1 comments"))
    results = run(tmp_path, {"base": Row(Speaker(), Speaker(), Speaker()), "good": cut, "other": GOOD})
    raw = [verdict["p_values_holm"][TASK] for verdict in results["beats"]]
    assert [verdict["p_holm"] for verdict in results["beats"]] == [pytest.approx(2 * p) for p in raw]
    assert results["left_out"] == {"good": {"users": USERS, "pairs": 2 * USERS, "comments": USERS}}
    results["notes"] = list(notes(results))
    said = " ".join(str(getattr(part, "plain", "")) for part in renderables(results))
    assert f"of {USERS} users not all signals fit the prompt (24 pairs, 12 comments were left out)" in said
    assert "published, accuracy in percent, POPI" in said


class Writer(Speaker):
    """Answers in its own words, with the user's name in them where it is worth something to it."""

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        return [Answer(f"by {profile.user_id if self.worth else 'somebody'}") for profile in profiles]


class Reader:
    """A judge who wants to see what is known of the person in the answer, and mumbles about one of them."""

    def __init__(self, mumbles: str) -> None:
        self.mumbles = mumbles

    def generate(self, prompts: Sequence[str], **how: Any) -> list[list[str]]:
        said = []
        for prompt in prompts:
            known = prompt.split("is known: ")[1].split("\n")[0]
            first = prompt.split("Answer A: ")[1].split("\n")[0]
            said.append(["both" if known == self.mumbles else "A" if known in first else "B"])
        return said


def test_a_judge_compares_answers_with_those_of_a_row_that_knows_nothing(tmp_path: Path) -> None:
    rows = {"base": Row(Writer(), Writer(), Writer()), "good": Row(Writer(1.0), Writer(), Writer())}
    rows["other"] = rows["good"]
    asked = pairs().first_of_each_user()
    assert len(asked) == USERS
    candidates = [
        Candidate(label, lambda row=row: row, profiles="other" if label == "other" else "own")  # type: ignore[misc]
        for label, row in rows.items()
    ]
    run_passes(candidates, {ANSWERS: asked}, answering(), tmp_path / ANSWERS_FILE)
    against = {"good": "base", "other": "base"}
    judged = judge_answers(tmp_path, Reader("user03"), lambda user: user, against, resamples=20)  # type: ignore[arg-type]
    values = {row["method"]: row["value"] for row in judged["rows"]}
    # The judge says B of two answers without the name, whatever the order: no win.
    assert values == {"good": 1.0, "other": 0.5}
    assert judged["asked"] == {"good": USERS, "other": USERS}
    assert judged["unread"] == {"good": 1, "other": 1}
    silent = judge_answers(tmp_path, Reader(""), lambda user: "", against, resamples=20)  # type: ignore[arg-type]
    assert (silent["rows"], silent["unread"]) == ([], {"good": USERS, "other": USERS})


@pytest.mark.parametrize(("margin", "bits"), [(0.0, 0.0), (800.0, 1.0), (-800.0, 1 - 800 / math.log(2))])
def test_bits_do_not_overflow(margin: float, bits: float) -> None:
    assert gain_in_bits(margin) == pytest.approx(bits)
