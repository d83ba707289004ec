from __future__ import annotations

import io

import pytest

from personakit.training import progress
from personakit.training.progress import BarProgress, LineProgress, report_stage


def test_lines_show_the_remaining_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    with report_stage(LineProgress(stream, every=10), "sft", 100, done=20) as stage:
        for done in range(21, 61):
            now[0] += 1.0
            stage.update(done, loss=2.0)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "sft: 30/100, loss 2, 1:10 left"
    assert lines[-1] == "sft: 60/100, loss 2 in 0:40"
    assert len(lines) == 5


def test_stage_is_finished_after_an_error() -> None:
    stream = io.StringIO()
    lines = LineProgress(stream)
    with pytest.raises(ZeroDivisionError), report_stage(lines, "sft", 10, done=3):
        raise ZeroDivisionError
    assert stream.getvalue() == "sft: 3/10 in 0:00\n"


def test_a_bar_takes_any_title(capsys: pytest.CaptureFixture[str]) -> None:
    with report_stage(BarProgress(), "user text [/] in a title", 2) as stage:
        stage.update(1, loss=0.5)
        stage.update(2)
    said = capsys.readouterr()
    assert said.out == ""
    assert "[/]" in said.err
