"""The recipes' tokenizer: fixed wording is one token, and texts round-trip."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personakit.data.lamp_formats import FORMATS, LAMP_TASKS, build_input
from personakit.recipes import nano
from personakit.rpo.prompts import DRAFT, REWRITE, TAGS


def ids_of(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text)["input_ids"])


def test_every_fixed_literal_is_one_token(tokenizer: Any) -> None:
    wordings = nano.fixed_literals()
    assert {DRAFT, REWRITE, *TAGS} <= set(wordings)
    ids = [ids_of(tokenizer, wording) for wording in wordings]
    assert {len(row) for row in ids} == {1}
    assert len({row[0] for row in ids}) == len(wordings)


@pytest.mark.parametrize("task", LAMP_TASKS)
def test_the_request_is_one_token_before_its_text(task: str, tokenizer: Any) -> None:
    form = FORMATS[task]
    parts = {name: "x" for _, name in form.pieces if name is not None and name not in dict(form.fixed_parts)}
    pieces = [tokenizer.decode([id]) for id in ids_of(tokenizer, build_input(task, **parts))]
    assert len(pieces[0]) > 20
    assert len(pieces) <= 2 + 4 * len(parts)


def test_training_prompts_round_trip_exactly(tokenizer: Any, pairs: list[tuple[str, str]]) -> None:
    for text in (text for pair in pairs for text in pair):
        assert tokenizer.decode(ids_of(tokenizer, text)) == text


_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
_AROUND = st.lists(_TEXT | st.sampled_from(nano.fixed_literals()), max_size=4).map("".join)


@given(_AROUND)
def test_any_text_round_trips_exactly(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(ids_of(tokenizer, text)) == text


def test_fixed_literals_contain_no_replaceable_word() -> None:
    fixed = set(re.findall(r"\w+", " ".join(nano.fixed_literals()).lower()))
    assert not fixed & nano._replaceable()
    assert len(nano._replaceable()) > 2000
