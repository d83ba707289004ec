"""How LaMP's token budget is divided among the items."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from personakit.tasks import get_task
from personakit.tasks.profile_prompt import truncate
from tests.tasks.queries import context_of, count_words, query_of


def words(count: int, letter: str) -> str:
    return " ".join([letter] * count)


def fill(text: str, items: list[dict[str, str]], max_length: int) -> str:
    return get_task("LaMP_4").prompt_with_context(
        query_of("LaMP_4", text=text),
        context_of("LaMP_4", *items),
        count_tokens=count_words,
        max_length=max_length,
    )


def lengths(prompt: str, *letters: str) -> list[int]:
    return [len(re.findall(rf"\b{letter}\b", prompt)) for letter in letters]


def test_items_share_the_remaining_budget_evenly():
    # 100 - 27 (input: 7 words + 20) - 1 (". ") - 2 (", and ") = 70, so 35 an item, of which the title,
    # the wording and the quotes take 6.
    prompt = fill(words(20, "q"), [{"title": "H", "text": words(90, x)} for x in "xy"], 100)
    assert lengths(prompt, "q", "x", "y") == [20, 29, 29]


def test_unused_tokens_go_to_the_next_item():
    items = [{"title": "H", "text": words(5, "x")}, {"title": "H", "text": words(90, "y")}]
    assert lengths(fill(words(20, "q"), items, 100), "x", "y") == [5, 29 + 24]


def test_a_long_input_counts_for_60_percent_and_is_not_cut():
    # 100 - 60 - 1 = 39 for one item, 6 of them its other words.
    prompt = fill(words(500, "q"), [{"title": "H", "text": words(90, "x")}], 100)
    assert lengths(prompt, "q", "x") == [500, 33]


def test_only_the_long_field_is_cut():
    items = [{"title": words(20, "t"), "text": words(90, "x")}]
    assert lengths(fill("q", items, 60), "t", "x") == [20, 60 - 8 - 1 - 25]


def test_the_share_of_an_item_that_does_not_fit_goes_to_the_next():
    items = [{"title": words(60, "t"), "text": "x"}, {"title": "H", "text": words(90, "y")}]
    prompt = fill("q", items, 60)
    assert lengths(prompt, "t", "x") == [0, 0]
    # 60 - 8 - 1 - 2 = 49, so 24 an item, and both shares for the second.
    assert lengths(prompt, "y") == [24 + 24 - 6]
    assert prompt.startswith('"H" is the title for "y y')


def test_if_nothing_fits_the_prompt_is_the_input():
    assert fill("q", [{"title": words(60, "t"), "text": "x"}], 20) == query_of("LaMP_4", text="q").text


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 60)), min_size=1, max_size=6),
    st.integers(1, 60),
    st.integers(30, 200),
)
def test_items_stay_within_the_remaining_budget(items, input_words, max_length):
    fields = [{"title": words(title, "t"), "text": words(text, "x")} for title, text in items]
    prompt = fill(words(input_words, "q"), fields, max_length)
    input_tokens = count_words(query_of("LaMP_4", text=words(input_words, "q")).text)
    assert count_words(prompt) - input_tokens <= max_length - min(input_tokens, int(0.6 * max_length))


def test_an_item_whose_long_field_is_empty_is_kept():
    assert fill("q", [{"title": "H", "text": ""}], 60).startswith('"H" is the title for "" . ')


def test_texts_are_cut_at_word_boundaries_except_in_the_first_word():
    assert truncate("one two  three", 2, count_words) == "one two"
    assert truncate("one two", 2, count_words) == "one two"
    assert truncate("one two", 0, count_words) == ""
    assert truncate("一二三四五", 3, len) == "一二三"
    assert truncate("abcdef gh", 4, len) == "abcd"
    assert truncate("  abcdef", 1, lambda text: len(text.strip())) == "  a"
    assert truncate("", 3, count_words) == ""
