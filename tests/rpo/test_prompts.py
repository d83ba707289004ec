"""The rewriter's prompt, and parsing of its output."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personakit.records import Context
from personakit.rpo.prompts import TAGS, Trajectory, parse_trajectory, rewriter_prompt
from personakit.tasks import get_task

from .fakes import TASKS, count_words, example


def prompt_of(task: str, draft: str, *, gold: str | None = None, max_length: int = 500) -> str:
    one = example(task)
    query = replace(one.query, gold=gold)
    context = Context(items=one.profile.items)
    return rewriter_prompt(
        get_task(task), query, draft, context, count_tokens=count_words, max_length=max_length
    )


@pytest.mark.parametrize("task", TASKS)
def test_the_prompt_contains_query_draft_and_items(task: str) -> None:
    one, prompt = example(task), prompt_of(task, "a plain draft")
    assert one.query.search_text in prompt or task == "LaMP_1"
    for part in ("asks about", "a plain draft", *(f"ada-{n} wrote" for n in range(3))):
        assert part in prompt


@pytest.mark.parametrize("task", TASKS)
@given(gold=st.text(min_size=1))
def test_the_prompt_does_not_depend_on_the_gold_answer(task: str, gold: str) -> None:
    assert prompt_of(task, "a draft", gold=gold) == prompt_of(task, "a draft", gold=None)


@pytest.mark.parametrize("task", TASKS)
def test_without_context_the_query_is_worded_as_for_the_base_model(task: str) -> None:
    one = example(task)
    prompt = rewriter_prompt(
        get_task(task), one.query, "draft", Context(), count_tokens=count_words, max_length=100
    )
    assert prompt.startswith(one.query.text)


def test_items_are_truncated_to_fit_and_the_draft_is_not() -> None:
    draft = "word " * 30 + "end"
    long, short = (prompt_of("LaMP_5", draft, max_length=length) for length in (500, 75))
    assert count_words(short) <= 75 < count_words(long)
    assert draft in short
    assert "abstract ada-2 wrote" in long
    assert "abstract ada-2 wrote" not in short


_PLAIN = st.text(st.characters(exclude_categories=["Cs"])).filter(lambda text: "<" not in text)


@given(_PLAIN, _PLAIN, _PLAIN)
def test_a_trajectory_survives_a_round_trip(evidence: str, plan: str, response: str) -> None:
    read = parse_trajectory(Trajectory(evidence, plan, response).text())
    assert read == Trajectory(evidence.strip(), plan.strip(), response.strip())


_E, _P, _R = "<evidence>e</evidence>", "<plan>p</plan>", "<response>r</response>"


def test_white_space_around_the_tags_is_ignored() -> None:
    assert parse_trajectory(f" {_E}\n{_P} {_R}\n") == Trajectory("e", "p", "r")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(_E + _P, id="missing response"),
        pytest.param(_P + _R, id="missing evidence"),
        pytest.param("r", id="no tags"),
        pytest.param("", id="empty"),
        pytest.param(_P + _E + _R, id="misordered"),
        pytest.param(_E + _P + _R + _R, id="two responses"),
        pytest.param(_E + _P + _P + _R, id="two plans"),
        pytest.param(_E + _E + _P + _R, id="two evidences"),
        pytest.param(_E + _P + _R.replace("r<", "r</response>x<"), id="closed twice"),
        pytest.param(_E + _P + "<response>r", id="cut off"),
        pytest.param("so: " + _E + _P + _R, id="text before"),
        pytest.param(_E + _P + _R + " done", id="text after"),
        pytest.param(_E + "and" + _P + _R, id="text between"),
    ],
)
def test_anything_but_the_three_tags_in_order_is_rejected(text: str) -> None:
    assert parse_trajectory(text) is None


def test_tags_match_the_written_trajectory() -> None:
    text = Trajectory("", "", "").text()
    assert "".join(TAGS) == text
