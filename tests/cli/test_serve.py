"""`personakit serve`: what cannot be served is said in one sentence."""

from __future__ import annotations

import errno
import shutil
import socket
import threading
from pathlib import Path

import pytest
import yaml

from personakit.errors import UserError
from personakit.training import progress

from .conftest import Call

pytest.importorskip("sqlalchemy", reason="needs the extra serve")
pytest.importorskip("cryptography", reason="needs the extra serve")
start = pytest.importorskip("personakit.serving.start", reason="needs the extra serve")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--host", "0.0.0.0"), "can be reached from other machines"),
        (("--run", "nowhere"), "nowhere: no such run"),
        (("--run", "RUN"), 'another run is called "run"'),
        (("--base", "openai:run"), 'both called "run"'),
        (("--base", "openai:"), "has no model name"),
        (("--host", "no.such.host.invalid"), "can be reached from other machines"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(
    call: Call, monkeypatch: pytest.MonkeyPatch, tiny_run: Path, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    given = [str(tiny_run) if each == "RUN" else each for each in arguments]
    done = call("serve", "--run", tiny_run, "--base", "openai:stub", *given)
    assert (done.status, done.out) == (2, "")
    assert message in done.err
    assert done.err.count("\n") == 2  # the sentence and its hint
    assert not Path("profiles").exists()


def test_an_endpoint_is_checked_before_models_are_loaded(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    done = call("serve", "--run", "not/there", "--base", "openai:gpt-4.1-mini", "--port", "0")
    assert (done.status, "OPENAI_API_KEY is not set" in done.err) == (2, True)


def test_loading_shows_life_signs(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, say = threading.Event(), progress._say

    def noted(line: str) -> None:
        say(line)
        shown.set()

    def slow(settings: object) -> None:
        assert shown.wait(60)
        raise UserError("no such model", hint="x")

    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.02)
    monkeypatch.setattr(progress, "_say", noted)
    monkeypatch.setattr(start, "open_service", slow)
    first, *_ = call("serve").err.splitlines()
    assert first.startswith("serve: loading the models")


@pytest.mark.parametrize("error", [socket.gaierror(-2, "Name not known"), OSError(errno.EADDRNOTAVAIL, "")])
def test_a_host_that_is_not_this_machine_is_said(monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(UserError, match="cannot be listened on") as caught:
        start.listen("example.invalid", 8000)
    assert caught.value.hint.startswith("give an address of this machine")


def test_a_port_that_is_taken_is_named_before_models_are_loaded(call: Call) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = call("serve", "--run", "not/there", "--port", port)
    assert done.status == 2
    assert f"--port {port} cannot be listened on" in done.err


def test_a_host_that_needs_a_key_makes_no_store(call: Call) -> None:
    done = call("serve", "--host", "0.0.0.0", "--store", "my profiles")
    assert done.status == 2
    assert "personakit users create-key --store 'my profiles' makes one" in done.err
    assert not Path("my profiles").exists()


def test_a_run_of_labels_is_refused(call: Call, tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    config = yaml.safe_load((tiny_run / "config.yaml").read_text())
    copy = Path("labels")
    shutil.copytree(tiny_run, copy)
    config["data"]["tasks"] = ["LaMP_3"]
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    done = call("serve", "--base", "openai:stub", "--run", copy)
    assert (done.status, "trained on LaMP_3, expected a run that writes texts" in done.err) == (2, True)
