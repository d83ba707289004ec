"""The prompts, word for word as in LaMP."""

from __future__ import annotations

import pytest

from personakit.errors import UserError
from personakit.records import Context, Query
from personakit.tasks import get_task, task_names
from tests.tasks.queries import context_of, count_words, query_of

TAGS = (
    "sci-fi, based on a book, comedy, action, twist ending, dystopia, dark comedy, classic, psychology, "
    "fantasy, romance, thought-provoking, social commentary, violence, true story"
)
CATEGORIES = (
    "women, religion, politics, style & beauty, entertainment, culture & arts, sports, science & technology, "
    "travel, business, crime, education, healthy living, parents, food & drink"
)
# task: parts of the input, two items, the prompt.
PROMPTS = {
    "LaMP_1": (
        {"title": "X", "ref1": "One", "ref2": "Two"},
        [{"title": "P1", "abstract": "A1"}, {"title": "P2", "abstract": "A2"}],
        'For an author who has written the paper with the title "P1", and "P2" "X", which reference is '
        'related? Just answer with [1] or [2] without explanation. [1]: "One" [2]: "Two"',
    ),
    "LaMP_2": (
        {"description": "A film."},
        [{"tag": "comedy", "description": "D1"}, {"tag": "action", "description": "D2"}],
        'the tag for the movie: "D1" is "comedy" , and the tag for the movie: "D2" is "action" . Which tag '
        "does this movie relate to among the following tags? Just answer with the tag name without further "
        f"explanation. tags: [{TAGS}] description: A film.",
    ),
    "LaMP_2N": (
        {"text": "News."},
        [
            {"title": "T1", "text": "N1", "category": "sports"},
            {"title": "T2", "text": "N2", "category": "crime"},
        ],
        'the category for the article: "N1" is "sports" , '
        'and the category for the article: "N2" is "crime" . '
        "Which category does this article relate to among the following categories? Just answer with the "
        f"category name without further explanation. categories: [{CATEGORIES}] article: News.",
    ),
    "LaMP_3": (
        {"text": "Fine."},
        [{"text": "Good", "score": "5"}, {"text": "Bad {0}", "score": "1"}],
        '5 is the score for "Good" , and 1 is the score for "Bad {0}" . What is the score of the following '
        "review on a scale of 1 to 5? just answer with 1, 2, 3, 4, or 5 without further explanation. "
        "review: Fine.",
    ),
    "LaMP_4": (
        {"text": "Story."},
        [{"title": "H1", "text": "S1"}, {"title": "H2", "text": "S2"}],
        '"H1" is the title for "S1" , and "H2" is the title for "S2" . Generate a headline for the following '
        "article: Story.",
    ),
    "LaMP_5": (
        {"abstract": "We."},
        [{"title": "T1", "abstract": "A1"}, {"title": "T2", "abstract": "A2"}],
        '"T1" is a title for "A1" , and "T2" is a title for "A2" . Following the given patterns Generate a '
        "title for the following abstract of a paper: We.",
    ),
    "LaMP_6": (
        {"text": "Dear."},
        [{"title": "S1", "text": "M1"}, {"title": "S2", "text": "M2"}],
        '"S1" is the title for "M1" , and "S2" is the title for "M2" . Generate a subject for the following '
        "email: Dear.",
    ),
    "LaMP_7": (
        {"text": "so tired"},
        [{"text": "W1"}, {"text": "W2"}],
        '"W1" , and "W2"  are written by a person. Following the given patterns Paraphrase the following '
        "tweet without any explanation before or after it: so tired",
    ),
    "rewriting": (
        {"original": "Come."},
        [{"original": "O1", "revised": "R1"}, {"original": "O2", "revised": "R2"}],
        '"R1" is the rewriting of "O1" , and "R2" is the rewriting of "O2" . Following the given patterns '
        "Rewrite the following text in the way of its user: Come.",
    ),
    "writing": (
        {"request": "When?"},
        [{"request": "Q1", "text": "W1"}, {"request": "Q2", "text": "W2"}],
        '"W1" , and "W2"  are written by a person. Following the given patterns Answer the following in the '
        "way of its user: When?",
    ),
}


def test_every_task_has_a_prompt_test():
    assert set(PROMPTS) == set(task_names())


@pytest.mark.parametrize("name", PROMPTS)
def test_items_are_formatted_as_in_lamp(name):
    parts, items, expected = PROMPTS[name]
    prompt = get_task(name).prompt_with_context(
        query_of(name, **parts), context_of(name, *items), count_tokens=count_words, max_length=512
    )
    assert prompt == expected


@pytest.mark.parametrize("name", PROMPTS)
def test_without_a_context_the_prompt_is_the_input(name):
    task, query = get_task(name), query_of(name, **PROMPTS[name][0])
    filled = task.prompt_with_context(query, Context(), count_tokens=count_words, max_length=512)
    assert filled == task.prompt(query) == query.text


def test_one_item_is_not_joined():
    prompt = get_task("LaMP_7").prompt_with_context(
        query_of("LaMP_7", text="x"),
        context_of("LaMP_7", {"text": "W1"}),
        count_tokens=count_words,
        max_length=512,
    )
    assert prompt.startswith('"W1"  are written by a person. ')


def test_a_summary_and_pool_prompts_precede_the_input():
    items = context_of("LaMP_7", {"text": "W1"}).items
    prompt = get_task("LaMP_7").prompt_with_context(
        query_of("LaMP_7", text="x"),
        Context(items=items, summary="Writes tersely.", prompts=("Be kind.", "Be brief.")),
        count_tokens=count_words,
        max_length=512,
    )
    assert prompt.startswith('Be kind.\nBe brief.\nWrites tersely.\n"W1"  are written by a person.')


def test_a_citation_input_with_another_template_is_refused():
    query = Query("q", "LaMP_1", "Which of both?", "both", "u")
    items = context_of("LaMP_1", {"title": "P1", "abstract": "A1"})
    with pytest.raises(UserError, match=r'"Which of both\?" does not contain "with the title"'):
        get_task("LaMP_1").prompt_with_context(query, items, count_tokens=count_words, max_length=512)


@pytest.mark.parametrize("name", PROMPTS)
def test_item_parts_are_input_and_output(name):
    item = context_of(name, PROMPTS[name][1][0]).items[0]
    given, made = get_task(name).item_parts(item)
    assert (given, made) == {
        "LaMP_1": ("A1", "P1"),
        "LaMP_2": ("D1", "comedy"),
        "LaMP_2N": ("N1", "sports"),
        "LaMP_3": ("Good", "5"),
        "LaMP_4": ("S1", "H1"),
        "LaMP_5": ("A1", "T1"),
        "LaMP_6": ("M1", "S1"),
        "LaMP_7": (None, "W1"),
        "rewriting": ("O1", "R1"),
        "writing": ("Q1", "W1"),
    }[name]
