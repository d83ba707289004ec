"""Terminal output: only results on stdout, escaped user text, closed pipes."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

from personakit.cli.output import console, escaped, table

from .conftest import Call

ROOT = Path(__file__).parents[2]


def test_user_text_is_neither_markup_nor_a_terminal_escape() -> None:
    out = io.StringIO()
    table(console(out), ("text",), [("[bold]a[/] :smile: \x1b[31mred\x07",)])
    assert "[bold]a[/] :smile: \\x1b[31mred\\x07" in out.getvalue()
    assert escaped("tab\tand\nline, é and 日本 stay") == "tab\tand\nline, é and 日本 stay"


def test_a_document_is_all_that_json_prints(call: Call, tiny_run: Path) -> None:
    for arguments in (("config", "list"), ("runs",), ("infer", "hi", "--run", tiny_run)):
        done = call(*arguments, "--json")
        assert done.status == 0, done.err
        assert done.document is not None


def test_closed_pipe_ends_the_command_without_an_error(tiny_data: Path) -> None:
    command = (
        f"{sys.executable} -m personakit data show {tiny_data} --task LaMP_7 | true; echo ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout in ("141\n", "0\n")  # 0 if all was written before the pipe was closed
    assert "Traceback" not in done.stderr
    assert "Broken pipe" not in done.stderr


def test_the_version_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "personakit", "--version"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout.startswith("personakit ")
