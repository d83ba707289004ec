"""Terminals, pipes and texts that are not UTF-8, and closed standard streams, from a process of its own."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from personakit.cli import main

from .conftest import Call

POEM = "鷺を見た 🐦 naïve"
#: Runs the command with an environment's variables set, and with descriptors closed before Python starts.
_CLOSED = (
    "import os, sys; [os.close(int(d)) for d in sys.argv[1].split(',') if d]; os.execv(sys.executable, "
    "[sys.executable, '-m', 'personakit', *map(os.fsencode, sys.argv[2:])])"
)


@pytest.fixture
def poems(tmp_path: Path) -> Path:
    path = tmp_path / "poems.jsonl"
    path.write_text(json.dumps({"text": POEM}) + "\n")
    return path


def in_a_process(
    *arguments: str | Path, closed: str = "", **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Run the command line with an environment; `closed` lists descriptors to close."""
    return subprocess.run(
        [sys.executable, "-c", _CLOSED, closed, *arguments],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
        check=False,
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_output_has_replacement_characters_and_json_escapes(
    encoding: str, tiny_run: Path, poems: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def printed(*arguments: str) -> str:
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
        asked = ["infer", POEM, "--run", str(tiny_run), "--profile", str(poems), *arguments]
        assert main(asked) == 0
        return written.getvalue().decode(encoding)

    assert POEM.encode(encoding, "replace").decode(encoding) in printed("--trace")
    document = json.loads(printed("--json"))
    assert document["query"].endswith(POEM)
    assert document["context"]["items"][0]["text"] == POEM


def test_arguments_are_read_as_utf8_in_every_locale(tmp_path: Path) -> None:
    done = in_a_process(
        "infer",
        POEM,
        "--task",
        "鷺",
        "--run",
        tmp_path,
        PYTHONCOERCECLOCALE="0",
        PYTHONUTF8="0",
        LC_ALL="POSIX",
    )
    assert done.returncode == 2
    assert b"error: " in done.stderr
    assert b"not a run" in done.stderr  # and not a complaint about the encoding


@pytest.mark.parametrize("closed", ["1", "2", "0,1,2"])
def test_closed_output_is_the_null_device(closed: str) -> None:
    done = in_a_process("config", "list", closed=closed)
    assert done.returncode == 0
    assert bool(done.stdout.strip()) == ("1" not in closed)
    assert done.stderr.decode() == ("stdout is closed: the result is not printed\n" if closed == "1" else "")


def test_a_deleted_working_directory_is_an_error(
    call: Call, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    done = call("infer", "hi", "--run", tiny_run)
    assert done.status == 2
    assert "error: the working directory no longer exists" in done.err


@pytest.mark.parametrize("asked", [("infer", "-"), ("infer", "--batch", "-")], ids=["query", "batch"])
def test_closed_stdin_is_an_error_of_one_sentence(
    asked: tuple[str, ...],
    tiny_run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert main([*asked, "--run", str(tiny_run)]) == 2
    assert "error: stdin is closed, expected " in capsys.readouterr().err


def test_bytes_on_stdin_that_are_not_utf8_are_located(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one\ncaf\xe9 today")))
    assert main(["infer", "-", "--run", str(tiny_run)]) == 2
    assert "error: stdin, line 2, byte 4: 0xe9 is not UTF-8" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("infer", "caf\udce9"), "QUERY"),
        (("infer", "hi", "--user", "caf\udce9"), "--user"),
        (("train", "rpo", "data.path=caf\udce9"), "KEY=VALUE"),
        (("eval", "lamp", "--base", "caf\udce9"), "--base"),
    ],
    ids=["argument", "option", "setting", "evaluation"],
)
def test_bytes_in_an_argument_that_are_not_utf8_are_located(
    arguments: tuple[str, ...], name: str, call: Call
) -> None:
    done = call(*arguments)
    assert done.status == 2
    assert f"error: {name} '" in done.err
    assert "caf\\\\xe9': byte " in done.err
    assert "is not UTF-8" in done.err


def test_a_file_name_may_have_any_bytes(call: Call, tiny_run: Path, poems: Path) -> None:
    other = poems.with_name("caf\udce9.jsonl")
    poems.rename(other)
    done = call("infer", "hi", "--run", tiny_run, "--profile", other)
    assert done.status == 0, done.err


def test_a_batch_continues_where_the_text_of_a_line_is_damaged(
    call: Call, tiny_run: Path, tmp_path: Path
) -> None:
    lines = [
        b'{"id": "a", "query": "hi"}',
        b'{"id": "b", "query": "caf\xe9"}',
        b'{"id": "c", "query": "half a bird \\ud83d"}',
        b'{"id": "d", "query": "hi", "profile": [{"text": "\\udc26"}]}',
        b'{"id": "e", "query": "hi"}',
    ]
    (tmp_path / "b.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\n".join(lines))
    done = call("infer", "--batch", "b.jsonl", "--run", tiny_run, "--output", "o", "--json")
    assert done.status == 0, done.err
    assert (done.document["queries"], done.document["errors"]) == (5, 3)
    answers = [json.loads(line) for line in (tmp_path / "o").read_text().splitlines()]
    assert [answer["id"] for answer in answers] == ["a", "b", "c", "d", "e"]
    assert [answer["error"] for answer in answers] == [
        None,
        "b.jsonl, line 2, byte 26: 0xe9 is not UTF-8, expected text",
        'b.jsonl, line 3: "query" has half of a surrogate pair, expected text',
        'b.jsonl, line 4: "profile" has half of a surrogate pair, expected text',
        None,
    ]
    assert answers[0]["answer"] == answers[4]["answer"]
    for answer in answers[1:4]:
        assert answer["error"] in done.err


def test_a_batch_without_a_readable_line_is_an_error(call: Call, tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_bytes(b'{"query": "caf\xe9"}\n')
    done = call("infer", "--batch", "b.jsonl", "--run", tiny_run, "--output", "o")
    assert done.status == 2
    assert "b.jsonl, line 1, byte 15" in done.err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_batch_may_be_a_json_list_in_any_unicode(
    call: Call, tiny_run: Path, tmp_path: Path, encoding: str
) -> None:
    queries = [{"id": "a", "query": "hi"}, {"query": "größe"}]
    (tmp_path / "b.jsonl").write_text(json.dumps(queries, ensure_ascii=False), encoding=encoding)
    done = call("infer", "--batch", "b.jsonl", "--run", tiny_run, "--output", "o")
    assert done.status == 0, done.err
    answers = [json.loads(line) for line in (tmp_path / "o").read_text().splitlines()]
    assert [answer["id"] for answer in answers] == ["a", "2"]
    (tmp_path / "bad.jsonl").write_text('[{"query": "hi"}, {"query": 3}]')
    done = call("infer", "--batch", "bad.jsonl", "--run", tiny_run, "--output", "p")
    assert done.status == 2
    assert "bad.jsonl, item 2" in done.err
