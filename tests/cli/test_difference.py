"""The word difference of `infer --trace`."""

from __future__ import annotations

from personakit.cli.difference import word_diff


def test_marks_are_readable_without_colour() -> None:
    assert word_diff("We are out of milk.", "hey, we are out of milk!").plain == (
        "[-We-]{+hey, we+} are out of milk[-.-]{+!+}"
    )


def test_word_diff_escapes_markup_and_control_characters() -> None:
    difference = word_diff("a [/] b", "a [bold] \x1b[31mb").plain
    assert difference == r"a [[-/-]{+bold+}] [-b-]{+\x1b[31mb+}"
