"""The word difference of `infer --trace`."""

from __future__ import annotations

from personakit.cli.difference import coloured, marked


def test_marks_are_readable_without_colour() -> None:
    assert marked("We are out of milk.", "hey, we are out of milk!") == (
        "[-We-]{+hey, we+} are out of milk[-.-]{+!+}"
    )


def test_the_coloured_difference_says_the_same_and_takes_no_markup_or_escapes() -> None:
    before, after = "a [/] b", "a [bold] \x1b[31mb"
    assert coloured(before, after).plain == marked(before, after).replace("\x1b", "\\x1b")
