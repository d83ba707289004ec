"""Whom a text greets."""

from __future__ import annotations

import pytest

from personakit.data.greetings import greeted


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("hi anna, the tools", ("anna",)),
        ("hey lenz - the tools", ("lenz",)),
        ("Hi Lena quick question,", ("Lena",)),
        ("Hallo liebe Anna, wie", ("Anna",)),
        ("Dear Lena & Tim,", ("Lena", "Tim")),
        ("Hi Tom and team,", ("Tom",)),
        ("Moin moin, alles", ()),
        ("hey hey - yes", ()),
        ("Sehr geehrte Damen und Herren,", ()),
        ("Liebe Kolleginnen,", ()),
        ("hey sure thing - see you", ()),
        ("Hi, Lena!", ("Lena",)),
        ("Hallo, Herr Weiss,", ("Weiss",)),
        ("Hi, Lena and Tom\nthe tools", ("Lena", "Tom")),
        ("Hi, Sounds good.", ()),
        ("Hi, Perfect!", ()),
        ("Hi, Awesome! See you.", ()),
        ("Hi, Unfortunately, it rains.", ()),
        ("Hi, Monday.", ()),
        ("hi, done.", ()),
        ("hi, see you", ()),
    ],
)
def test_names_are_told_from_what_else_follows_a_greeting(text: str, names: tuple[str, ...]) -> None:
    found = greeted(text)
    assert (() if found is None else found.names) == names
