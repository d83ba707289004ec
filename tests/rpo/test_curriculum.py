"""The curriculum: the items that its stages show."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personakit.config import TrainRPO, load
from personakit.config.train_rpo import CurriculumSettings
from personakit.errors import UserError
from personakit.records import Context, Example
from personakit.retrieval import open_retriever
from personakit.rpo.curriculum import ContextStage, curriculum_stages, staged_context
from personakit.rpo.dataset import DraftedQuery
from personakit.rpo.rl_prompts import BUILT, NO_REWARD, TOO_LONG, WITHOUT_HISTORY, RLPromptBuilder
from personakit.tasks import get_task

from .fakes import TASKS, count_words, draft_in, example, gold_of

USERS = ("ada", "bob", "cyd")


@pytest.mark.parametrize(
    ("k", "items"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (4, [1, 2, 4]), (6, [1, 2, 4, 6])]
)
def test_items_double_up_to_k_by_default(k: int, items: list[int]) -> None:
    assert [stage.items for stage in curriculum_stages(CurriculumSettings(), k)] == items
    later = [stage.items for stage in curriculum_stages(CurriculumSettings(first=2), k)]
    assert later == {1: [1], 2: [2], 3: [2, 3], 4: [2, 4], 6: [2, 4, 6]}[k]


def test_distractors_and_rewards_are_assigned_to_stages_in_order() -> None:
    settings = CurriculumSettings(items=[1, 3, 4], distractors=[0, 2], until_reward=[0.5])
    assert curriculum_stages(settings, 4) == [ContextStage(1, 0, 0.5), ContextStage(3, 2), ContextStage(4)]
    assert curriculum_stages(replace(settings, enabled=False), 4) == [ContextStage(4)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"items": [1, 2]}, r"items is \[1, 2\], expected .* retrieval.k, which is 4"),
        ({"items": [2, 1, 4]}, r"items is \[2, 1, 4\]"),
        ({"items": [0, 4]}, r"items is \[0, 4\]"),
        ({"items": [4, 4]}, r"items is \[4, 4\]"),
        ({"distractors": [-1]}, r"distractors is \[-1\], expected 0 or more"),
        ({"until_reward": [0.5, 80]}, r"until_reward is \[0.5, 80\], expected rewards above 0 and at most 1"),
    ],
)
def test_invalid_schedules_are_rejected(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        curriculum_stages(CurriculumSettings(**settings), 4)


@given(size=st.integers(0, 9), k=st.integers(1, 9), shown=st.integers(1, 9), distractors=st.integers(0, 4))
def test_a_stage_shows_the_top_items_in_order_mixed_with_the_lowest_ranked(
    size: int, k: int, shown: int, distractors: int
) -> None:
    ranking = example("LaMP_4", items=size).profile.items
    stage = ContextStage(shown, distractors)
    items = staged_context(stage, Context(items=ranking[:k]), ranking, seed="s").items
    best = ranking[: min(k, shown)]
    rest = ranking[len(best) :]
    assert tuple(item for item in items if item in best) == best
    assert {item.id for item in items if item not in best} == {
        item.id for item in rest[max(0, len(rest) - distractors) :]
    }
    assert len(items) == len(best) + min(distractors, len(rest))
    assert staged_context(stage, Context(items=ranking[:k]), ranking, seed="s").items == items


def test_distractor_positions_vary() -> None:
    ranking = example("LaMP_4", items=9).profile.items
    stage = ContextStage(3, 1)
    places = {
        staged_context(stage, Context(items=ranking[:3]), ranking, seed=str(seed)).items.index(ranking[-1])
        for seed in range(40)
    }
    assert places == {0, 1, 2, 3}


class Words:
    """A tokenizer whose tokens are words."""

    chat_template = None
    eos_token_id = None

    def __call__(self, texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
        return {"input_ids": [[1] * count_words(text) for text in texts]}


def maker(*overrides: str) -> RLPromptBuilder:
    settings = ["trajectories.no_history_share=0", "sft.max_length=2000", "rl.max_completion_length=100"]
    return RLPromptBuilder(load(TrainRPO, None, [*settings, *overrides]), Words(), count_words)


def drafted(one: Example, k: int = 4) -> DraftedQuery:
    [context] = open_retriever("bm25", k).context([one.query], [one.profile])
    return DraftedQuery(get_task(one.query.task), one, f"draft for {one.query.user_id}", context)


def shown_of(text: str, user: str, size: int) -> list[int]:
    """The indices of the user's items in a prompt."""
    return [number for number in range(size) if f"{user}-{number} wrote" in text]


@pytest.mark.parametrize("task", [task for task in TASKS if task not in ("LaMP_2", "LaMP_3")])
@pytest.mark.parametrize("stage", [ContextStage(1), ContextStage(2, 1), ContextStage(4), ContextStage(4, 3)])
def test_a_prompt_shows_the_stages_items_of_its_user_and_not_the_gold_answer(
    task: str, stage: ContextStage
) -> None:
    people = [drafted(example(task, user, items=8)) for user in USERS]
    prompts = maker().build(people, stage)
    assert len(prompts) == len(people)
    for each, prompt in zip(people, prompts, strict=True):
        user, gold = each.example.query.user_id, gold_of(task, each.example.query.user_id)
        assert len(shown_of(prompt.text, user, 8)) == stage.items + stage.distractors
        for other in set(USERS) - {user}:
            assert f"{other}-" not in prompt.text
        if task != "LaMP_1":  # the query contains both labels
            assert gold not in prompt.text
        assert draft_in(prompt.text) == each.draft
        own = prompt.columns["own_texts"]
        assert own[0] == each.draft
        assert len(own) >= len(each.example.profile.items)
        assert {name: value for name, value in prompt.columns.items() if name != "own_texts"} == {
            "task": each.task,
            "gold": gold,
            "items": stage.items,
            "distractors": stage.distractors,
        }


def test_the_last_stage_uses_the_test_time_prompt() -> None:
    from personakit.rpo.prompts import rewriter_prompt

    each = drafted(example("LaMP_4", items=8))
    [prompt] = maker().build([each], ContextStage(4))
    assert prompt.text == rewriter_prompt(
        each.task, each.example.query, each.draft, each.context, count_tokens=count_words, max_length=512
    )


def test_without_history_the_draft_is_rewarded() -> None:
    people = [drafted(example("LaMP_4", f"user{number}")) for number in range(200)]
    one = maker("trajectories.no_history_share=0.25")
    hidden = 0
    for each, prompt in zip(people, one.build(people, ContextStage(2)), strict=True):
        bare = not shown_of(prompt.text, each.example.query.user_id, 3)
        assert (prompt.columns["items"] == 0) == bare
        assert prompt.columns["gold"] == (each.draft if bare else each.example.query.gold)
        hidden += bare
    assert hidden == pytest.approx(50, abs=20)
    assert (one.counts[BUILT], one.counts[WITHOUT_HISTORY]) == (200, hidden)
    assert all(prompt.columns["items"] for prompt in one.build(people, ContextStage(2), drop_history=False))


def test_queries_without_a_reward_and_long_prompts_are_skipped_and_counted() -> None:
    rating = drafted(example("LaMP_3"))  # its draft is no rating, so no reward is defined
    one = maker("trajectories.no_history_share=1", "sft.max_length=150")
    fits, long = drafted(example("LaMP_4", "ada", items=1)), drafted(example("LaMP_4", "bob", items=1))
    long = replace(long, draft="word " * 60)
    [prompt] = one.build([rating, fits, long], ContextStage(1))
    assert prompt.columns["gold"] == fits.draft
    assert (one.counts[NO_REWARD], one.counts[TOO_LONG], one.counts[BUILT]) == (1, 1, 1)
