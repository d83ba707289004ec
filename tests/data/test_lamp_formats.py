# ruff: noqa: E501 - the wordings stand as they are
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personakit.data.lamp_formats import (
    FORMATS,
    build_input,
    document,
    item_input,
    item_output,
    parse_input,
    profile_item,
    recognise_task,
    search_text,
    task_format,
)
from personakit.errors import UserError
from tests.data.made import TASKS

# The wordings as LaMP's files have them, written out once more on purpose.
WORDINGS = {
    "LaMP_1": (
        {"title": "A", "ref1": "B", "ref2": "C"},
        'For an author who has written the paper with the title "A", which reference is related? Just answer with '
        '[1] or [2] without explanation. [1]: "B" [2]: "C"',
        "B C",
    ),
    "LaMP_2": (
        {"description": "A man."},
        "Which tag does this movie relate to among the following tags? Just answer with the tag name without further "
        "explanation. tags: [sci-fi, based on a book, comedy, action, twist ending, dystopia, dark comedy, classic, "
        "psychology, fantasy, romance, thought-provoking, social commentary, violence, true story] description: A man.",
        "A man.",
    ),
    "LaMP_2N": (
        {"text": "News."},
        "Which category does this article relate to among the following categories? Just answer with the category "
        "name without further explanation. categories: [women, religion, politics, style & beauty, entertainment, "
        "culture & arts, sports, science & technology, travel, business, crime, education, healthy living, parents, "
        "food & drink] article: News.",
        "News.",
    ),
    "LaMP_3": (
        {"text": "Good: it works"},
        "What is the score of the following review on a scale of 1 to 5? just answer with 1, 2, 3, 4, or 5 without "
        "further explanation. review: Good: it works",
        "Good: it works",
    ),
    "LaMP_4": ({"text": "T"}, "Generate a headline for the following article: T", "T"),
    "LaMP_5": ({"abstract": "T"}, "Generate a title for the following abstract of a paper: T", "T"),
    "LaMP_6": ({"text": "T: u"}, "Generate a subject for the following email: T: u", "T: u"),
    "LaMP_7": (
        {"text": "@a b: c"},
        "Paraphrase the following tweet without any explanation before or after it: @a b: c",
        "@a b: c",
    ),
}


@pytest.mark.parametrize("task", WORDINGS)
def test_inputs_follow_lamps_templates(task: str) -> None:
    parts, wording, searched = WORDINGS[task]
    assert build_input(task, **parts) == wording
    assert recognise_task(wording) == task
    assert search_text(task, wording) == searched
    assert parse_input(task, wording).items() >= parts.items()


def test_movie_tags_may_come_in_any_order() -> None:
    text = build_input("LaMP_2", description="about tags: [x] description: y", tags="violence, sci-fi")
    assert parse_input("LaMP_2", text)["tags"] == "violence, sci-fi"
    assert search_text("LaMP_2", text) == "about tags: [x] description: y"


@given(st.sampled_from(TASKS), st.text())
def test_parse_input_inverts_build_input(task: str, text: str) -> None:
    names = [name for _, name in FORMATS[task].pieces if name and name not in dict(FORMATS[task].fixed_parts)]
    parts = dict.fromkeys(names, "plain") | {names[-1]: text}
    assert parse_input(task, build_input(task, **parts)).items() >= parts.items()


@pytest.mark.parametrize("wrong", ["", "Generate a title", 'title "A", which'])
def test_an_input_with_another_template_is_refused(wrong: str) -> None:
    assert recognise_task(wrong) is None
    with pytest.raises(ValueError, match="missing"):
        parse_input("LaMP_1", wrong)


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("LaMP_1", "t a"),
        ("LaMP_2", "d"),
        ("LaMP_2N", "t x"),
        ("LaMP_3", "x date: 2001-05-14"),
        ("LaMP_4", "t x"),
        ("LaMP_5", "t a"),
        ("LaMP_6", "x date: 2001-05-14"),
        ("LaMP_7", "x date: 2001-05-14"),
        ("rewriting", "o"),
    ],
)
def test_documents_have_lamps_fields_and_dates(task: str, expected: str) -> None:
    fields = {"title": "t", "abstract": "a", "description": "d", "text": "x", "original": "o"}
    assert document(task, fields, "2001-05-14") == expected
    assert document(task, fields) == expected.removesuffix(" date: 2001-05-14")


@pytest.mark.parametrize(
    ("task", "produced", "source"),
    [
        ("LaMP_1", "title", "abstract"),
        ("LaMP_2", "tag", "description"),
        ("LaMP_2N", "category", "text"),
        ("LaMP_3", "score", "text"),
        ("LaMP_4", "title", "text"),
        ("LaMP_5", "title", "abstract"),
        ("LaMP_6", "title", "text"),
        ("LaMP_7", "text", None),
        ("rewriting", "revised", "original"),
    ],
)
def test_item_input_and_output(task: str, produced: str, source: str | None) -> None:
    item = profile_item(task, "1", {key: f"the {key}" for key in FORMATS[task].item_keys})
    assert item_output(task, item) == f"the {produced}"
    assert item_input(task, item) == (None if source is None else f"the {source}")


def test_task_names_have_alternative_spellings_and_suggestions() -> None:
    assert task_format("LaMP-3").task == task_format("lamp_3").task == "LaMP_3"
    with pytest.raises(UserError) as raised:
        task_format("rewritting")
    assert "rewriting" in raised.value.hint
