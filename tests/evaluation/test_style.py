"""Style in an evaluation: every row between other writers and the users' own texts."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from personakit import evaluate
from personakit.config.train_rpo import RetrievalSettings
from personakit.data import open_examples
from personakit.data.lamp import write_split
from personakit.data.lamp_formats import build_input, profile_item
from personakit.evaluation.samples import read_samples
from personakit.evaluation.sections import print_sections
from personakit.evaluation.style import TaskStyle
from personakit.evaluation.style_section import style_section
from personakit.records import Example, Profile, Query
from personakit.retrieval import open_retriever
from personakit.tasks import get_task
from personakit.tasks.style import STYLE
from tests.tasks.writers import writers

from .printing import page_of

WRITERS = writers(16, texts=10)


def folder(path: Path, drafts: dict[str, list[str]], words: int | None = None) -> Path:
    """Write a data folder in which every user rewrites two drafts."""
    examples = []
    for user, texts in WRITERS.items():
        items = tuple(
            profile_item("rewriting", f"{user}-{place}", {"original": f"draft {place}", "revised": text})
            for place, text in enumerate(texts[2:])
        )
        for place in range(2):
            draft = drafts[user][place]
            query = Query(
                f"{user}/{place}",
                "rewriting",
                build_input("rewriting", original=draft),
                draft,
                user,
                " ".join(texts[place].split()[:words]),
            )
            examples.append(Example(query, Profile(user, items)))
    write_split(path / "rewriting", "dev", examples, user_ids=True)
    return path


def results_of(path: Path, data: Path) -> dict[str, Any]:
    return evaluate("rewriting", data=data, baselines=["copy", "profile"], output=path)


@pytest.fixture(scope="module")
def by_strangers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The evaluation of drafts that nobody of the users wrote, and its folder."""
    path = tmp_path_factory.mktemp("strangers")
    strangers = dict(zip(WRITERS, writers(16, texts=2, seed=5).values(), strict=True))
    return path / "out", results_of(path / "out", folder(path / "data", strangers))


def rows_of(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["method"]: row for row in results["style"]["rewriting"]["rows"]}


def test_own_texts_are_above_the_floor_and_drafts_of_strangers_are_not(
    by_strangers: tuple[Path, dict[str, Any]],
):
    _, results = by_strangers
    style = results["style"]["rewriting"]
    assert style["apart"]["low"] > 0
    assert style["floor"]["value"] < 0.65 < style["ceiling"]["value"]
    assert (style["writers"], style["words"] >= 20) == (16, True)
    copied = rows_of(results)["copy the input"]
    assert copied["above_floor"]["low"] < 0
    assert copied["place"]["value"] < 0.5
    [sentences] = [block for block in style_section(results).blocks if block.kind == "sentences"]
    assert sentences.sentences == ["rewriting: not above the floor: copy the input."]


def test_an_answer_that_repeats_an_own_text_is_compared_with_the_others(tmp_path: Path):
    data = folder(tmp_path, {user: texts[:2] for user, texts in WRITERS.items()})
    examples = open_examples(data, "rewriting", "dev")
    style = TaskStyle(get_task("rewriting"), examples, examples)
    example = examples[0]
    items, user = example.profile.items[:3], example.query.user_id
    own = [item.fields["revised"] for item in items]
    rises = []
    for writer, (foreign, *_) in WRITERS.items():
        pasted = profile_item("rewriting", "pasted", {"original": "draft", "revised": foreign})
        repeats = Example(example.query, Profile(user, (*items, pasted)))
        [with_others] = style.scorer.scores([foreign], [own], [user])
        [with_itself] = style.scorer.scores([foreign], [[*own, foreign]], [user])
        assert style.scores([foreign], [repeats]) == [with_others], writer
        rises.append(with_itself - with_others)
    assert max(rises) > 0.1


def test_items_that_are_shown_are_no_reference(tmp_path: Path):
    """A text put together from the items of the prompt is not in the user's style for that."""
    data = folder(tmp_path, {user: texts[:2] for user, texts in WRITERS.items()})
    examples = list(open_examples(data, "rewriting", "dev"))
    store, retriever = open_examples(data, "rewriting", "dev"), open_retriever("bm25", 2)
    with_all, without = (
        TaskStyle(get_task("rewriting"), store, store, each) for each in (None, RetrievalSettings(k=2))
    )
    shown = [
        context.items
        for context in retriever.context([one.query for one in examples], [one.profile for one in examples])
    ]
    others = [shown[place - 2] for place in range(len(examples))]  # two queries each: another user's items
    quoted = [" ".join(item.fields["revised"] for item in items) for items in shown]
    same = without.scores(quoted, examples)
    assert fmean(score or 0 for score in same) < fmean(
        score or 0 for score in with_all.scores(quoted, examples)
    )
    ids = [{item.id for item in items} for items in shown]
    assert with_all.scores(quoted, examples, ids) == same
    assert without.scores(quoted, examples, [{item.id for item in items} for items in others]) == same


def test_users_whose_other_texts_are_too_few_are_counted(tmp_path: Path):
    """Eight texts, of which k are shown: three must be left."""
    data = folder(tmp_path, {user: texts[:2] for user, texts in WRITERS.items()})
    store = open_examples(data, "rewriting", "dev")
    for k, measurable in ((5, True), (6, False)):
        style = TaskStyle(get_task("rewriting"), store, store, RetrievalSettings(k=k))
        assert style.measurable is measurable
        assert style.judged == (len(store) if measurable else 0)
    assert not TaskStyle(
        get_task("rewriting"), store, store, RetrievalSettings(name="popi:runs/popi")
    ).measurable


def test_an_evaluation_says_for_how_many_queries_style_is_judged(
    by_strangers: tuple[Path, dict[str, Any]],
):
    _, results = by_strangers
    assert results["style"]["rewriting"]["judged"] == [32, 32]
    fewer = {"style": {"rewriting": results["style"]["rewriting"] | {"judged": [30, 32]}}}
    [block] = [each for each in style_section(fewer).blocks if each.kind == "sentences"]
    assert block.sentences[0].startswith("rewriting: style is judged for 30 of 32 queries")


def test_drafts_in_the_users_own_style_are_above_the_floor(tmp_path: Path):
    own = {user: texts[1:3] for user, texts in WRITERS.items()}
    row = rows_of(results_of(tmp_path / "out", folder(tmp_path / "data", own)))["copy the input"]
    assert row["above_floor"]["low"] > 0
    assert row["place"]["value"] > 0.6


def test_style_is_one_more_metric_of_a_row(by_strangers: tuple[Path, dict[str, Any]]):
    path, results = by_strangers
    [row] = [row for row in results["rows"] if (row["method"], row["metric"]) == ("copy the input", STYLE)]
    assert row["value"] == rows_of(results)["copy the input"]["value"]
    samples = list(read_samples(path / "samples.jsonl"))
    assert all(0 <= sample.scores[STYLE] <= 1 for sample in samples if sample.scores)


def test_style_is_in_the_table_and_on_the_page(
    by_strangers: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
):
    from rich.console import Console

    path, results = by_strangers
    print_sections([style_section(results)], Console(width=100))
    printed = capsys.readouterr().out
    assert "floor: texts of others" in printed
    assert "Koppel and Winter 2014" in printed
    assert "floor: texts of others" in page_of(path, results, path / "samples.jsonl")


def test_short_texts_have_no_style(tmp_path: Path):
    strangers = dict(zip(WRITERS, writers(16, texts=2, seed=5).values(), strict=True))
    results = results_of(tmp_path / "out", folder(tmp_path / "data", strangers, words=8))
    assert "style" not in results
    assert STYLE not in {row["metric"] for row in results["rows"]}
    assert style_section(results).on("terminal") == []
