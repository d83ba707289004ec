"""Planted leaks of each kind are found with their query; clean data has none."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest

from personakit.data import open_examples
from personakit.data.instructions import open_instructions
from personakit.data.lamp import write_split
from personakit.data.lamp_formats import profile_item
from personakit.data.preferences import open_preferences
from personakit.data.preferences.profiles import as_profile
from personakit.evaluation.leaks import (
    KINDS,
    Leak,
    QueryDigest,
    find_leaks,
    find_pair_leaks,
    leak_sentences,
    leaks_document,
    training_leaks,
)
from personakit.pillow.encoding import instruction_text
from personakit.records import Example, PreferencePair, PreferenceUser, Query, Signals
from personakit.training.run import Run
from personakit.training.training_digests import (
    read_trained_on,
    record_trained_on,
    store_digests,
    training_digest,
)

from .people import headline, rating


def stored(folder: Path, split: str, examples: Sequence[Example], *, user_ids: bool = True):
    write_split(folder, split, examples, user_ids=user_ids)
    return open_examples(folder, split=split)


def found(leaks: Sequence[Leak]) -> list[tuple[str, str]]:
    return [(leak.kind, leak.query_id) for leak in leaks]


def with_item(example: Example, **fields: str) -> Example:
    item = profile_item(example.query.task, "planted", fields)
    profile = dataclasses.replace(example.profile, items=(*example.profile.items, item))
    return dataclasses.replace(example, profile=profile)


def test_unrelated_users_have_no_leaks(tmp_path: Path):
    dev = stored(tmp_path, "dev", [headline(number) for number in range(4)])
    train = stored(tmp_path, "train", [headline(number) for number in range(10, 14)])
    seen = {"run": frozenset(store_digests(train))}
    assert find_leaks({"LaMP_4": dev}, {"LaMP_4": train}, seen) == []


@pytest.mark.parametrize(
    "title",
    [
        "user1 reports rain on town 1",
        "USER1 reports: rain on Town 1!",
        "user1 reports rain on towns 1",
        "today user1 reports rain on town 1",
    ],
)
def test_near_duplicate_of_the_answer_in_the_history_is_found(tmp_path: Path, title: str):
    people = [headline(0), with_item(headline(1), title=title, text="a story"), headline(2)]
    leaks = find_leaks({"LaMP_4": stored(tmp_path, "dev", people)}, {}, {})
    assert found(leaks) == [("answer_in_profile", "4001")]
    assert leaks[0].where == "item planted"


def test_the_answer_anywhere_in_an_item_is_found(tmp_path: Path):
    text = "as we wrote: user1 reports rain on town 1, and more of it"
    people = [with_item(headline(1), title="an old one", text=text), headline(2)]
    assert found(find_leaks({"LaMP_4": stored(tmp_path, "dev", people)}, {}, {})) == [
        ("answer_in_profile", "4001")
    ]


def test_query_in_the_history_is_found_for_label_tasks(tmp_path: Path):
    people = [rating(0), with_item(rating(1), text="The kettle number 1 is fine.", score="4")]
    assert found(find_leaks({"LaMP_3": stored(tmp_path, "dev", people)}, {}, {})) == [
        ("query_in_profile", "3001")
    ]


def test_training_users_are_found_by_ids_or_items(tmp_path: Path):
    for named in (True, False):
        folder = tmp_path / str(named)
        dev = stored(folder, "dev", [_of_many_items(number) for number in range(3)], user_ids=named)
        others = [_of_many_items(number, query=f"train{number}") for number in (2, 7)]
        train = stored(folder, "train", others, user_ids=named)
        assert found(find_leaks({"LaMP_4": dev}, {"LaMP_4": train}, {})) == [("user_in_training", "4002")]


def test_time_based_split_has_no_user_leaks(tmp_path: Path):
    people = [headline(number, dates=("2020-01-01", "2021-01-01")) for number in range(3)]
    dev = stored(tmp_path, "dev", people)
    later = [dataclasses.replace(one, query=dataclasses.replace(one.query, id="x")) for one in people[:1]]
    assert find_leaks({"LaMP_4": dev}, {"LaMP_4": stored(tmp_path, "train", later)}, {}) == []


def test_query_in_training_is_found_with_its_run(tmp_path: Path):
    dev = stored(tmp_path / "data", "dev", [headline(number) for number in range(4)])
    train = stored(tmp_path / "other", "train", [headline(number) for number in (3, 8)])
    with Run.create(tmp_path / "run", "rpo", {}, 0) as run:
        record_trained_on(run, store_digests(train))
    seen = read_trained_on(tmp_path / "run")
    assert seen is not None
    assert len(seen) == 2
    (leak,) = find_leaks({"LaMP_4": dev}, {}, {"run": seen})
    assert (leak.kind, leak.query_id, leak.where) == ("trained_on", "4003", "run")
    assert read_trained_on(tmp_path) is None


def test_training_examples_are_stored_as_digests(tmp_path: Path):
    with Run.create(tmp_path / "run", "rpo", {}, 0) as run:
        record_trained_on(run, [training_digest("A secret, in words", "an answer", "user")])
    assert (tmp_path / "run" / "trained_on.txt").read_text() == training_digest(
        "a secret in words", "An answer!", "user"
    ) + "\n"


HELD_OUT = PreferencePair(
    "ann", "how do I boil an egg", "put it in for six minutes", "eggs are boiled in water"
)


def user_with(
    *pairs: tuple[str, str, str], comments: Sequence[str] = (), held_out: PreferencePair = HELD_OUT
) -> PreferenceUser:
    """Return a user with one held-out pair, the planted signals, and an unrelated signal."""
    signals = [("where is the cat", "she is on the roof", "the cat is out"), *pairs]
    return PreferenceUser(
        "ann", Signals(tuple(PreferencePair("ann", *each) for each in signals), tuple(comments)), (held_out,)
    )


def pair_leaks(
    users: Sequence[PreferenceUser], training: Sequence[str] = (), seen: frozenset[str] = frozenset()
) -> list[Leak]:
    examples, rejected = [], []
    for user in users:
        for number, pair in enumerate(user.pairs, start=1):
            query = Query(
                f"{user.user_id}/{number}",
                "",
                f"Asked: {pair.prompt}",
                pair.prompt,
                user.user_id,
                pair.chosen,
            )
            examples.append(Example(query, as_profile(user.user_id, user.signals)))
            rejected.append(pair.rejected)
    return find_pair_leaks("preference", examples, rejected, set(training), {"run": seen})


@pytest.mark.parametrize(
    ("signal", "kind"),
    [
        (("when do eggs boil", "Put it in for six minuts!", "never"), "answer_in_profile"),
        (("when do eggs boil", "never", "Eggs are boiled in water."), "answer_in_profile"),
        (("How do I boil an eggs?", "take a pot", "no"), "query_in_profile"),
    ],
)
def test_pair_similar_to_a_users_signal_is_found(signal: tuple[str, str, str], kind: str):
    (leak,) = pair_leaks([user_with(signal)])
    assert (leak.kind, leak.task, leak.query_id, leak.where) == (kind, "preference", "ann/1", "item pair-2")


def test_an_answer_in_a_users_own_comment_is_found():
    (leak,) = pair_leaks([user_with(comments=["I said: put it in for six minutes, and no more"])])
    assert (leak.kind, leak.where) == ("answer_in_profile", "item comment-1")


def test_other_signals_and_short_answers_are_no_leaks():
    assert pair_leaks([user_with(("how do I fry an egg", "put it in for two minutes", "in oil"))]) == []
    short = dataclasses.replace(HELD_OUT, chosen="of course")
    assert pair_leaks([user_with(("is it so", "of course", "no, never"), held_out=short)]) == []


def test_training_pairs_and_users_are_found():
    leaks = pair_leaks([user_with()], training=["ann"])
    assert found(leaks) == [("user_in_training", "ann/1")]
    seen = frozenset({training_digest(HELD_OUT.prompt, HELD_OUT.chosen, "ann")})
    (leak,) = pair_leaks([user_with()], seen=seen)
    assert (leak.kind, leak.where) == ("trained_on", "run")
    others = frozenset({training_digest(HELD_OUT.prompt, HELD_OUT.chosen, "bob")})
    assert pair_leaks([user_with()], seen=others) == []


def test_leaks_are_counted_and_listed():
    leaks = [Leak("trained_on", "LaMP_4", str(number), "u", "run") for number in range(50)]
    document = leaks_document(leaks, unknown=["runs/old"])
    assert document["counts"] == dict.fromkeys(KINDS, 0) | {"trained_on": 50}
    assert len(document["listed"]) == 20
    printed = list(leak_sentences(document))
    assert "50 queries that a run was trained on (LaMP_4 0, LaMP_4 1, LaMP_4 2, ...)" in printed[0]
    assert "runs/old" in printed[1]


@pytest.mark.slow
@pytest.mark.parametrize("task", ["LaMP_4", "LaMP_6"])
def test_built_in_benchmark_has_no_leaks(task: str):
    dev, train = (open_examples("lamp-mini", task, split) for split in ("dev", "train"))
    seen = {"run": frozenset(store_digests(train))}
    assert find_leaks({task: dev}, {task: train}, seen) == []


@pytest.mark.slow
def test_built_in_preferences_and_instructions_have_no_leaks():
    train = open_preferences("lamp-mini", "train")
    seen = frozenset(
        training_digest(pair.prompt, pair.chosen, pair.user_id) for user in train for pair in user.pairs
    )
    assert pair_leaks(list(open_preferences("lamp-mini", "dev")), train.user_ids, seen) == []
    learnt = [one for split in ("lora", "train") for one in open_instructions("lamp-mini", split)]
    digests = frozenset(training_digest(instruction_text(one), one.output) for one in learnt)
    dev = open_instructions("lamp-mini", "dev")
    asked = [QueryDigest(one.id, "", training_digest(instruction_text(one), one.output)) for one in dev]
    assert list(training_leaks("instruction", asked, {"run": digests})) == []


def _of_many_items(number: int, query: str | None = None) -> Example:
    example = headline(number)
    items = tuple(
        profile_item("LaMP_4", str(place), {"title": f"of {number} no {place}", "text": f"{number} {place}"})
        for place in range(4)
    )
    changed = dataclasses.replace(example.query, id=query or example.query.id)
    return dataclasses.replace(
        example, query=changed, profile=dataclasses.replace(example.profile, items=items)
    )
