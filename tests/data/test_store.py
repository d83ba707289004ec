from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path

import pytest

from personakit.data import available, open_examples
from personakit.data.folders import take_users_evenly
from personakit.data.lamp import read_outputs, read_questions, write_outputs, write_split
from personakit.errors import UserError
from personakit.records import Example
from tests.data.made import TASKS, example, gold, item, user_split


def without_user(each: Example) -> Example:
    return Example(dataclasses.replace(each.query, user_id=""), dataclasses.replace(each.profile, user_id=""))


@pytest.mark.parametrize("task", TASKS)
def test_a_user_based_split_round_trips_and_its_users_are_derived(task: str, tmp_path: Path) -> None:
    written = user_split(task)
    write_split(tmp_path, "dev", written)
    store = open_examples(tmp_path)
    assert (store.task, store.split, len(store), store.has_derived_user_ids) == (task, "dev", 12, True)
    assert [without_user(each) for each in store] == written
    assert [store[index] for index in range(len(store))] == list(store)
    assert store.user_ids == [f"user-of-q{user}.0" for user in range(4) for _ in range(3)]
    assert [each.profile.user_id for each in store] == store.user_ids


@pytest.mark.parametrize("task", TASKS)
def test_a_time_based_split_keeps_its_users_and_sorts_items_by_date(task: str, tmp_path: Path) -> None:
    dates = ["2012-10-05", "2009-01-31", "2012-02-28"]
    items = tuple(item(task, "u", n, date) for n, date in enumerate(dates))
    write_split(tmp_path, "train", [example(task, "1", items, "anna", gold(task))], user_ids=True)
    store = open_examples(tmp_path, split="train")
    assert store.dated
    assert store.user_ids == ["anna"]
    assert [each.date for each in store[0].profile.items] == sorted(dates)
    assert store[0].profile.items[0] == items[1]
    (streamed,) = read_questions(tmp_path / "train_questions.json")
    assert streamed.profile == store[0].profile


@pytest.mark.parametrize("task", TASKS)
def test_copying_a_split_copies_its_bytes(task: str, tmp_path: Path) -> None:
    write_split(tmp_path / "a", "dev", user_split(task))
    write_split(tmp_path / "b", "dev", open_examples(tmp_path / "a"))
    for name in ("dev_questions.json", "dev_outputs.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_files_have_lamps_exact_format(tmp_path: Path) -> None:
    items = (item("LaMP_3", "u", 0, "2012-10-05"),)
    write_split(tmp_path, "dev", [example("LaMP_3", "7", items, "anna", "5")], user_ids=True)
    (question,) = json.loads((tmp_path / "dev_questions.json").read_text())
    assert list(question) == ["id", "input", "profile", "user_id"]
    assert list(question["profile"][0]) == ["id", "text", "score", "date"]
    assert (tmp_path / "dev_outputs.json").read_text() == (
        '{"task": "LaMP_3", "golds": [{"id": "7", "output": "5"}]}'
    )


def test_both_second_tasks_are_called_lamp_2_in_files(tmp_path: Path) -> None:
    for task in ("LaMP_2", "LaMP_2N"):
        write_split(tmp_path / task, "dev", user_split(task))
        assert read_outputs(tmp_path / task / "dev_outputs.json").task == "LaMP_2"
        assert open_examples(tmp_path / task, "LaMP_2").task == task
    assert available(tmp_path) == [("LaMP_2", "dev"), ("LaMP_2N", "dev")]
    assert open_examples(tmp_path, "LaMP_2N").task == "LaMP_2N"


def test_predictions_are_read_as_in_lamps_evaluation(tmp_path: Path) -> None:
    path = tmp_path / "predictions.json"
    write_outputs(path, "LaMP_4", [("1", "first"), ("2", "x"), ("1", "last")])
    outputs = read_outputs(path)
    assert (outputs.task, outputs.texts, outputs.duplicates) == ("LaMP_4", {"1": "last", "2": "x"}, ("1",))


def test_a_query_with_an_empty_profile_is_its_own_user(tmp_path: Path) -> None:
    write_split(tmp_path, "dev", [example("LaMP_4", str(n), (), gold="a gold") for n in range(3)])
    store = open_examples(tmp_path)
    assert [each.profile.items for each in store] == [(), (), ()]
    assert len(set(store.user_ids)) == 3
    assert store.profile_sizes == [0, 0, 0]


def test_a_common_item_does_not_merge_users(tmp_path: Path) -> None:
    shared = item("LaMP_2", "everybody", 0)
    examples = [
        example(
            "LaMP_2", f"{user}.{n}", (shared, *(item("LaMP_2", f"u{user}", k) for k in range(4) if k != n))
        )
        for user in range(3)
        for n in range(2)
    ]
    write_split(tmp_path, "test", examples)
    users = open_examples(tmp_path, split="test").user_ids
    assert users == [f"user-of-{user}.0" for user in range(3) for _ in range(2)]


def test_without_outputs_golds_are_none(tmp_path: Path) -> None:
    write_split(tmp_path, "test", user_split("LaMP_7", golds=False))
    assert not (tmp_path / "test_outputs.json").exists()
    assert set(open_examples(tmp_path, split="test").golds) == {None}


def test_numeric_scores_and_dates_are_accepted(tmp_path: Path) -> None:
    items = tuple(item("LaMP_3", "u", n, f"{2010 - n}-01-01") for n in range(2))
    write_split(tmp_path, "dev", [example("LaMP_3", "1", items, gold="3")])
    path = tmp_path / "dev_questions.json"
    text = (
        path.read_text()
        .replace('"score": "4"', '"score": 4.0')
        .replace('"date": "2010-01-01"', '"date": 2010')
    )
    path.write_text(text)
    (only,) = open_examples(tmp_path)
    assert [each.fields["score"] for each in only.profile.items] == ["4", "4"]
    assert [each.date for each in only.profile.items] == ["2009-01-01", "2010"]


def test_subsets_are_sequences_with_their_own_fingerprints(tmp_path: Path) -> None:
    write_split(tmp_path, "dev", user_split("LaMP_4"))
    store = open_examples(tmp_path)
    view = store.subset([7, 2, -1])
    assert [each.query.id for each in view] == view.query_ids == ["q2.1", "q0.2", "q3.2"]
    assert view.user_ids == [store.user_ids[7], store.user_ids[2], store.user_ids[-1]]
    assert [each.query.id for each in view[1:]] == ["q0.2", "q3.2"]
    assert store.subset(2).query_ids == store[:2].query_ids == ["q0.0", "q0.1"]
    assert len(store.subset(100)) == len(store)
    assert len({store.fingerprint, view.fingerprint, store.subset(2).fingerprint}) == 3
    assert store.subset([7, 2, -1]).fingerprint == view.fingerprint
    with pytest.raises(IndexError):
        store[12]


@pytest.mark.parametrize("by_user", [True, False])
def test_a_limited_evaluation_has_as_many_users_as_possible(by_user: bool, tmp_path: Path) -> None:
    examples = user_split("LaMP_4", users=4, per_user=3)
    ordered = examples if by_user else sorted(examples, key=lambda each: each.query.id.split(".")[1])
    write_split(tmp_path, "dev", ordered)
    store = open_examples(tmp_path)
    for limit in range(1, 13):
        users = Counter(take_users_evenly(store, limit).user_ids)
        assert sum(users.values()) == limit
        assert len(users) == min(limit, 4)
        assert max(users.values()) - min(users.values()) <= 1
    assert take_users_evenly(store, 2).query_ids == ["q0.0", "q2.0"]


def test_a_limited_evaluation_of_one_user_has_old_and_new_queries(tmp_path: Path) -> None:
    write_split(tmp_path, "dev", user_split("LaMP_4", users=1, per_user=4))
    assert take_users_evenly(open_examples(tmp_path), 2).query_ids == ["q0.0", "q0.2"]


def test_equal_content_is_converted_once_and_changed_content_again(tmp_path: Path, cache: Path) -> None:
    for name in ("a", "b"):
        write_split(tmp_path / name, "dev", user_split("LaMP_5"))
    first, second = open_examples(tmp_path / "a"), open_examples(tmp_path / "b")
    assert first.fingerprint == second.fingerprint
    assert len(list((cache / "data").iterdir())) == 1
    write_outputs(tmp_path / "b" / "dev_outputs.json", "LaMP_5", [(id, "new") for id in second.query_ids])
    assert set(open_examples(tmp_path / "b").golds) == {"new"}
    assert set(open_examples(tmp_path / "a").golds) == {"a gold answer"}


def test_many_batches_are_one_sequence(tmp_path: Path) -> None:
    examples = [
        example("LaMP_7", str(n), tuple(item("LaMP_7", f"u{n}", k) for k in range(n % 40)), gold="g")
        for n in range(2600)
    ]
    write_split(tmp_path, "train", examples)
    store = open_examples(tmp_path, split="train")
    assert store.query_ids == [str(n) for n in range(2600)]
    for index in (0, 1023, 1024, 1800, 2599):
        assert without_user(store[index]) == examples[index]
    assert sum(len(each.profile.items) for each in store) == sum(store.profile_sizes)


def test_the_sidecar_gives_users_and_their_traits(tmp_path: Path) -> None:
    examples = user_split("LaMP_4", users=2)
    write_split(tmp_path, "dev", examples)
    rows = {
        each.query.id: {"user_id": f"user {n}", "traits": {"taste": n}, "oracle": "best"}
        for n, each in enumerate(examples)
    }
    (tmp_path / "dev_traits.json").write_text(json.dumps(rows))
    store = open_examples(tmp_path)
    assert store.user_ids == [f"user {n}" for n in range(6)]
    assert not store.has_derived_user_ids
    traits = store.traits("q0.2")
    assert traits is not None
    assert traits["traits"] == {"taste": 2}
    assert store.traits("nobody") is None


def test_a_missing_task_or_split_lists_the_existing_ones(tmp_path: Path) -> None:
    for split in ("test", "train", "dev"):
        write_split(tmp_path / "LaMP_4", split, user_split("LaMP_4"))
    write_split(tmp_path / "whatever name", "dev", user_split("LaMP_7"))
    assert available(tmp_path) == [
        ("LaMP_4", "train"),
        ("LaMP_4", "dev"),
        ("LaMP_4", "test"),
        ("LaMP_7", "dev"),
    ]
    assert open_examples(tmp_path, "lamp-7").task == "LaMP_7"
    for arguments, said in (
        ({}, "LaMP_4, LaMP_7"),
        ({"task": "LaMP_3"}, "expected one of LaMP_4, LaMP_7"),
        ({"task": "LaMP_7", "split": "test"}, "expected one of dev"),
    ):
        with pytest.raises(UserError, match=said):
            open_examples(tmp_path, **arguments)
