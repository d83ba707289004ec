"""The seven tasks: users, profiles, queries, golds."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any, get_args

import pytest

from personakit.data import available, open_examples
from personakit.data.lamp_formats import FORMATS, LAMP_TASKS, item_output, parse_input
from personakit.data.lamp_mini import Knobs
from personakit.data.lamp_mini.traits import draw_traits
from personakit.data.lamp_mini.users import make_example
from personakit.data.lamp_mini.words import Phrases, content_words, load, phrases, vocabulary, words_of
from personakit.data.store import ExampleStore
from personakit.tasks import get_task

from .conftest import SMALL
from .reading import follows, subject_of


def opened(folder: Path, task: str, split: str = "test") -> ExampleStore:
    return open_examples(folder, task, split)


def sidecar(store: ExampleStore, query_id: str) -> dict[str, Any]:
    traits = store.traits(query_id)
    assert traits is not None
    return dict(traits)


def test_every_task_and_split_opens_as_lamp_with_users_from_the_sidecar(benchmark_folder: Path) -> None:
    assert set(available(benchmark_folder)) == {(task, split) for task in LAMP_TASKS for split in SMALL}
    for task in LAMP_TASKS:
        for split, users in SMALL.items():
            store = opened(benchmark_folder, task, split)
            assert store.user_ids == [f"{split}-{number:04d}" for number in range(users)]
            assert not store.has_derived_user_ids
            assert all(gold is not None and get_task(task).valid_gold(gold) for gold in store.golds)
            assert 10 <= min(store.profile_sizes) < max(store.profile_sizes) <= 18


def test_no_user_is_in_two_splits_by_name_or_by_traits(benchmark_folder: Path) -> None:
    names: Counter[str] = Counter()
    ways: Counter[str] = Counter()
    for split in SMALL:
        store = opened(benchmark_folder, "LaMP_7", split)
        names.update(store.user_ids)
        ways.update(json.dumps(sidecar(store, id)["traits"], sort_keys=True) for id in store.query_ids)
    assert set(names.values()) == set(ways.values()) == {1}
    assert len(names) == sum(SMALL.values())


def test_a_user_is_the_same_in_all_tasks(benchmark_folder: Path) -> None:
    topics = {}
    for task in ("LaMP_4", "LaMP_6", "LaMP_7"):
        for each in opened(benchmark_folder, task):
            found = {subject_of(task, item.document) for item in each.profile.items}
            topics.setdefault(each.query.user_id, set()).update(found)
    assert {len(found) for found in topics.values()} <= set(range(1, 7))


@pytest.mark.parametrize("task", LAMP_TASKS)
def test_the_oracle_is_right_except_for_label_noise(task: str, benchmark_folder: Path) -> None:
    store = opened(benchmark_folder, task)
    oracles = [sidecar(store, id)["oracle"] for id in store.query_ids]
    golds = [gold or "" for gold in store.golds]
    known = get_task(task)
    assert 0.95 < known.figure(known.score(oracles, golds)) <= 1.0
    if task != "LaMP_1":
        generics = [sidecar(store, id)["generic"] for id in store.query_ids]
        assert known.figure(known.score(generics, golds)) < 0.85


@pytest.mark.parametrize("task", LAMP_TASKS[3:])
def test_no_answer_occurs_verbatim_in_the_users_own_profile(task: str, benchmark_folder: Path) -> None:
    store = opened(benchmark_folder, task)
    for each in store:
        answers = {each.query.gold, sidecar(store, each.query.id)["oracle"]}
        assert not answers & {item_output(task, item) for item in each.profile.items}
        assert not any(answer in item.document for answer in answers for item in each.profile.items)


@pytest.mark.parametrize("task", LAMP_TASKS)
def test_at_least_two_items_share_the_querys_topic(task: str, benchmark_folder: Path) -> None:
    for each in opened(benchmark_folder, task):
        about = subject_of(task, each.query.search_text)
        assert sum(subject_of(task, item.document) == about for item in each.profile.items) >= 2


def test_both_references_are_equally_often_right(benchmark_folder: Path) -> None:
    golds = Counter(opened(benchmark_folder, "LaMP_1").golds)
    assert set(golds) == {"[1]", "[2]"}
    assert golds["[1]"] == pytest.approx(SMALL["test"] / 2, abs=2 * SMALL["test"] ** 0.5)


def test_the_right_reference_has_the_users_method_for_the_topic(benchmark_folder: Path) -> None:
    store = opened(benchmark_folder, "LaMP_1")
    elsewhere = 0
    for each in store:
        made = sidecar(store, each.query.id)
        parts = parse_input("LaMP_1", each.query.text)
        right, wrong = (parts["ref1"], parts["ref2"])[:: 1 if made["oracle"] == "[1]" else -1]
        own = made["traits"]["methods"]
        method = own[subject_of("LaMP_1", right)]
        assert method in right.casefold()
        assert method not in wrong.casefold()
        elsewhere += any(other in wrong.casefold() for other in own.values())
    assert elsewhere > len(store) / 2  # the other one is no stranger either


def examples(task: str, knobs: Knobs, count: int = 15) -> list[tuple[list[dict[str, str]], dict[str, Any]]]:
    """Histories without ids, with their users' traits."""
    found = []
    for number in range(count):
        traits = draw_traits(Random(f"user {number}"), "test", knobs)
        made = make_example(task, Random(f"history {number}"), traits, "test", knobs)
        plain = [{key: item[key] for key in FORMATS[task].item_keys} for item in made.profile]
        found.append((plain, traits.relevant(task)))
    return found


@pytest.mark.parametrize("task", LAMP_TASKS)
def test_noise_is_the_share_of_items_in_another_users_style(task: str) -> None:
    def share(noise: float) -> float:
        judged = [
            follows(task, item, traits)
            for history, traits in examples(task, Knobs(noise=noise))
            for item in history
        ]
        return sum(judged) / len(judged)

    by_chance = share(1.0)
    assert share(0.0) == 1.0
    assert by_chance < 0.6
    assert share(0.5) == pytest.approx((1 + by_chance) / 2, abs=0.12)


def test_gold_noise_is_the_share_of_golds_in_another_users_style() -> None:
    def wrong(task: str, knobs: Knobs) -> int:
        count = 0
        for number in range(40):
            traits = draw_traits(Random(f"user {number}"), "test", knobs)
            made = make_example(task, Random(f"query {number}"), traits, "test", knobs)
            count += made.gold != made.oracle
        return count

    for task in LAMP_TASKS:
        assert wrong(task, Knobs(gold_noise=0.0, rating_noise=0.0)) == 0
    assert wrong("LaMP_7", Knobs(gold_noise=1.0)) == 40
    assert wrong("LaMP_1", Knobs(gold_noise=1.0)) == 40
    assert wrong("LaMP_3", Knobs(gold_noise=1.0, rating_noise=0.0)) == 0


def test_only_conditional_traits_depend_on_the_topic() -> None:
    bound = ("methods", "severity", "rubrics", "genres", "codes", "sign_offs")

    def values(conditional: bool) -> dict[str, int]:
        users = [draw_traits(Random(number), "test", Knobs(conditional=conditional)) for number in range(30)]
        return {name: max(len(set(getattr(user, name).values())) for user in users) for name in bound}

    assert set(values(False).values()) == {1}
    assert min(values(True).values()) >= 3


KINDS = get_args(Phrases)  # the methods of papers come last


@pytest.mark.parametrize("kind", KINDS)
def test_splits_have_different_phrases(kind: Any) -> None:
    splits = [phrases(kind, split) for split in ("train", "dev", "test")]
    every = [text.casefold() for split in splits for text in split]
    assert len(set(every)) == len(every) >= 60
    assert min(map(len, splits)) >= 12


def test_phrases_of_one_split_are_no_phrases_or_contents_of_another() -> None:
    def normal(text: str) -> str:
        return " ".join(words_of(text))

    splits: dict[str, set[str]] = {}
    for kind in KINDS:
        for split in ("train", "dev", "test"):
            for text in phrases(kind, split):
                splits.setdefault(normal(text), set()).add(split)
    assert [text for text, found in splits.items() if len(found) > 1] == []

    contents = [load(name) for name in ("people", "topics", "posts", "reviews", "films")]
    told = f" {normal(json.dumps(contents))} "
    unseen = [text for text, found in splits.items() if "train" not in found and " " in text]
    assert len(unseen) > 100
    assert [text for text in unseen if f" {text} " in told] == []


def test_there_are_thousands_of_words_and_style_has_none_of_the_contents() -> None:
    assert len(vocabulary()) > 3000
    style = {
        word for kind in KINDS[:-1] for split in ("train", "dev", "test") for word in _words(kind, split)
    }
    assert not style & content_words()


def _words(kind: Any, split: Any) -> set[str]:
    return {word for text in phrases(kind, split) for word in words_of(text)}


def test_a_split_uses_its_own_phrases(benchmark_folder: Path) -> None:
    written = " | ".join(
        item_output("LaMP_7", item).casefold()
        for each in opened(benchmark_folder, "LaMP_7", "dev")
        for item in each.profile.items
    )
    found = {
        split: sum(text.casefold() in written for text in phrases("sign_offs", split))
        for split in ("train", "dev", "test")
    }
    assert found["dev"] > 10
    assert found["train"] == found["test"] == 0
