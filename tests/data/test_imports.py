from __future__ import annotations

import csv
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from personakit.data import available, open_examples
from personakit.data.check import check_data
from personakit.data.history import read_history
from personakit.data.imports import import_data
from personakit.data.lamp import write_split
from personakit.data.near_duplicates import normalized
from personakit.data.splitting import SPLITS, SplitPlan, parse_fold, split_users
from personakit.errors import UserError
from tests.data.made import example, item, user_split


def write_mails(path: Path, users: int = 30, per_user: int = 8, originals: int = 120) -> None:
    """The same originals recur across users, now and then with other spaces and capitals."""
    generator = random.Random(0)
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["instance_id", "user_id", "original", "revised"])
        for user in range(users):
            for number in generator.sample(range(originals), per_user):
                original = f"please send, me mail\n{number}" if user % 2 else f"Please send me  mail {number}"
                writer.writerow([f"{user}-{number}", user, original, f"Dear all, {original}. Best, {user}"])


def test_rewrites_are_split_by_user_and_by_original(tmp_path: Path) -> None:
    write_mails(tmp_path / "mails.csv")
    report = import_data(tmp_path / "mails.csv", tmp_path / "out", plan=SplitPlan(3))
    assert report.format == "rewriting"
    assert available(tmp_path / "out") == [("rewriting", split) for split in SPLITS]
    stores = {split: open_examples(tmp_path / "out", split=split) for split in SPLITS}
    asked = {split: {normalized(each.query.search_text) for each in store} for split, store in stores.items()}
    told = {
        split: {normalized(old.fields["original"]) for each in store for old in each.profile.items}
        for split, store in stores.items()
    }
    users = {split: set(store.user_ids) for split, store in stores.items()}
    for earlier, later in (("train", "dev"), ("train", "test"), ("dev", "test")):
        assert not (asked[earlier] | told[earlier]) & asked[later]
        assert not users[earlier] & users[later]
    for store in stores.values():
        for each in store:
            texts = {normalized(old.fields["original"]) for old in each.profile.items}
            assert normalized(each.query.search_text) not in texts
            assert all(
                old.fields["revised"].endswith(f"Best, {each.query.user_id}") for old in each.profile.items
            )
            assert each.query.gold is not None
            assert each.query.gold.endswith(f"Best, {each.query.user_id}")
    kept = sum(len(store) for store in stores.values())
    assert kept + sum(report.dropped["rewriting"].values()) == 30 * 8
    assert report.dropped["rewriting"]["train rows whose original is in a later split"] > 0
    assert kept == sum(counts.queries for counts in report.tasks["rewriting"].values())


def test_an_import_is_the_same_for_the_same_seed_only(tmp_path: Path) -> None:
    write_mails(tmp_path / "mails.csv")
    prints = [
        import_data(tmp_path / "mails.csv", tmp_path / f"out{n}", plan=SplitPlan(seed)).fingerprint
        for n, seed in enumerate((1, 1, 2))
    ]
    assert prints[0] == prints[1] != prints[2]
    about = json.loads((tmp_path / "out0" / "dataset.json").read_text())
    assert about["fingerprint"] == prints[0]
    assert about["format_version"] == 1
    assert about["made_from"] == {"source": "mails.csv", "format": "rewriting", "seed": 1} | {
        "fold": None,
        "min_items": 0,
        "queries": 1,
    }
    assert about["tasks"]["rewriting"]["test"]["queries"] == len(
        open_examples(tmp_path / "out0", split="test")
    )


def test_rewrites_with_other_column_names_in_jsonl(tmp_path: Path) -> None:
    rows = [{"who": n % 5, "before": f"text {n}", "after": f"better {n}"} for n in range(20)]
    (tmp_path / "mails.jsonl").write_text("\n".join(map(json.dumps, rows)))
    columns = {"user_id": "who", "original": "before", "revised": "after"}
    report = import_data(tmp_path / "mails.jsonl", tmp_path / "out", columns=columns)
    assert report.format == "rewriting"
    assert sum(counts.queries for counts in report.tasks["rewriting"].values()) == 20
    assert sum(counts.users for counts in report.tasks["rewriting"].values()) == 5


def reviews(users: int = 60) -> list[dict[str, Any]]:
    return [
        {
            "id": f"user{n}",
            "profile": [
                {"rating": 1 + (n + k) % 5, "title": f"Title {n} {k}", "text": f"Text {n} {k}", "pid": "p"}
                for k in range(1 + n % 3)
            ],
        }
        for n in range(users)
    ]


def test_folds_test_every_user_with_enough_items_once(tmp_path: Path) -> None:
    people = reviews()
    people[1]["profile"][0]["title"] = None  # one task has fewer items of this user than the other
    (tmp_path / "reviews.json").write_text(json.dumps(people))
    tested: Counter[tuple[str, str]] = Counter()
    for fold in (1, 2, 3):
        folder = tmp_path / f"fold{fold}"
        import_data(tmp_path / "reviews.json", folder, plan=SplitPlan(fold=(fold, 3), min_items=2))
        users = {
            (task, split): set(open_examples(folder, task, split).user_ids)
            for task in ("LaMP_3", "LaMP_5")
            for split in SPLITS
        }
        tested.update((task, user) for task in ("LaMP_3", "LaMP_5") for user in users[task, "test"])
        assert users["LaMP_3", "test"] == users["LaMP_5", "test"]
        assert len(users["LaMP_3", "dev"]) == 6  # 15 % of 39
        assert not users["LaMP_3", "train"] & users["LaMP_5", "test"]
        assert "user0" in users["LaMP_3", "train"]
        assert all(each.profile.items for each in open_examples(folder, "LaMP_3", "test"))
    assert set(tested.values()) == {1}
    assert len(tested) == 2 * 39  # of 60 users, a third has one review, and one lacks a title


@pytest.mark.parametrize("fold", ["0/5", "6/5", "1/1", "1", "a/b", "1/5/2", ""])
def test_a_fold_is_k_of_n(fold: str) -> None:
    with pytest.raises(UserError, match=r"expected K/N with K from 1 to N"):
        parse_fold(fold)


def test_folds_need_users_and_a_format_that_has_them(tmp_path: Path) -> None:
    (tmp_path / "reviews.json").write_text(json.dumps(reviews(3)))
    with pytest.raises(UserError, match="4 folds of 3 users"):
        import_data(tmp_path / "reviews.json", tmp_path / "out", plan=SplitPlan(fold=(1, 4)))
    rows = [{"instruction": f"Do {n}", "output": f"done {n}"} for n in range(9)]
    (tmp_path / "alpaca.json").write_text(json.dumps(rows))
    with pytest.raises(UserError, match=r"alpaca.*--min-items is for reviews, rewriting, history"):
        import_data(tmp_path / "alpaca.json", tmp_path / "out", plan=SplitPlan(min_items=2))
    assert not (tmp_path / "out").exists()


def test_reviews_become_rating_and_title_tasks(tmp_path: Path) -> None:
    people = reviews()
    (tmp_path / "reviews.json").write_text(json.dumps(people))
    report = import_data(tmp_path / "reviews.json", tmp_path / "out")
    assert report.format == "reviews"
    assert list(report.tasks) == ["LaMP_3", "LaMP_5"]
    by_id = {person["id"]: person["profile"] for person in people}
    for task, gold_key in (("LaMP_3", "rating"), ("LaMP_5", "title")):
        counts = report.tasks[task].values()
        assert sum(each.queries for each in counts) == sum(each.users for each in counts) == 60
        assert sum(each.empty_profiles for each in counts) == 20
        for split in SPLITS:
            for each in open_examples(tmp_path / "out", task, split):
                written = by_id[each.query.user_id]
                (asked,) = [review for review in written if review["text"] == each.query.search_text]
                assert each.query.gold == str(asked[gold_key])
                assert len(each.profile.items) == len(written) - 1
                assert each.query.search_text not in [old.document for old in each.profile.items]
    (one, *_) = open_examples(tmp_path / "out", "LaMP_5", "train")
    assert one.query.text.startswith("Generate a title for the following abstract of a paper: Text ")


def test_a_review_text_is_in_one_split_and_not_in_its_own_profile(tmp_path: Path) -> None:
    people = reviews()
    for person in people[::2]:
        person["profile"].append({"rating": 5, "title": "Same", "text": "Great  product!", "pid": "p"})
        person["profile"].append({"rating": 5, "title": "Same again", "text": "great product", "pid": "p"})
    (tmp_path / "reviews.json").write_text(json.dumps(people))
    report = import_data(tmp_path / "reviews.json", tmp_path / "out")
    holding = []
    for split in SPLITS:
        for each in open_examples(tmp_path / "out", "LaMP_3", split):
            old = [normalized(item.document) for item in each.profile.items]
            assert normalized(each.query.search_text) not in old
            if "great product" in (normalized(each.query.search_text), *old):
                holding.append(split)
    assert set(holding) == {"test"}
    assert report.dropped["LaMP_3"]["items whose text is in another split"] > 20


def test_lamp_is_imported_byte_for_byte_with_its_sidecar(tmp_path: Path) -> None:
    for split in ("train", "dev"):
        write_split(tmp_path / "in", split, user_split("LaMP_6"))
    rows = {each.query.id: {"user_id": "u", "traits": {}, "oracle": "o"} for each in user_split("LaMP_6")}
    (tmp_path / "in" / "dev_traits.json").write_text(json.dumps(rows))
    report = import_data(tmp_path / "in", tmp_path / "out")
    assert report.format == "lamp"
    assert report.tasks["LaMP_6"]["train"].users == 4
    assert (tmp_path / "out" / "LaMP_6" / "dev_traits.json").exists()
    for name in ("train_questions.json", "train_outputs.json", "dev_outputs.json"):
        assert (tmp_path / "in" / name).read_bytes() == (tmp_path / "out" / "LaMP_6" / name).read_bytes()
    only = import_data(tmp_path / "in" / "train_questions.json", tmp_path / "one")
    assert list(only.tasks["LaMP_6"]) == ["train"]


HISTORY = [
    {"Subject": "Second", "body": "b, 2", "who": "anna", "sent": "2012-02-01"},
    {"Subject": "Other", "body": "b 3", "who": "bert", "sent": "2010-01-01"},
    {"Subject": "First", "body": 'said "b\n1"', "who": "anna", "sent": "2011-12-01"},
]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_history_is_read_from_any_table_format(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"mine.{suffix}"
    if suffix == "csv":
        with path.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, HISTORY[0])
            writer.writeheader()
            writer.writerows(HISTORY)
    elif suffix == "jsonl":
        path.write_text("\n".join(map(json.dumps, HISTORY)) + "\n\n")
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(HISTORY), path)
    anna, bert = read_history(
        path,
        "LaMP_6",
        columns={"title": "Subject", "text": "body", "user_id": "who", "date": "sent"},
    )
    assert (anna.user_id, bert.user_id) == ("anna", "bert")
    assert [old.fields for old in anna.items] == [
        {"title": "First", "text": 'said "b\n1"'},
        {"title": "Second", "text": "b, 2"},
    ]
    assert anna.items[0].document == 'said "b\n1" date: 2011-12-01'


def test_lamp_fields_are_recognised_and_one_file_is_one_user(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"ID": "x", "Text": "a", "score": 5}\n{"Text": "b", "score": "3.0"}\n')
    (me,) = read_history(path, "LaMP_3")
    assert [old.fields for old in me.items] == [{"text": "a", "score": "5"}, {"text": "b", "score": "3"}]
    with pytest.raises(UserError, match='no column "title"') as raised:
        read_history(path, "LaMP_4")
    assert "title=" in raised.value.hint


def test_the_newest_item_of_a_dated_history_becomes_the_query(tmp_path: Path) -> None:
    rows = [
        {"user_id": f"u{user}", "title": f"t {user} {n}", "text": f"x {user} {n}", "date": f"20{10 + n}"}
        for user in range(6)
        for n in (2, 0, 1)
    ]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    import_data(tmp_path / "mine.jsonl", tmp_path / "out", task="LaMP-4")
    for split in SPLITS:
        for each in open_examples(tmp_path / "out", split=split):
            assert each.query.gold == f"t {each.query.user_id[1:]} 2"
            assert [old.date for old in each.profile.items] == ["2010", "2011"]
    import_data(tmp_path / "mine.jsonl", tmp_path / "more", task="LaMP-4", plan=SplitPlan(queries=2))
    for split in SPLITS:
        made = [
            (each.query.user_id, each.query.gold, len(each.profile.items))
            for each in open_examples(tmp_path / "more", split=split)
        ]
        users = {user for user, *_ in made}
        newest = {(user, f"t {user[1:]} 2", 2) for user in users}
        before = {(user, f"t {user[1:]} 1", 1) for user in users if split == "train"}
        assert sorted(made) == sorted(newest | before)


def test_queries_of_a_user_have_different_ids(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "user_id": f"u{user}", "title": f"t {user} {n}", "text": f"x {user} {n}"}
        for user in range(6)
        for n in range(3)
    ]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    import_data(tmp_path / "mine.jsonl", tmp_path / "out", task="LaMP-4", plan=SplitPlan(queries=3))
    ids = open_examples(tmp_path / "out", split="train").query_ids
    assert len(set(ids)) == len(ids) == 12


def test_columns_of_reviews_are_refused(tmp_path: Path) -> None:
    (tmp_path / "reviews.json").write_text(json.dumps(reviews(3)))
    with pytest.raises(UserError, match=r"reviews\.json \(reviews\): --column is for rewriting, history"):
        import_data(tmp_path / "reviews.json", tmp_path / "out", columns={"rating": "stars"})


def test_training_users_can_have_several_queries_without_dates(tmp_path: Path) -> None:
    (tmp_path / "reviews.json").write_text(json.dumps(reviews()))
    report = import_data(tmp_path / "reviews.json", tmp_path / "out", plan=SplitPlan(min_items=2, queries=9))
    counts = report.tasks["LaMP_3"]
    assert counts["dev"].queries == counts["dev"].users
    made = list(open_examples(tmp_path / "out", "LaMP_3", "train"))
    assert len({each.query.id for each in made}) == len(made) == counts["train"].queries
    users = [each.query.user_id for each in made]
    queries = Counter(users)
    assert set(queries.values()) == {1, 2, 3}
    assert all(len(each.profile.items) + 1 == queries[each.query.user_id] for each in made)
    several = sum(count > 1 for count in queries.values())
    assert len(set(users[:several])) == several  # everybody once, and those without a history last
    assert all(each.profile.items for each in made[:-20])
    assert not any(each.profile.items for each in made[-20:])


@pytest.mark.parametrize("count", [1, 2, 3, 10, 227])
def test_users_are_split_without_overlap_or_loss(count: int) -> None:
    users = [f"u{n}" for n in range(count)]
    split_of = split_users(users * 2, seed=0)
    assert set(split_of) == set(users)
    assert split_of == split_users(reversed(users), seed=0)
    if count >= 3:
        assert set(Counter(split_of.values())) == set(SPLITS)
    if count == 227:
        assert Counter(split_of.values()) == {"train": 159, "dev": 34, "test": 34}


def test_a_check_counts_and_warns(tmp_path: Path) -> None:
    old = tuple(item("LaMP_4", "u", n) for n in range(4))
    leaking = example("LaMP_4", "leak", (*old, old[0]), gold=old[2].fields["title"])
    write_split(tmp_path, "train", [leaking, example("LaMP_4", "nobody", (), gold="a b c")])
    write_split(tmp_path, "test", [example("LaMP_4", "nobody", old[:2])])
    report = check_data(tmp_path)
    train, test = report.splits
    assert (train.queries, train.users, train.golds, train.empty_profiles) == (2, 2, 2, 1)
    assert (train.gold_in_profile, train.repeated_items, train.query_in_profile) == (1, 1, 0)
    assert train.items == {"q1": 1.25, "median": 2.5, "q3": 3.75, "max": 5}
    assert (test.queries, test.golds) == (1, 0)
    for said in (
        "LaMP_4 train: 1 queries have their gold answer word for word in their own profile",
        "LaMP_4: 1 input of test that is also in train",
        "LaMP_4 test: no gold answers, so it can be answered but not scored",
    ):
        assert said in report.warnings
