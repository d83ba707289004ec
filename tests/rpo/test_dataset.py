"""From queries to training texts: dropped trajectories, dropped histories, the control's data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from personakit.records import Context
from personakit.rpo import filters
from personakit.rpo.dataset import (
    DraftedQuery,
    TrainingText,
    context_injection_texts,
    draft_all,
    hold_out,
    trajectories,
)
from personakit.rpo.filters import FilterCounts, TrajectoryFilter
from personakit.rpo.prompts import Trajectory, parse_trajectory
from personakit.rpo.writer import KEEP, NOTHING, TemplateWriter, TrajectoryRequest, TrajectoryWriter
from personakit.tasks import get_task

from .fakes import TASKS, AllItems, Scripted, count_words, draft_in, example, gold_of

KEEP_ALL = TrajectoryFilter(count_words, max_tokens=1000)


def drafted(task: str = "LaMP_4", user: str = "ada", gold: str | None = None) -> DraftedQuery:
    one = example(task, user, gold=gold)
    return DraftedQuery(get_task(task), one, f"draft for {user}", Context(items=one.profile.items))


def texts_of(
    some: list[DraftedQuery],
    writer: TrajectoryWriter | None = None,
    keep: TrajectoryFilter = KEEP_ALL,
    share: float = 0.0,
    seed: int = 0,
) -> tuple[list[TrainingText], FilterCounts]:
    return trajectories(
        some,
        writer or TemplateWriter(),
        keep,
        count_tokens=count_words,
        max_length=500,
        no_history_share=share,
        seed=seed,
    )


class WritesByUser:
    """Returns the given trajectory of each user."""

    def __init__(self, written: dict[str, Trajectory | None]) -> None:
        self.written = written

    def write_all(self, requests: Sequence[TrajectoryRequest]) -> list[Trajectory | None]:
        return [self.written[each.query.user_id] for each in requests]


def test_every_drop_reason_is_counted_once() -> None:
    golds = {name: gold_of("LaMP_4", name) for name in ("fine", "none", "tags", "other", "long")}
    golds |= {"evidence": "Grand  Tour", "plan": "grand tour", "wordless": "我在"}
    fine = {name: Trajectory("e", "p", gold) for name, gold in golds.items()}
    written: dict[str, Trajectory | None] = fine | {
        "none": None,
        "tags": Trajectory("e</evidence>", "p", golds["tags"]),
        "other": Trajectory("e", "p", "something else"),
        "evidence": Trajectory("a GRAND\ntour here", "p", golds["evidence"]),
        "plan": Trajectory("e", "make it a Grand Tour", golds["plan"]),
        "long": Trajectory("word " * 40, "p", golds["long"]),
    }
    some = [drafted(user=name, gold=golds[name]) for name in written]
    keep = TrajectoryFilter(count_words, max_tokens=30, minimum_reward=0.5)
    texts, counts = texts_of(some, WritesByUser(written), keep)
    assert counts.summary() == {
        "kept": 1,
        filters.NO_TRAJECTORY: 1,
        filters.UNPARSABLE: 1,
        filters.NOT_GOLD: 1,
        filters.QUOTES_GOLD: 2,
        filters.TOO_LONG: 1,
        filters.LOW_REWARD: 1,  # no word in common for ROUGE
    }
    assert [text.completion for text in texts] == [fine["fine"].text()]


def test_evidence_may_contain_the_label() -> None:
    trajectory = Trajectory("tagged dystopia before", "p", "dystopia")
    assert KEEP_ALL.reason_to_drop(get_task("LaMP_2"), trajectory, "dystopia") is None


def test_a_share_of_the_trajectories_has_no_history_and_keeps_the_draft() -> None:
    some = [drafted(user=f"user{number}") for number in range(400)]
    texts, counts = texts_of(some, share=0.25)
    assert counts.kept == len(some)
    hidden = 0
    for each, text in zip(some, texts, strict=True):
        read = parse_trajectory(text.completion)
        assert read is not None
        assert draft_in(text.prompt) == each.draft
        if f"{each.example.query.user_id}-0 wrote" in text.prompt:
            assert read.response == each.example.query.gold
        else:
            hidden += 1
            assert (read.response, read.plan) == (each.draft, KEEP)
    assert hidden == pytest.approx(0.25 * len(some), abs=30)


def test_history_dropout_depends_only_on_seed_and_query() -> None:
    some = [drafted(user=f"user{number}") for number in range(50)]
    texts, _ = texts_of(some, share=0.5)
    assert texts_of(some[::-1], share=0.5)[0] == texts[::-1]
    assert texts_of(some[10:20], share=0.5)[0] == texts[10:20]
    assert texts_of(some, share=0.5, seed=1)[0] != texts


def test_a_user_of_the_data_without_history_keeps_the_gold_answer() -> None:
    texts, counts = texts_of([replace(drafted(gold="Grand Tour"), context=Context())])
    assert counts.summary() == {"kept": 1}
    read = parse_trajectory(texts[0].completion)
    assert read is not None
    assert (read.evidence, read.response) == (NOTHING, "Grand Tour")


def test_queries_are_held_out_by_user() -> None:
    users = [f"user{number}" for number in range(10)]
    some = [drafted(user=user) for user in users * 2]
    trained, held_out = hold_out(some, 3)
    assert [each.example.query.user_id for each in held_out] == ["user2", "user7", "user2"]
    assert [each.example.query.user_id for each in trained] == 2 * [
        user for user in users if user not in ("user2", "user7")
    ]
    alone = [drafted(user="ada") for _ in range(5)]
    assert hold_out(alone, 2) == (alone[:3], alone[3:])


def test_trajectory_prompts_do_not_contain_the_gold_answer() -> None:
    some = [drafted(task) for task in TASKS[3:]]
    for each, text in zip(some, texts_of(some)[0], strict=True):
        gold = each.example.query.gold
        assert gold is not None
        assert gold not in text.prompt
        assert gold in text.completion


@pytest.mark.parametrize("task", TASKS)
def test_the_control_is_trained_on_the_same_queries_and_items(task: str) -> None:
    [text] = context_injection_texts([drafted(task)], count_tokens=count_words, max_length=500)
    assert text.completion == gold_of(task, "ada")
    assert "asks about" in text.prompt
    assert all(f"ada-{n} wrote" in text.prompt for n in range(3))
    assert "draft for ada" not in text.prompt


def test_drafts_are_generated_without_history_and_unlabelled_queries_are_skipped() -> None:
    base = Scripted(lambda prompt, cap: " Two lines\nof answer ")
    known, unknown = example("LaMP_4", "ada"), example("LaMP_4", "bob")
    unknown = replace(unknown, query=replace(unknown.query, gold=None))
    [only] = draft_all(get_task("LaMP_4"), [unknown, known], base, AllItems(), max_new_tokens=9)
    assert base.prompts == [known.query.text]
    assert (only.example, only.draft, only.context.items) == (known, "Two lines", known.profile.items)
