"""What counts as a near-duplicate, and that both searches find what comparing every pair finds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personakit.data.near_duplicates import NearDuplicateOf, NearDuplicates, near_duplicates

HEADLINE = "rocket shadow louis opens harbor friday sparrow puzzle"
LONG = [f"word{number}" for number in range(40)]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (HEADLINE, "rocket shadow louis opens harbor friday", False),
        (HEADLINE, "rocket shadow louis opens harbor sunday sparrow puzzle", False),
        (HEADLINE, "rocket shadow louis opens harbour sunday sparrow puzzle", False),
        (HEADLINE, "rocket shadow louis opens harbor friday sparrow puzzles", True),
        (HEADLINE, "rocket shadow louis opens har bor friday sparrow puzzle", True),
        (HEADLINE, "rocket, shadow: LOUIS opens harbor friday sparrow puzzle.", True),
        (HEADLINE, f"today {HEADLINE}", False),
        (f"{HEADLINE} mouse of", f"today {HEADLINE} mouse of", True),
        (HEADLINE, "", False),
        ("", " ", True),
        ("answer 1 to that long question", "answer 2 to that long question", False),
        ("a cat sat there", "a cat sat where", False),
        ("Write a text with the title: a", "Write a text with the title: b", False),
        ("Write a text with the title: cat", "Write a text with the title: bat", False),
        (" ".join(LONG), " ".join([*LONG[:20], "changed", *LONG[21:]]), True),
        (" ".join(LONG), " ".join([*LONG[:10], *LONG[13:]]), True),
        (" ".join(LONG), " ".join(LONG[:30]), False),
        (" ".join(LONG), " ".join(reversed(LONG)), False),
        (" ".join(LONG), " ".join(LONG).replace("word", "wood"), False),
    ],
)
def test_a_few_words_of_a_long_text_may_differ_and_a_letter_of_a_short_one(
    first: str, second: str, expected: bool
):
    assert near_duplicates(first, second) is near_duplicates(second, first) is expected
    assert NearDuplicateOf(first).matches(second) is NearDuplicateOf(second).matches(first) is expected
    assert NearDuplicates([second, first, "another"]).of(first) == ({0, 1} if expected else {1})


WORDS = st.sampled_from(["alpha", "be", "gamma1", "delta", "e", "theta2", "kappa", "la", "-"])
PARTS = st.lists(st.lists(WORDS, max_size=12).map(" ".join), min_size=1, max_size=4, unique=True)


@settings(deadline=None)
@given(PARTS, st.lists(st.tuples(st.integers(0, 60), st.sampled_from(["", " ", "x", " be "])), max_size=8))
def test_the_index_and_the_single_search_find_what_comparing_every_pair_finds(
    parts: list[str], edits: list[tuple[int, str]]
):
    texts = [*parts, " ".join(parts)]
    texts += [text[:place] + put + text[place + 1 :] for place, put in edits for text in texts[:5]]
    index = NearDuplicates(texts)
    for text in texts:
        expected = {place for place, other in enumerate(texts) if near_duplicates(text, other)}
        assert index.of(text) == expected
        single = NearDuplicateOf(text)
        assert {place for place, other in enumerate(texts) if single.matches(other)} == expected


def test_a_text_stands_in_another_by_its_words():
    wanted = NearDuplicateOf("rain on town")
    assert wanted.stands_in("We wrote: Rain, on town.")
    assert not wanted.stands_in("rain on towns")
    assert not wanted.stands_in("on town rain")
