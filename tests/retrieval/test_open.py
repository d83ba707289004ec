from __future__ import annotations

import pytest

from personakit.contracts import ContextProvider
from personakit.errors import UserError
from personakit.records import Context
from personakit.retrieval import open_retriever
from tests.retrieval.users import ids, profile_of, query_of


@pytest.mark.parametrize("name", ["bm25", "recency", "random", "none"])
def test_every_name_opens_a_context_provider(name):
    provider = open_retriever(name, 2)
    assert isinstance(provider, ContextProvider)
    contexts = provider.context([query_of("a"), query_of("b")], [profile_of("a", "b", "c"), profile_of()])
    assert [len(context.items) for context in contexts] == [0 if name == "none" else 2, 0]


@pytest.mark.parametrize(
    ("name", "k", "options", "message", "hint"),
    [
        ("bm52", 4, {}, 'unknown retriever "bm52", expected one of bm25, dense, recency', 'mean "bm25"'),
        ("BM25", 4, {}, 'unknown retriever "BM25"', 'mean "bm25"'),
        ("elastic!", 4, {}, "expected one of", "choose one"),
        ("dense:", 4, {}, 'unknown retriever "dense:"', "dense"),
        ("bm25:x", 4, {}, 'unknown retriever "bm25:x"', "bm25"),
        ("bm25", 0, {}, "k is 0, expected at least 1", "none"),
        ("recency", 4, {"seed": 1}, 'unknown option of the retriever recency "seed"', "remove it"),
        ("random", 4, {"sead": 1}, 'unknown option of the retriever random "sead"', 'mean "seed"'),
        ("dense:/no/such/folder", 4, {}, 'encoder "/no/such/folder" cannot be loaded', "folder"),
    ],
)
def test_invalid_use_gives_a_hint(name, k, options, message, hint):
    with pytest.raises(UserError) as caught:
        open_retriever(name, k, **options)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_none_returns_no_items():
    assert open_retriever("none", 0).context([query_of("a")], [profile_of("a")]) == [Context()]


def test_recency_returns_the_newest_items_first():
    profile = profile_of("a", "b", "c", "d", dates=["2010-09-30", "2012-01-02", "2010-10-01", "2009-12-31"])
    assert ids(open_retriever("recency", 3).context([query_of("x")], [profile])[0]) == ["i1", "i2", "i0"]


def test_recency_compares_dates_as_numbers_and_takes_the_later_item_of_a_day_as_newer():
    profile = profile_of("a", "b", "c", "d", dates=["2010-9-1", "2010-10-1", "2010-10-1", None])
    assert ids(open_retriever("recency", 4).context([query_of("x")], [profile])[0]) == [
        "i2",
        "i1",
        "i0",
        "i3",
    ]


def test_recency_without_dates_returns_the_last_items():
    assert ids(open_retriever("recency", 2).context([query_of("x")], [profile_of("a", "b", "c")])[0]) == [
        "i2",
        "i1",
    ]


def test_random_depends_on_seed_and_query_but_not_on_the_order_of_queries():
    profile = profile_of(*map(str, range(50)))
    queries = [query_of("x", id=str(number)) for number in range(8)]
    provider = open_retriever("random", 5, seed=1)
    forward = [ids(context) for context in provider.context(queries, [profile] * 8)]
    backward = [ids(context) for context in provider.context(queries[::-1], [profile] * 8)]
    assert forward == backward[::-1]
    assert len({tuple(chosen) for chosen in forward}) == 8
    assert all(len(set(chosen)) == 5 for chosen in forward)
    other_seed = open_retriever("random", 5, seed=2).context(queries, [profile] * 8)
    assert [ids(context) for context in other_seed] != forward


def test_queries_and_profiles_must_have_equal_length():
    for name in ("bm25", "recency", "random", "none"):
        with pytest.raises(ValueError, match="zip"):
            open_retriever(name, 1).context([query_of("a")], [])
