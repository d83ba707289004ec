"""The word difference of `infer --trace`."""

from __future__ import annotations

from personakit.cli.difference import coloured_diff, plain_diff


def test_marks_are_readable_without_colour() -> None:
    assert plain_diff("We are out of milk.", "hey, we are out of milk!") == (
        "[-We-]{+hey, we+} are out of milk[-.-]{+!+}"
    )


def test_coloured_diff_escapes_markup_and_control_characters() -> None:
    before, after = "a [/] b", "a [bold] \x1b[31mb"
    assert coloured_diff(before, after).plain == plain_diff(before, after).replace("\x1b", "\\x1b")
