"""The fast and the checked reader agree, also on slightly invalid LaMP files."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from personakit.data.lamp import read_questions
from personakit.data.store import open_store
from personakit.errors import UserError
from personakit.records import Example
from tests.data.test_json_stream import layouts, texts

PREFIXES = {
    "LaMP_3": "What is the score of the following review on a scale of 1 to 5? just answer with 1, 2, 3, 4, "
    "or 5 without further explanation. review: ",
    "LaMP_4": "Generate a headline for the following article: ",
    "LaMP_7": "Paraphrase the following tweet without any explanation before or after it: ",
}
dates = st.one_of(st.dates().map(str), st.sampled_from(["2012", "2012-10", "1999-12-31 23:59", "2012/10/05"]))


@st.composite
def question_lists(draw: st.DrawFn) -> list[dict[str, Any]]:
    task = draw(st.sampled_from(list(PREFIXES)))
    dated, with_users = draw(st.booleans()), draw(st.booleans())
    usual = draw(st.booleans())
    date = st.dates().map(str) if usual else dates
    score: st.SearchStrategy[Any] = st.sampled_from("12345")
    if not usual:
        score = st.one_of(score, st.sampled_from([1, 5.0, "3.0", 7, None]))
    fields: dict[str, Any] = {"id": texts.map(lambda text: "i" + text), "text": texts}
    fields |= {"title": texts} if task == "LaMP_4" else {"score": score} if task == "LaMP_3" else {}
    fields |= {"date": date} if dated else {}
    return [
        {
            "id": str(number),
            "input": PREFIXES[task] + draw(texts),
            "profile": draw(st.lists(st.fixed_dictionaries(fields), max_size=4)),
            **({"user_id": "u" + draw(texts)} if with_users else {}),
            **({} if usual else draw(st.sampled_from([{}, {"note": "more"}, {"note": ["]}"]}]))),
        }
        for number in range(draw(st.integers(1, 8)))
    ]


def both_ways(content: bytes, block_bytes: int) -> tuple[list[Example] | str, list[Example] | str]:
    """Return what the quick and what the checked way make of a questions file: examples, or the error."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "dev_questions.json"
        path.write_bytes(content)
        results: list[list[Example] | str] = []
        environment = {"PERSONAKIT_CACHE": f"{name}/cache"}
        with (
            mock.patch("personakit.data.convert._BLOCK_BYTES", block_bytes),
            mock.patch.dict("os.environ", environment),
        ):
            for read in (lambda: list(open_store(Path(name), "dev")), lambda: list(read_questions(path))):
                try:
                    results.append(read())
                except UserError as error:
                    results.append(error.message)
        return results[0], results[1]


def agree(quick: list[Example] | str, checked: list[Example] | str) -> None:
    if isinstance(quick, str) or isinstance(checked, str):
        assert quick == checked
        return
    assert [(each.query.id, each.query.text, each.profile.items) for each in quick] == [
        (each.query.id, each.query.text, each.profile.items) for each in checked
    ]
    assert all(
        mine.query.user_id == given.query.user_id
        for mine, given in zip(quick, checked, strict=True)
        if given.query.user_id
    )


relaxed = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@relaxed
@given(question_lists(), layouts, st.integers(50, 2000))
def test_fast_and_checked_readers_agree(
    questions: list[Any], layout: dict[str, Any], block_bytes: int
) -> None:
    agree(*both_ways(json.dumps(questions, **layout).encode(), block_bytes))


@relaxed
@given(question_lists(), st.integers(50, 2000), st.data())
def test_fast_and_checked_readers_agree_for_a_changed_byte(
    questions: list[Any], block_bytes: int, data: st.DataObject
) -> None:
    content = bytearray(json.dumps(questions, ensure_ascii=False).encode())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    agree(*both_ways(bytes(content), block_bytes))


@pytest.mark.parametrize(
    "odd",
    [
        '"text": "x", "text": "twice"',
        '"text": "line\nend"',
        '"text": "x", "more": {"deep": [1, {"text": "]}"}]}',
        '"text": "\\ud83d\\ude00\\u0000"',
        '"text": "\\/"',
        '"text": "x", "date": null',
    ],
)
def test_fast_and_checked_readers_agree_for_irregular_items(odd: str) -> None:
    question = '{"id": "%s", "input": "' + PREFIXES["LaMP_7"] + 'y", "profile": [{"id": "1", %s}]}'
    usual = '"text": "x"'
    content = "[" + ", ".join(question % (n, odd if n == 2 else usual) for n in range(4)) + "]"
    agree(*both_ways(content.encode(), 4000))
