"""The template writer: evidence without gold, a plan without content."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from personakit.records import Context
from personakit.rpo.writer import DECIDE, KEEP, NOTHING, TemplateWriter, TrajectoryRequest, evidence, plan
from personakit.tasks import get_task

from .fakes import TASKS, example, gold_of

_SENTENCE = st.lists(st.sampled_from(["red", "Owl", "sat", "on", "7", "mats!"]), max_size=7).map(" ".join)
# Gold answers that share words with the items could leak.
_GOLD = st.text(min_size=1) | st.lists(st.sampled_from(["title", "text", "wrote", "ada-0"]), min_size=1).map(
    " ".join
)
# All words that a plan may contain: no content words.
_PLAN_WORDS = {
    *("keep", "the", "draft", "add", "before", "after"),
    *("within", "drop", "replace", "at", "start", "end"),
}


@pytest.mark.parametrize("task", TASKS)
@given(gold=_GOLD)
def test_evidence_does_not_depend_on_the_gold_answer(task: str, gold: str) -> None:
    one = example(task)
    context = Context(items=one.profile.items)
    shown = evidence(get_task(task), one.query, "a draft", context)
    assert shown != NOTHING
    assert evidence(get_task(task), replace(one.query, gold=gold), "a draft", context) == shown
    other = TemplateWriter().write(
        TrajectoryRequest(
            get_task(task), replace(one.query, gold=gold), "a draft", context, gold_of(task, "x")
        )
    )
    assert other.evidence == shown


def test_evidence_of_a_text_is_the_words_the_user_added() -> None:
    one = example("LaMP_4")
    item = replace(
        one.profile.items[0], fields={"title": "Hark! rain in Oslo, folks", "text": "Rain in Oslo"}
    )
    shown = evidence(get_task("LaMP_4"), one.query, "folks", Context(items=(item,)))
    assert shown == '"Hark!"'


@given(draft=_SENTENCE, gold=_SENTENCE)
def test_a_plan_contains_no_content_words(draft: str, gold: str) -> None:
    said = plan(get_task("LaMP_7"), draft, gold)
    assert set(said.replace(",", "").split()) <= _PLAN_WORDS
    assert not set(gold.split()) & set(said.replace(",", "").split()) - _PLAN_WORDS
    # Other words in the same positions give the same plan.
    renamed = [" ".join(f"x{word}y" for word in text.split()) for text in (draft, gold)]
    assert plan(get_task("LaMP_7"), *renamed) == said


@pytest.mark.parametrize("task", ["LaMP_1", "LaMP_2", "LaMP_3"])
def test_a_plan_does_not_contain_the_label(task: str) -> None:
    known = get_task(task)
    assert not any(label in DECIDE for label in known.labels)
    assert {plan(known, draft, gold) for draft in known.labels for gold in known.labels} == {DECIDE}


@pytest.mark.parametrize(
    ("draft", "gold", "said"),
    [
        ("rain came", "hark rain came", "add before, keep"),
        ("rain came", "rain came bye", "keep, add after"),
        ("rain came", "rain never came", "keep, add within"),
        ("big rain came", "rain came", "drop, keep"),
        ("big rain", "small rain", "replace at the start, keep"),
        ("rain came", "rain stopped", "keep, replace at the end"),
        ("same", "same", "keep"),
    ],
)
def test_a_plan_describes_the_edits(draft: str, gold: str, said: str) -> None:
    assert plan(get_task("LaMP_4"), draft, gold) == said


@given(gold=st.text(min_size=1))
def test_where_the_history_was_left_out_the_draft_is_kept(gold: str) -> None:
    assume(gold != "my draft")
    query = example("LaMP_4").query
    request = TrajectoryRequest(get_task("LaMP_4"), query, "my draft", Context(), gold, keep_draft=True)
    written = TemplateWriter().write(request)
    assert (written.evidence, written.plan, written.response) == (NOTHING, KEEP, "my draft")
