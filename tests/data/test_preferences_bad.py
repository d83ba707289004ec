"""Invalid preferences give one sentence with the place, or are skipped and counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from personakit.data.check import check_data
from personakit.data.imports import import_data
from personakit.data.preferences import open_preferences
from personakit.data.preferences.alignx import ABOUT, PAIRS, POSTS
from personakit.errors import UserError
from tests.data import preference_rows as made

Change = Callable[[made.Rows], object]


def put(place: int, **values: Any) -> Change:
    return lambda rows: rows[place].update(values)


def without(place: int, key: str) -> Change:
    return lambda rows: rows[place].pop(key)


COUNTED: dict[str, tuple[Callable[[], made.Rows], Change, str]] = {
    "chosen equals rejected": (
        made.trl_rows,
        put(3, rejected=" disliked 0 3", chosen="disliked 0 3 "),
        "pairs whose chosen answer equals the rejected one",
    ),
    "an empty answer": (made.trl_rows, put(3, chosen=" "), "pairs with an empty prompt or answer"),
    "an empty prompt": (made.roleplay_rows, put(3, x=""), "pairs with an empty prompt or answer"),
    "a null answer": (made.trl_rows, put(3, rejected=None), "pairs with an empty prompt or answer"),
    "a label that says neither": (
        lambda: made.elix_rows(tuple(f"l{n}" for n in range(25)), 4),
        put(3, label=0.5),
        "pairs whose label is neither 0 nor 1",
    ),
    "a label of another kind": (
        lambda: made.elix_rows(tuple(f"l{n}" for n in range(25)), 4),
        put(3, label=None),
        "pairs whose label is neither 0 nor 1",
    ),
    "a pair twice": (
        made.trl_rows,
        put(3, **made.pair("0 2")),
        "pairs that repeat one of the same user",
    ),
    "a pair and its opposite": (
        made.trl_rows,
        put(3, prompt="asked 0 2", chosen="disliked 0 2", rejected="liked 0 2"),
        "pairs that contradict an earlier one of the same user",
    ),
    "a user with one pair": (
        made.trl_rows,
        put(3, user="lonely"),
        "pairs of users who have one pair and nothing else",
    ),
    "a target among its own signals": (
        made.alignx_rows,
        put(3, chosen="Liked signal 3 0!"),
        "held-out pairs whose prompt or an answer stands among the signals",
    ),
    "a signal pair with equal answers": (
        made.alignx_rows,
        lambda rows: rows[3][PAIRS][1].update(chosen="a", rejected="a"),
        "pairs whose chosen answer equals the rejected one",
    ),
    "no signals at all": (
        made.alignx_rows,
        put(3, **{PAIRS: [], POSTS: [], ABOUT: ""}),
        "held-out pairs of users without signals",
    ),
    "a comment that is the held-out answer": (
        made.alignx_rows,
        lambda rows: rows[3][POSTS][0].update(comment="liked target 3"),
        "signals (comments, lines about the user, items) that repeat a held-out answer",
    ),
}


@pytest.mark.parametrize("name", COUNTED)
def test_an_unusable_pair_is_skipped_and_counted(name: str, tmp_path: Path) -> None:
    rows_of, change, reason = COUNTED[name]
    rows = rows_of()
    change(rows)
    source = made.write(tmp_path / "p.jsonl", rows)
    report = import_data(source, tmp_path / "out").preferences
    assert report is not None
    (skip,) = [skip for why, skip in report.skipped.items() if why == reason]
    assert skip.count == 1
    assert skip.first.startswith(f"{source}, line 4")
    about = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert about["preferences"]["skipped"][reason]["count"] == 1


REFUSED: dict[str, tuple[Callable[[], made.Rows], Change, str]] = {
    "no user": (
        made.trl_rows,
        lambda rows: [row.pop("user") for row in rows],
        "line 1 has no user id",
    ),
    "a user here and there": (made.trl_rows, without(3, "user"), "line 4 has no user id"),
    "an empty user": (made.trl_rows, put(3, user=" "), 'line 4: "user" is empty, expected a user'),
    "no user in PRISM": (
        made.prism_rows,
        lambda rows: [row.pop("user_id") for row in rows],
        "line 1 has no user id",
    ),
    "a number as an answer": (made.trl_rows, put(3, chosen=["a"]), "message 1 is 'a', expected an object"),
    "two formats": (
        made.trl_rows,
        lambda rows: rows.extend(made.roleplay_rows()),
        "line 51 (x, yw, yl, level, score_persona) is in the format fspo, expected trl as before",
    ),
    "a row without an answer": (
        made.trl_rows,
        without(3, "rejected"),
        "line 4 (user, prompt, chosen) is in no preference format, expected trl",
    ),
    "columns of two formats": (
        made.trl_rows,
        put(0, response_x="a", response_y="b", label=0, scorer_level="child"),
        "line 1 has the columns of 2 preference formats (fspo, trl), expected one",
    ),
    "signals that are no list": (
        made.alignx_rows,
        put(3, **{PAIRS: "none"}),
        f"line 4: \"{PAIRS}\" is 'none', expected a list",
    ),
    "a signal without an answer": (
        made.alignx_rows,
        lambda rows: rows[3][PAIRS][1].pop("chosen"),
        f'line 4, "{PAIRS}" 2: "chosen" is missing, expected a text',
    ),
    "a message without a role": (
        made.prism_rows,
        lambda rows: rows[3]["context"][0].pop("role"),
        'line 4, "context", message 1: "role" is missing',
    ),
    "an answer of two messages": (
        made.prism_rows,
        lambda rows: rows[3].update(chosen=rows[3]["context"][:2]),
        'line 4: "chosen" holds 2 messages, expected one answer',
    ),
    "nothing of use": (
        lambda: made.trl_rows(3, 1),
        lambda rows: None,
        "none of 3 pairs is usable: 3 pairs of users who have one pair and nothing else",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_invalid_input_gives_one_sentence(name: str, tmp_path: Path) -> None:
    rows_of, change, said = REFUSED[name]
    rows = rows_of()
    change(rows)
    source = made.write(tmp_path / "p.jsonl", rows)
    with pytest.raises(UserError) as raised:
        import_data(source, tmp_path / "out")
    assert said in raised.value.message
    assert str(source) in raised.value.message
    assert raised.value.hint
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["p.jsonl"]


def test_the_format_can_be_given_if_several_match(tmp_path: Path) -> None:
    rows = [{**row, "user": f"u{n % 5}", **made.pair(str(n))} for n, row in enumerate(made.roleplay_rows())]
    source = made.write(tmp_path / "p.jsonl", rows)
    report = import_data(source, tmp_path / "out", format="trl").preferences
    assert report is not None
    assert (report.format, report.kept) == ("trl", 125)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"columns": {"user_id": "who"}}, 'has no column "who"'),
        ({"columns": {"prompt": "question"}}, 'has no column "question"'),
        ({"split_by": "item"}, 'cannot be split by "item"'),
    ],
)
def test_an_invalid_option_gives_one_sentence(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    source = made.write(tmp_path / "p.jsonl", made.trl_rows())
    with pytest.raises(UserError, match=said):
        import_data(source, tmp_path / "out", **options)


def test_only_preferences_can_be_split_by_prompt(tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_text("user_id,original,revised\nu,a,b\n")
    with pytest.raises(UserError, match="only preferences"):
        import_data(tmp_path / "w.csv", tmp_path / "out", split_by="prompt")


LINES: dict[str, tuple[Change, str]] = {
    "another format": (
        lambda rows: rows.__setitem__(1, made.trl_rows()[0]),
        'line 2 is not a user, expected an object with "user_id", "signals" and "pairs"',
    ),
    "no user": (without(1, "user_id"), "line 2 has no user id"),
    "a user twice": (put(1, user_id="user0"), 'line 2: user "user0" already has'),
    "signals that are a list": (put(1, signals=[]), 'line 2, "signals" is [], expected an object'),
    "a comment that is a number": (
        lambda rows: rows[1]["signals"].update(comment=5),
        'line 2, "signals": "comment" holds 5, expected a text',
    ),
    "an item without fields": (
        lambda rows: rows[1]["signals"]["items"][0].pop("fields"),
        'line 2, "signals", "items" 1: "fields" is None, expected an object of texts',
    ),
    "a pair without a prompt": (
        lambda rows: rows[1]["pairs"][1].pop("prompt"),
        'line 2, "pairs" 2: "prompt" is missing',
    ),
}


@pytest.mark.parametrize("name", LINES)
def test_an_invalid_line_is_refused(name: str, tmp_path: Path) -> None:
    change, said = LINES[name]
    rows = made.native_rows(3)
    change(rows)
    (tmp_path / "preferences").mkdir()
    made.write(tmp_path / "preferences" / "dev.jsonl", rows)
    with pytest.raises(UserError) as raised:
        open_preferences(tmp_path, "dev")
    assert said in raised.value.message.replace(f"{tmp_path}/preferences/dev.jsonl, ", "")


def test_a_check_counts_invalid_lines(tmp_path: Path) -> None:
    rows = made.native_rows(4)
    for row in rows[1:]:
        row["signals"] = []
    (tmp_path / "preferences").mkdir()
    made.write(tmp_path / "preferences" / "dev.jsonl", rows)
    with pytest.raises(UserError, match=r"line 2.*\(and 2 more invalid lines\)"):
        check_data(tmp_path)


def test_a_truncated_line_and_an_empty_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "preferences").mkdir()
    path = made.write(tmp_path / "preferences" / "dev.jsonl", made.native_rows(2))
    path.write_text(path.read_text()[:-20])
    with pytest.raises(UserError, match=r"line 2, column \d+: not valid JSON"):
        open_preferences(tmp_path, "dev")
    path.write_text("\n")
    with pytest.raises(UserError, match="no user with usable preferences"):
        open_preferences(tmp_path, "dev")


def test_a_missing_preference_split_lists_the_existing_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no preferences"):
        open_preferences(tmp_path, "dev")
    (tmp_path / "preferences").mkdir()
    made.write(tmp_path / "preferences" / "train.jsonl", made.native_rows(2))
    with pytest.raises(UserError, match='no preferences for the split "dev", expected one of train'):
        open_preferences(tmp_path, "dev")
