"""Progress of slow steps through the command line: lines within a limit, however slow a single call is."""

from __future__ import annotations

import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from models.server import Server, said

from personakit.cli import main
from personakit.models import decoding, light
from personakit.models.llama import Llama
from personakit.training import progress

from .conftest import Call

ASKED = ("--no-run", "--task", "LaMP_7", "--baseline", "generic")


@pytest.fixture(autouse=True)
def _lines_often(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.02)
    monkeypatch.setenv("PERSONAKIT_CACHE", str(tmp_path / "cache"))


def _slow_decoding(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    forward = decoding._last_logits

    def slow(*arguments: Any) -> Any:
        time.sleep(seconds)
        return forward(*arguments)

    monkeypatch.setattr(decoding, "_last_logits", slow)


@pytest.fixture
def slow_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    _slow_decoding(monkeypatch, 0.01)


def test_a_slow_model_reports_tokens_per_second_and_the_time_left_within_a_batch(
    call: Call, tiny_model: Path, tiny_data: Path, slow_decoding: None
) -> None:
    done = call("eval", "lamp", *ASKED, "--base", tiny_model, "--data", tiny_data, "--json")
    assert done.status == 0, done.err
    assert json.loads(done.out)
    lines = [line for line in done.err.splitlines() if "generating: " in line]
    assert len(lines) > 3
    assert all(line.startswith("answers: 0/") for line in lines)  # all within the first batch
    assert "tokens/s" in lines[-1]
    assert lines[-1].endswith(" left")


def test_a_call_that_reports_nothing_still_shows_lines(
    call: Call, tiny_model: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = decoding.decode

    def silent(*arguments: Any, work: object, **options: Any) -> Any:
        time.sleep(0.3)
        return decode(*arguments, **options)

    monkeypatch.setattr(decoding, "decode", silent)
    # Another split than that of other tests, whose answers are cached.
    done = call("eval", "lamp", *ASKED, "--base", tiny_model, "--data", tiny_data, "--split", "train")
    assert done.status == 0, done.err
    assert sum("generating: 0/" in line and line.endswith(" so far") for line in done.err.splitlines()) > 3


def test_answers_of_a_slow_server_are_counted_as_they_arrive(
    call: Call, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(number: int, body: dict[str, Any]) -> Any:
        time.sleep(0.05 * number)
        return said("off, bye")

    server = Server(answer)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    try:
        done = call("eval", "lamp", *ASKED, "--base", "openai:slow", "--data", tiny_data)
    finally:
        server.stop()
    assert done.status == 0, done.err
    lines = [line for line in done.err.splitlines() if "requests to slow: " in line]
    assert any("requests to slow: 1/" in line and line.endswith(" left") for line in lines), done.err


def test_one_query_shows_signs_too_and_loading_a_model_is_named(
    call: Call, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(function: Any, seconds: float) -> Any:
        def slowly(*arguments: Any) -> Any:
            time.sleep(seconds)
            return function(*arguments)

        return slowly

    monkeypatch.setattr(light, "load_tokenizer", slow(light.load_tokenizer, 0.5))
    monkeypatch.setattr(Llama, "read", slow(Llama.read, 0.01))  # a single prompt
    done = call("infer", "hi", "--run", tiny_run, "--json")
    assert done.document["answer"] is not None
    assert "loading " in done.err
    assert "generating: " in done.err


def test_work_outside_all_steps_shows_that_the_command_runs() -> None:
    stream = io.StringIO()
    with progress.life_signs("list, still working", stream=stream):
        time.sleep(0.2)
    assert stream.getvalue().startswith("list, still working: 0:00 so far\n")


def test_quiet_shows_nothing(
    call: Call, tiny_model: Path, tiny_data: Path, tmp_path: Path, slow_decoding: None
) -> None:
    settings = (f"data.path={tiny_data}", f"model={tiny_model}", "stages=sft", "sft.max_steps=1")
    done = call("train", "rpo", "--quiet", "--output", tmp_path / "run", *settings)
    assert done.status == 0, done.err
    assert "generating" not in done.err
    assert " left" not in done.err


def test_a_terminal_shows_the_inner_step_next_to_the_bar(
    tiny_model: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _slow_decoding(monkeypatch, 0.15)  # a bar is drawn every 0.1 s

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    asked = ["eval", "lamp", "--no-run", "--task", "LaMP_3", "--baseline", "generic"]
    assert main([*asked, "--base", str(tiny_model), "--data", str(tiny_data)]) == 0
    assert "tokens/s" in screen.getvalue()
    assert "answers: 0/" not in screen.getvalue()  # the bar says it
