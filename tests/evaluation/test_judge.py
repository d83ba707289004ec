"""A judge is asked in both orders, and what it says is read strictly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from personakit.errors import RunError
from personakit.evaluation.candidates import Candidate
from personakit.evaluation.instructions import answering, examples_of, facts, judge_log
from personakit.evaluation.judge import Match, judge, read_verdict
from personakit.evaluation.results import compute_results
from personakit.evaluation.runner import run_passes
from personakit.models.refusal import Refusal
from personakit.records import Answer, Instruction, Profile, Query


class Judge:
    """Prefers the answer with more words; says what cannot be read of one that holds "odd"."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def generate(self, prompts: Sequence[str], **options: object) -> list[list[str]]:
        self.asked += prompts
        return [[self._verdict(prompt)] for prompt in prompts]

    def _verdict(self, prompt: str) -> str:
        first = prompt.partition("Answer A: ")[2].partition("\n")[0]
        second = prompt.partition("Answer B: ")[2].partition("\n")[0]
        if "odd" in (first, second):
            return "A or B, who knows"
        return "The better one is A." if len(first.split()) > len(second.split()) else "B"

    def score(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        raise NotImplementedError

    def count_tokens(self, text: str) -> int:
        return len(text.split())


class FirstShown(Judge):
    """Always takes the answer shown first."""

    def _verdict(self, prompt: str) -> str:
        return "A"


def test_both_orders_are_asked_and_agree() -> None:
    model = Judge()
    assert judge([Match("q", "a b c", "a"), Match("q", "a", "a b")], model) == [1.0, 0.0]
    assert len(model.asked) == 4


def test_a_judge_that_follows_the_order_decides_nothing() -> None:
    assert judge([Match("q", "a b c", "a")], FirstShown()) == [0.5]


def test_equal_answers_are_not_asked_about_and_unread_ones_have_no_score() -> None:
    model = Judge()
    assert judge([Match("q", "same ", " same"), Match("q", "odd", "a b")], model) == [0.5, None]
    assert len(model.asked) == 2


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("A", 1.0),
        ("Answer B.", 0.0),
        ("It is a tie", 0.5),
        ("A, not B", None),
        ("", None),
        ("a good one", None),
    ],
)
def test_verdicts(reply: str, verdict: float | None) -> None:
    assert read_verdict(reply) == verdict


class Says:
    """Answers everything alike."""

    def __init__(self, text: str) -> None:
        self.text = text

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        return [Answer(self.text) for _ in queries]

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        return [-6.0 for _ in texts]


def test_an_unread_verdict_is_counted_and_never_lost(tmp_path: Path) -> None:
    rows = [Instruction(str(number), "say", "", "a b") for number in range(3)]
    examples = {"instruction": examples_of(rows, ["u"] * 3)}
    answers = {"base": "a b", "long": "a b c", "odd": "odd"}
    candidates = [Candidate(name, lambda text=text: Says(text)) for name, text in answers.items()]  # type: ignore[misc]
    answer = answering(rows, lambda text: len(text.split()))
    log = run_passes(candidates, examples, answer, tmp_path / "samples.jsonl")
    unread = judge_log(log, tmp_path / "judged.jsonl", "base", Judge())
    results = compute_results(tmp_path / "judged.jsonl", facts(judged=True))
    values = {(row["method"], row["metric"]): row["value"] for row in results["rows"]}
    assert unread == {"odd": 3}
    assert [values[name, "judge"] for name in answers] == [0.5, 1.0, None]
    assert values["long", "likelihood"] == -2.0  # two words and the end
    assert values["long", "exact"] == 0.0


def test_a_judge_that_refuses_has_given_no_verdict_whatever_it_began_to_say() -> None:
    class Refusing(Judge):
        def _verdict(self, prompt: str) -> str:
            return Refusal("A", "finish_reason content_filter")

    assert judge([Match("q", "one two", "one")], Refusing()) == [None]


def test_a_match_that_the_judge_fails_on_is_unread_and_the_others_are_judged() -> None:
    class Failing(Judge):
        def generate(self, prompts: Sequence[str], **options: object) -> list[list[str]]:
            if any("too long" in prompt for prompt in prompts):
                raise RunError("refused", hint="none")
            return super().generate(prompts, **options)

    matches = [Match("q", "one two", "one"), Match("q", "too long", "one"), Match("q", "one", "one two")]
    assert judge(matches, Failing()) == [1.0, None, 0.0]
    with pytest.raises(RunError):
        judge([Match("q", "too long", str(number)) for number in range(4)], Failing())
