"""A judge compares in both orders, and its verdicts are parsed strictly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from personakit.errors import RunError
from personakit.evaluation.judge import Match, judge, judge_samples, read_verdict
from personakit.models.refusal import Refusal, out_of_tokens

from .samples_of import sample


class Judge:
    """Prefers the answer with more words; gives an unparsable verdict on answers with "odd"."""

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
    """Always prefers the first answer."""

    def _verdict(self, prompt: str) -> str:
        return "A"


def test_judge_compares_both_orders() -> None:
    model = Judge()
    assert judge([Match("q", "a b c", "a"), Match("q", "a", "a b")], model) == [1.0, 0.0]
    assert len(model.asked) == 4


def test_position_biased_judge_gives_a_tie() -> None:
    assert judge([Match("q", "a b c", "a")], FirstShown()) == [0.5]


def test_equal_answers_need_no_judge_and_unparsed_verdicts_have_no_score() -> None:
    model = Judge()
    assert judge([Match("q", "same ", " same"), Match("q", "odd", "a b")], model) == [0.5, None]
    assert len(model.asked) == 2


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("A", 1.0),
        ("Answer B.", 0.0),
        ("It is a tie", 0.5),
        ("**B**", 0.0),
        ("Verdict: **A**", 1.0),
        ('"Tie".', 0.5),
        ("The better answer is B", 0.0),
        ("B\n\nAnswer A is longer.", 0.0),
        ("B. It is shorter than A.", 0.0),
        ("A because it is shorter", 1.0),
        ("<think>\nA or B?\n</think>\n\nB", 0.0),
        ("A or B?\n</think>\nA", 1.0),
        ("<think>\nOkay, let me look at Answer A first. It", None),
        ("I compare the two. Answer A", None),
        ("A good answer is short", None),
        ("A is better than B", 1.0),
        ("**B** is clearly better than **A**.", 0.0),
        ("A because B is worse", 1.0),
        ("B, since A is worse", 0.0),
        ("A, not B", 1.0),
        ("A or B?", None),
        ("A, B", None),
        ("A and B are equal", None),
        ("A is worse", None),
        ("A is worse than B", None),
        ("A is not better than B", None),
        ("A is as good as B", None),
        ("A is better in tone than B, but B is right", None),
        ("", None),
        ("a good one", None),
    ],
)
def test_verdicts(reply: str, verdict: float | None) -> None:
    assert read_verdict(reply) == verdict


def test_unparsed_verdict_is_counted_but_not_scored() -> None:
    answers = {"base": "a b", "long": "a b c", "odd": "odd"}
    samples = [
        replace(sample(name, "instruction", query, seed=seed), prediction=text)
        for name, text in answers.items()
        for query in range(3)
        for seed in (0, 1)
    ]
    samples.append(sample("long", "instruction", "unanswered by base", error="timed out"))
    found = judge_samples(samples, {"long": "base", "odd": "base"}, Judge())
    assert found.judged == {"long": 6, "odd": 6}
    assert found.unread == {"odd": 6}
    verdicts = {(samples[place].method, verdict) for place, verdict in found.verdicts.items()}
    assert verdicts == {("long", 1.0), ("odd", None)}


def test_judge_compares_answers_of_the_same_seed() -> None:
    seeds = {0: "a b c d", 1: "a"}
    samples = [replace(sample("base", "t", 1, seed=seed), prediction=text) for seed, text in seeds.items()]
    samples += [replace(sample("one", "t", 1, seed=seed), prediction="a b") for seed in seeds]
    samples += [replace(sample("alone", "t", 1), prediction="x y z")]
    found = judge_samples(samples, {"base": "alone", "one": "base"}, Judge())
    assert [found.verdicts[place] for place in range(4)] == [1.0, 0.0, 0.0, 1.0]


def test_refusing_judge_gives_no_verdict() -> None:
    class Refusing(Judge):
        def _verdict(self, prompt: str) -> str:
            return Refusal("A", "finish_reason content_filter")

    assert judge([Match("q", "one two", "one")], Refusing()) == [None]


def test_judge_that_reasons_until_the_limit_gives_no_verdict() -> None:
    class Reasoning(Judge):
        def _verdict(self, prompt: str) -> str:
            return out_of_tokens(16)

    assert judge([Match("q", "one two", "one")], Reasoning()) == [None]


def test_limit_of_a_verdict_can_be_raised() -> None:
    class Limited(FirstShown):
        def generate(self, prompts: Sequence[str], **options: object) -> list[list[str]]:
            assert options["max_new_tokens"] == 500
            return super().generate(prompts)

    assert judge([Match("q", "a b c", "a")], Limited(), max_new_tokens=500) == [0.5]


def test_failed_judge_request_does_not_affect_others() -> None:
    class Failing(Judge):
        def generate(self, prompts: Sequence[str], **options: object) -> list[list[str]]:
            if any("too long" in prompt for prompt in prompts):
                raise RunError("refused", hint="none")
            return super().generate(prompts, **options)

    matches = [Match("q", "one two", "one"), Match("q", "too long", "one"), Match("q", "one", "one two")]
    assert judge(matches, Failing()) == [1.0, None, 0.0]
    with pytest.raises(RunError):
        judge([Match("q", "too long", str(number)) for number in range(4)], Failing())
