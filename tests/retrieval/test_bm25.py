from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rank_bm25 import BM25Okapi

from personakit.retrieval import open_retriever
from personakit.retrieval.bm25 import BM25Index
from tests.retrieval.users import ids, profile_of, query_of

# A small vocabulary makes words common (negative idf), repeated, and missing.
WORDS = [
    "the",
    "The",
    "a",
    "an",
    "of",
    "cat",
    "cat's",
    "rat",
    "10",
    "été",
    "日本",
    "extraordinarily-long-word",
]
word = st.sampled_from(WORDS)
document = st.lists(word, max_size=12).map(" ".join)


def theirs(documents: list[str], query: str) -> np.ndarray:
    return BM25Okapi([text.split() for text in documents]).get_scores(query.split())


@settings(deadline=None)  # other work on the machine is no failure
@given(st.lists(document, min_size=1, max_size=9), document)
def test_scores_are_those_of_rank_bm25(documents, query):
    assume(any(documents))  # rank_bm25 divides by zero where all are empty
    np.testing.assert_allclose(BM25Index(documents).scores(query), theirs(documents, query), atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_the_top_four_are_those_of_rank_bm25_on_the_shape_of_lamp(seed):
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, 8001)
    words = np.array([f"w{number}" for number in range(8000)])
    texts = [" ".join(words[row]) for row in rng.choice(8000, (186, 100), p=share / share.sum())]
    scores = theirs(texts[1:], texts[0])
    best = np.sort(scores)[::-1][:5]
    assert (best[:-1] - best[1:]).min() > 1e-9, "scores tie: take another seed"
    found = open_retriever("bm25", 4).context([query_of(texts[0])], [profile_of(*texts[1:])])[0]
    assert ids(found) == [f"i{place}" for place in np.argsort(scores)[::-1][:4]]


def test_a_repeated_query_word_counts_twice():
    index = BM25Index(["x", "y y", "z", "z z", "z q"])
    np.testing.assert_allclose(index.scores("y y"), 2 * index.scores("y"))
    assert index.scores("y")[1] > 0


def test_case_and_punctuation_are_part_of_a_word():
    context = open_retriever("bm25", 1).context(
        [query_of("cat")], [profile_of("Cat", "cat.", "a cat", "no", "none")]
    )
    assert ids(context[0]) == ["i2"]


def test_ties_keep_the_profiles_order_and_items_without_a_common_word_are_included():
    profile = profile_of("none", "cat", "nil", "cat", "void", "empty", "zero")
    context = open_retriever("bm25", 5).context([query_of("cat")], [profile])[0]
    assert ids(context) == ["i1", "i3", "i0", "i2", "i4"]
    assert context.items[0] is profile.items[1]
    many = profile_of(*(["none", "cat", "nil"] * 40))
    context = open_retriever("bm25", 120).context([query_of("cat")], [many])[0]
    assert ids(context) == [f"i{at}" for at in sorted(range(120), key=lambda at: (at % 3 != 1, at))]


@pytest.mark.parametrize("query", ["", "   ", "unknown words"])
def test_a_query_without_known_words_returns_the_first_items(query):
    assert ids(open_retriever("bm25", 2).context([query_of(query)], [profile_of("a", "b", "c")])[0]) == [
        "i0",
        "i1",
    ]


def test_k_above_the_profile_size_returns_all_items():
    contexts = open_retriever("bm25", 9).context(
        [query_of("b"), query_of("b"), query_of("b"), query_of("b")],
        [profile_of("a", "b", "c"), profile_of(), profile_of("", " "), profile_of("b")],
    )
    assert [ids(context) for context in contexts] == [["i1", "i0", "i2"], [], ["i0", "i1"], ["i0"]]


@pytest.mark.parametrize("kept", [1, 2, 256])
def test_cached_indices_are_not_mixed_up_between_users(kept):
    retriever = open_retriever("bm25", 1, cached_profiles=kept)
    first = profile_of("a cat", "a dog", "a rat", user_id="same")
    second = profile_of("a dog", "a cat", "a rat", user_id="same")
    third = profile_of("a dog", "a rat", "a cat", user_id="same")
    queries = [query_of("cat", user_id="same")] * 6
    contexts = retriever.context(queries, [first, second, third, third, first, second])
    assert [ids(context)[0] for context in contexts] == ["i0", "i1", "i2", "i2", "i0", "i1"]
    assert contexts[4].items[0] is first.items[0]


def test_the_cache_has_no_readable_text_and_can_be_cleared():
    retriever = open_retriever("bm25", 1)
    before = retriever.context([query_of("cat")], [profile_of("dog", "marmalade cat", "rat")])
    assert len(retriever._cache) == 1
    assert b"marmalade" not in pickle.dumps(retriever._cache)
    retriever.clear_cache()
    assert not retriever._cache
    assert retriever.context([query_of("cat")], [profile_of("dog", "marmalade cat", "rat")]) == before
