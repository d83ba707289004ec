"""One rule for the dates of histories; what an import writes is readable."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from personakit.data import open_examples
from personakit.data.check import check_data
from personakit.data.dates import MISSING, UNREADABLE, date_key, parse_date
from personakit.data.history import read_history
from personakit.data.imports import import_data
from personakit.data.skips import SkipCounts
from personakit.data.splitting import SPLITS
from personakit.errors import UserError
from personakit.records import Profile, ProfileItem, Query
from personakit.retrieval.order import Recency


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2020-01-15", "2020-01-15"),
        ("2020-1-5", "2020-01-05"),
        ("2020/01/15", "2020-01-15"),
        ("2020.01.15", "2020-01-15"),
        ("20200115", "2020-01-15"),
        ("2020", "2020"),
        (2020, "2020"),
        ("2020-05", "2020-05"),
        ("2020-01-15T08:30:00", "2020-01-15T08:30:00"),
        ("2020-01-15 8:30", "2020-01-15T08:30:00"),
        ("2020-01-15T00:00:00Z", "2020-01-15"),
        ("2020-01-02T08:30:00+09:00", "2020-01-01T23:30:00"),
        ("2020-01-01 20:00:00.250 -0800", "2020-01-02T04:00:00.250000"),
        ("1577836800", "2020-01-01"),
        (1577836801, "2020-01-01T00:00:01"),
        (1577836800000, "2020-01-01"),
        ("1577836800000000", "2020-01-01"),
        (1.5778368e18, "2020-01-01"),
        ("Wed Jan 01 20:19:24 +0000 2020", "2020-01-01T20:19:24"),
        ("Wed, 01 Jan 2020 20:19:24 +0100", "2020-01-01T19:19:24"),
        ("15 January 2020", "2020-01-15"),
        ("Jan 15, 2020", "2020-01-15"),
        ("15.01.2020", "2020-01-15"),
        ("02.01.2020 17:05", "2020-01-02T17:05:00"),
        ("05/05/2020", "2020-05-05"),
        (date(2020, 1, 15), "2020-01-15"),
        (datetime(2020, 1, 15), "2020-01-15"),
        (datetime(2020, 1, 15, 1, tzinfo=timezone(timedelta(hours=2))), "2020-01-14T23:00:00"),
    ],
)
def test_a_date_is_read(written: Any, read: str) -> None:
    assert parse_date(written) == read
    assert parse_date(read) == read


@pytest.mark.parametrize(
    "written",
    [
        "2021-99-99", "2021-02-30", "2021-13", "99-99-2021", "0000-00-00", "0000", "20219999", "yesterday",
        "12", 44927, -5, True, float("inf"), "1/2/2020", "2020-01-15 25:00", "2020-01-15 13:00 PM", "1/2/20",
        "0001-01-01T00:00:00+09:00", "Wed, 99 Jan 2020 20:19:24 +0000", "2020-01-15 or so",
    ],
)  # fmt: skip
def test_what_is_no_date_is_refused(written: Any) -> None:
    with pytest.raises((ValueError, OverflowError)):
        parse_date(written)


def test_times_sort_across_zones_and_invalid_dates_by_their_numbers() -> None:
    dates = ["2020-01-02T08:30:00+09:00", "2020-01-01T20:00:00-08:00", "2020-01-01", "2020-99-99", "2020"]
    assert sorted(dates, key=date_key) == [dates[4], dates[2], dates[0], dates[1], dates[3]]


def test_recency_compares_times_with_days() -> None:
    dates = ["2020-01-02", "2020-01-01T23:59:00", "2020-01-02T08:00:00", None, "2020-1-3"]
    items = tuple(ProfileItem(str(n), {"text": "x"}, "x", date) for n, date in enumerate(dates))
    [context] = Recency(5).context([Query("q", "LaMP_7", "x", "x", "u")], [Profile("u", items)])
    assert [item.id for item in context.items] == ["4", "2", "0", "1", "3"]


def write_history(path: Path, dates: list[str], users: int = 6) -> Path:
    lines = ["user_id;date;title;text"]
    for user in range(users):
        lines += [
            f"u{user};{date};River {n} of {user};by the river {n} {user}" for n, date in enumerate(dates)
        ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("dates", "order"),
    [
        (["2020-01-02T08:30:00+09:00", "2020-01-01T23:59:00Z", "2020-01-01T20:00:00-08:00"], [0, 1, 2]),
        (["1577836800", "1577923200000", "2020-01-03"], [0, 1, 2]),
        (["2020-10-2", "2020-9-1", "2020-11-3"], [1, 0, 2]),
        (["03/15/2020", "01/02/2020", "02/01/2020"], [1, 2, 0]),
        (["15/03/2020", "01/02/2020", "02/01/2020"], [2, 1, 0]),
        (["01.03.2020", "15.02.2020", "02.02.2020"], [2, 1, 0]),
    ],
)
def test_the_newest_item_becomes_the_query(dates: list[str], order: list[int], tmp_path: Path) -> None:
    report = import_data(write_history(tmp_path / "mine.csv", dates), tmp_path / "out", task="LaMP_4")
    assert report.drawn == {"LaMP_4": 0}
    assert not report.read
    assert not [each for each in check_data(tmp_path / "out").warnings if "date" in each]
    for split in SPLITS:
        for each in open_examples(tmp_path / "out", split=split):
            numbers = [int(old.fields["title"].split()[1]) for old in each.profile.items]
            assert [*numbers, int(str(each.query.gold).split()[1])] == order


@pytest.mark.parametrize("bad", ["", "nan", "2021-99-99", "tomorrow"])
def test_an_item_without_a_date_among_dated_ones_is_left_out_and_counted(bad: str, tmp_path: Path) -> None:
    source = write_history(tmp_path / "mine.csv", ["2020-03-01", bad, "2020-02-01"])
    report = import_data(source, tmp_path / "out", task="LaMP_4")
    reason = MISSING if bad in ("", "nan") else UNREADABLE
    assert report.read[reason].count == 6
    assert report.read[reason].first.startswith(f"{source}, line 3")
    left_out = report.read["items left out because they have no date and others of their user have"]
    assert left_out.count == 6
    assert report.drawn == {"LaMP_4": 0}
    assert sum(split.items for split in report.tasks["LaMP_4"].values()) == 6
    assert [split.empty_profiles for split in check_data(tmp_path / "out").splits] == [0, 0, 0]
    for each in open_examples(tmp_path / "out", split="train"):
        assert str(each.query.gold).startswith("River 0")


def test_users_without_any_date_are_kept_and_their_queries_drawn_and_counted(tmp_path: Path) -> None:
    source = write_history(tmp_path / "mine.csv", ["2020-03-01", "2020-04-01"])
    source.write_text(source.read_text().replace("u0;2020-03-01", "u0;").replace("u0;2020-04-01", "u0;"))
    report = import_data(source, tmp_path / "out", task="LaMP_4")
    assert report.drawn == {"LaMP_4": 1}
    assert sum(split.queries for split in report.tasks["LaMP_4"].values()) == 6
    check_data(tmp_path / "out")


@pytest.mark.parametrize(
    ("dates", "said"),
    [
        (["01/02/2020", "03/04/2020"], "day and month cannot be told apart"),
        (["13/02/2020", "03/14/2020"], "has the day first"),
        (["soon", "2021-99-99"], "no date of it can be read"),
        (["44927", "44928"], "no date of it can be read"),
    ],
)
def test_a_column_of_unclear_dates_is_refused(dates: list[str], said: str, tmp_path: Path) -> None:
    source = write_history(tmp_path / "mine.csv", dates)
    with pytest.raises(UserError, match=said) as raised:
        import_data(source, tmp_path / "out", task="LaMP_4")
    assert '"date"' in raised.value.message
    assert "line 2" in raised.value.message
    assert "YYYY-MM-DD" in raised.value.hint
    assert not (tmp_path / "out").exists()


def test_a_profile_keeps_its_undated_items_before_the_dated_ones(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("text,date\nb,2020-01-02\nundated,\na,2020-01-01\n")
    counts = SkipCounts()
    (me,) = read_history(path, "LaMP_7", counts=counts)
    assert [old.fields["text"] for old in me.items] == ["undated", "a", "b"]
    assert counts.report[MISSING].first == f"{path}, line 3"


def test_labels_outside_the_list_do_not_become_queries(tmp_path: Path) -> None:
    rows = "".join(f"u{n},comedy,film {n}\nu{n},Comedy,other {n}\n" for n in range(6))
    (tmp_path / "films.csv").write_text("user_id,tag,description\n" + rows)
    report = import_data(tmp_path / "films.csv", tmp_path / "out", task="LaMP_2")
    assert report.read["items left out because their tag is not in the list of LaMP_2"].count == 6
    assert {split.golds for split in check_data(tmp_path / "out").splits} == {1, 4}


def test_a_check_warns_of_dates_that_do_not_exist(tmp_path: Path) -> None:
    from personakit.data.lamp import write_split
    from tests.data.made import example, item

    items = tuple(item("LaMP_4", "u", n, date) for n, date in enumerate(("2020-01-01", "2021-99-99")))
    write_split(tmp_path, "dev", [example("LaMP_4", "q", items, gold="a b")])
    assert (
        "LaMP_4 dev: 1 profile items have a date that is not in the calendar" in check_data(tmp_path).warnings
    )
