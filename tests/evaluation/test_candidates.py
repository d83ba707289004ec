from __future__ import annotations

import pytest

from personakit.data.lamp_formats import profile_item
from personakit.errors import UserError
from personakit.evaluation.candidates import Candidate, other_user_examples, profile_for
from personakit.records import Example, Profile, Query

from .people import Examples, Imitator, rating


def test_other_user_differs_and_is_deterministic():
    examples = [rating(number // 2) for number in range(12)]
    examples = [
        type(one)(type(one.query)(f"q{place}", "LaMP_3", one.query.text, "", one.query.user_id), one.profile)
        for place, one in enumerate(examples)
    ]
    chosen = other_user_examples(examples, seed=3)
    assert all(
        examples[other].query.user_id != one.query.user_id
        for one, other in zip(examples, chosen, strict=True)
    )
    assert chosen == other_user_examples(examples, seed=3)
    assert chosen != other_user_examples(examples, seed=4)
    assert len(set(chosen)) > 3


def test_empty_history_is_used_only_without_another_user():
    examples = [rating(0), rating(1, scores=()), rating(2, scores=()), rating(3)]
    chosen = other_user_examples(examples)
    assert chosen[0] == 3
    assert chosen[3] == 0
    assert {chosen[1], chosen[2]} <= {0, 3}
    assert other_user_examples([rating(0), rating(1, scores=())])[0] == 1


def test_users_differing_in_more_traits_are_preferred():
    def severity(travel: int, food: int) -> dict[str, object]:
        return {"traits": {"severity": {"travel": travel, "food": food}}}

    traits = {
        "3000": severity(1, 1),
        "3001": severity(1, 1),
        "3002": severity(1, 0),
        "3003": severity(0, 0),
    }
    everyone = Examples([rating(number) for number in range(4)], traits)
    for seed in range(20):
        assert other_user_examples(everyone, seed=seed)[0] == 3
        assert other_user_examples(Examples(everyone[:3], traits), seed=seed)[0] == 2
    assert other_user_examples(Examples(everyone[:2], traits))[0] == 1


def test_single_user_has_no_other_user():
    with pytest.raises(UserError, match="at least 2 users, found 1"):
        other_user_examples([rating(1), rating(1)])


def test_rewrites_of_the_query_by_other_users_are_excluded():
    items = [
        profile_item("rewriting", str(place), {"original": original, "revised": f"{original}!"})
        for place, original in enumerate(("Dear  team, hello", "something else"))
    ]
    query = Query("q", "rewriting", "rewrite: dear team, hello", "dear team, hello", "ada", "dear team, hi")
    other = Example(Query("o", "rewriting", "", "", "bob"), Profile("bob", tuple(items)))
    given = profile_for(Candidate("m", Imitator, profiles="other"), Example(query, Profile("ada", ())), other)
    assert given == Profile("bob", (items[1],))
