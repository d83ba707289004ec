"""`personakit eval` with an API that fails sometimes, rejects requests, or goes down."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from models.server import CUT, Reply, Server, refused, replied, said
from models.thinker import make_thinker

from .conftest import Call
from .tiny import make_data

Serve = Callable[[Callable[[int, dict[str, Any]], Reply]], Server]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Serve]:
    """Start servers for `openai:...` models, without retry delays and with a separate cache per test."""
    servers: list[Server] = []
    monkeypatch.setattr("personakit.models.retries.pause", lambda seconds, stop: None)
    monkeypatch.setenv("PERSONAKIT_CACHE", str(tmp_path / "cache"))

    def start(script: Callable[[int, dict[str, Any]], Reply]) -> Server:
        server = Server(script)
        servers.append(server)
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def asked(tmp_path: Path) -> tuple[str | Path, ...]:
    """Evaluate the API's generic answers to nine queries."""
    data = make_data(tmp_path / "data", repeats=3)
    model = f"openai:{tmp_path.name}"  # models are cached by name
    return (
        *("eval", "lamp", "--no-run", "--base", model, "--data", data, "--task", "LaMP_7", "--json"),
        *("--baseline", "generic"),
    )


def test_a_server_that_fails_one_request_in_ten_gives_complete_results(
    serve: Serve, call: Call, asked: tuple[str | Path, ...], tmp_path: Path
) -> None:
    server = serve(lambda number, body: (503, {}, b"") if number % 5 == 1 else said("off, bye"))
    done = call(*asked, "--output", tmp_path / "out")
    assert done.status == 0, done.err
    assert "partial" not in done.document
    assert {row["errors"] for row in done.document["rows"]} == {0}
    assert sum(server.answered.values()) == 9
    assert len(server.bodies) > 9  # some were repeated


def test_failing_query_is_counted_but_not_scored(
    serve: Serve, call: Call, asked: tuple[str | Path, ...], tmp_path: Path
) -> None:
    def refuses(number: int, body: dict[str, Any]) -> Reply:
        if "eve is away" in body["messages"][0]["content"]:
            return 400, {}, json.dumps({"error": {"message": "not this one"}}).encode()
        return said("off, bye")

    serve(refuses)
    done = call(*asked, "--output", tmp_path / "out")
    assert done.status == 0, done.err
    row = next(row for row in done.document["rows"] if row["metric"] == "rouge-1")
    assert (row["examples"], row["errors"]) == (9, 3)
    lines = [json.loads(line) for line in (tmp_path / "out" / "samples.jsonl").read_text().splitlines()]
    assert [line["scores"] for line in lines if line["error"]] == [None] * 3
    assert all("not this one" in line["error"] for line in lines if line["error"])


def test_resume_repeats_failed_requests_with_identical_results(
    serve: Serve, call: Call, asked: tuple[str | Path, ...]
) -> None:
    def refuses(number: int, body: dict[str, Any]) -> Reply:
        prompt = body["messages"][0]["content"]
        if "eve is away" in prompt:
            return 400, {}, json.dumps({"error": {"message": "not now"}}).encode()
        return said("bye" if "fay is away" in prompt else "off, bye")

    server = serve(refuses)
    done = call(*asked)
    assert done.status == 0, done.err
    assert "3 requests failed and have no answer" in done.err
    (folder,) = Path("runs").iterdir()
    assert f"--output {folder} --resume" in done.err
    before = sum(server.answered.values())

    server.script = lambda number, body: said(
        "bye" if "fay is away" in body["messages"][0]["content"] else "off, bye"
    )
    resumed = call(*asked, "--resume")  # finds the folder
    assert resumed.status == 0, resumed.err
    assert "have no answer" not in resumed.err
    assert {row["errors"] for row in resumed.document["rows"]} == {0}
    assert sum(server.answered.values()) == before + 3
    assert max(server.answered.values()) == 1, "no request is sent twice"
    lines = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    assert len({line["query_id"] for line in lines}) == len(lines) == 9

    alone = call(*asked, "--output", "alone")
    assert alone.status == 0, alone.err
    for name in ("results.json", "users.csv", "predictions/generic/LaMP_7.json"):
        assert (folder / name).read_bytes() == Path("alone", name).read_bytes()
    assert call(*asked, "--resume").status == 2  # nothing is left to resume


def refusing(prompt: str) -> Reply:
    """Refuses prompts about Eve in the different ways of servers."""
    if "eve is away" not in prompt:
        return said("off, bye")
    if "eve is away 4" in prompt:
        return 400, {}, json.dumps({"error": {"code": "content_filter", "message": "no"}}).encode()
    message = {"content": None, "refusal": "I cannot say that."} if "eve is away 7" in prompt else {}
    finish = "stop" if message else "content_filter"
    return 200, {}, json.dumps({"choices": [{"message": message, "finish_reason": finish}]}).encode()


def test_refusal_is_scored_as_empty_answer_and_not_repeated(
    serve: Serve, call: Call, asked: tuple[str | Path, ...]
) -> None:
    server = serve(lambda number, body: refusing(body["messages"][0]["content"]))
    done = call(*asked, "--output", "out")
    assert done.status == 0, done.err
    assert "partial" not in done.document
    rows = {row["metric"]: row for row in done.document["rows"] if row["task"] == "LaMP_7"}
    assert (rows["rouge-1"]["refused"], rows["rouge-1"]["errors"]) == (3, 0)
    lines = [json.loads(line) for line in Path("out/samples.jsonl").read_text().splitlines()]
    refused = {line["refused"] for line in lines if line["refused"]}
    assert refused == {"I cannot say that.", "finish_reason content_filter", "status 400, content_filter"}
    assert [line["scores"]["rouge-1"] for line in lines if line["refused"]] == [0.0] * 3
    answered = [line["scores"]["rouge-1"] for line in lines if not line["refused"]]
    assert rows["rouge-1"]["value"] == pytest.approx(sum(answered) / 9, abs=1e-5)
    assert "generic: 3 of 9 samples refused by the model" in Path("out/report.html").read_text()

    times = len(server.bodies)
    again = call(*asked, "--output", "out", "--resume")
    assert again.status == 0, again.err
    assert len(server.bodies) == times
    assert call(*asked, "--resume").status == 2  # a refusal is an answer, so there is nothing to resume


def test_rewrites_of_refused_drafts_are_counted(
    serve: Serve, call: Call, asked: tuple[str | Path, ...], tiny_run: Path
) -> None:
    serve(lambda number, body: refusing(body["messages"][0]["content"]))
    rest = [word for word in asked if word not in ("--no-run", "generic", "--baseline")]
    done = call(*rest, "--run", tiny_run, "--baseline", "generic", "--sample-id", "7d1", "--sample-id", "7d0")
    assert done.status == 0, done.err
    refused = {row["method"]: row["refused"] for row in done.document["rows"] if row["metric"] == "rouge-1"}
    name = str(asked[4])
    assert [count for method, count in refused.items() if name in method] == [1, 1]


def test_outage_leaves_partial_results_that_resume_completes(
    serve: Serve, call: Call, asked: tuple[str | Path, ...], tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    count = itertools.count(1)
    dying = serve(lambda number, body: said("off, bye") if next(count) <= 5 else CUT)
    done = call(*asked, "--concurrency", "1", "--output", folder)
    assert done.status == 1
    assert "--resume" in done.err
    results = json.loads((folder / "results.json").read_text())
    assert results["partial"]["answers"] == 5
    assert results["partial"]["of"] == 9
    assert {row["examples"] for row in results["rows"]} == {5}
    assert "PARTIAL: 5 of 9 answers" in (folder / "report.html").read_text()
    assert dying.most_at_once == 1

    dying.script = lambda number, body: said("off, bye")
    resumed = call(*asked, "--concurrency", "1", "--output", folder, "--resume")
    assert resumed.status == 0, resumed.err
    assert "partial" not in resumed.document
    assert max(dying.answered.values()) == 1

    alone = call(*asked, "--concurrency", "1", "--output", tmp_path / "alone")
    assert alone.status == 0, alone.err
    assert (folder / "results.json").read_bytes() == (tmp_path / "alone" / "results.json").read_bytes()


def test_server_that_rejects_everything_stops_early(
    serve: Serve, call: Call, asked: tuple[str | Path, ...], tmp_path: Path
) -> None:
    serve(lambda number, body: (401, {}, json.dumps({"error": {"message": "no such key"}}).encode()))
    done = call(*asked, "--output", tmp_path / "out")
    assert done.status == 1
    assert "no such key" in done.err
    assert not (tmp_path / "out" / "results.json").exists()


def test_cost_estimate_is_printed_before_the_first_request(
    serve: Serve, call: Call, asked: tuple[str | Path, ...], tmp_path: Path
) -> None:
    server = serve(lambda number, body: said("off, bye"))
    planned = call(*asked, "--dry-run")
    assert not server.bodies
    assert planned.document["requests"][0]["requests"] == 9
    done = call(*asked, "--output", tmp_path / "out")
    assert "9" in done.err.split("answers:")[0]
    assert "openai:" in done.err.split("answers:")[0]


def lines_of(folder: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(folder, "samples.jsonl").read_text().splitlines()]


def about_eve(reply: Reply) -> Callable[[int, dict[str, Any]], Reply]:
    """Return a server that sends `reply` for prompts about Eve, else an answer after reasoning."""

    def script(number: int, body: dict[str, Any]) -> Reply:
        if "eve is away" in body["messages"][0]["content"]:
            return reply
        return replied("<think>\nA farewell?\n</think>\n\noff, bye")

    return script


@pytest.mark.parametrize(
    "reply",
    [
        replied("<think>\nA farewell?\n</think>\n\noff, bye"),
        replied("A farewell?\n</think>\n\noff, bye"),
        replied([{"type": "thinking", "thinking": []}, {"type": "text", "text": "off, bye"}]),
        replied("off, bye", reasoning_content="A farewell?"),
    ],
)
def test_reasoning_is_not_part_of_an_answer(
    serve: Serve, call: Call, asked: tuple[str | Path, ...], reply: Reply
) -> None:
    serve(about_eve(reply))
    done = call(*asked, "--output", "out")
    assert done.status == 0, done.err
    assert {line["prediction"] for line in lines_of("out")} == {"off, bye"}
    [row] = {(row["errors"], row["refused"], row["cut"]) for row in done.document["rows"]}
    assert row == (0, 0, 0)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (replied("<think>\nA farewell?"), "its reasoning does not end"),
        (replied("<think>\nA farewell?", "length"), "raise the limit: --max-new-tokens"),
        (replied("", reasoning_content="off, bye"), "it reasoned and gave no answer"),
        (replied(""), "it gave no text"),
        (replied("", "load"), "the server is still loading the model"),
        ((200, {}, b'{"choices": []}'), "the reply has no choices"),
    ],
)
def test_reply_without_an_answer_is_retried_counted_and_asked_again_on_resume(
    serve: Serve, call: Call, asked: tuple[str | Path, ...], reply: Reply, reason: str
) -> None:
    server = serve(about_eve(reply))
    done = call(*asked, "--output", "out")
    assert done.status == 0, done.err
    assert "3 requests failed and have no answer" in done.err
    failed = [line for line in lines_of("out") if line["error"]]
    assert [line["scores"] for line in failed] == [None] * 3
    assert {(line["prediction"], line["refused"]) for line in failed} == {("", None)}
    assert all(reason in line["error"] for line in failed)
    assert len(server.bodies) >= 6 + 2 * 3
    row = next(row for row in done.document["rows"] if row["metric"] == "rouge-1")
    assert (row["errors"], row["refused"]) == (3, 0)
    assert "3 of 9 samples without an answer, not scored" in Path("out/report.html").read_text()

    before = len(server.bodies)
    server.script = lambda number, body: said("off, bye")
    resumed = call(*asked, "--output", "out", "--resume")
    assert resumed.status == 0, resumed.err
    assert len(server.bodies) == before + 3
    assert not any(line["error"] for line in lines_of("out"))


def test_no_answer_at_all_ends_with_the_reason(
    serve: Serve, call: Call, asked: tuple[str | Path, ...]
) -> None:
    serve(lambda number, body: replied("<think>\nA farewell?", "length"))
    done = call(*asked, "--output", "out")
    assert done.status == 1
    assert "none of 9 requests has an answer" in done.err
    assert "raise the limit: --max-new-tokens" in done.err
    assert "--resume" in done.err
    asked_for = call(*asked, "--output", "more", "--max-new-tokens", "999")
    assert "all 999 tokens" in asked_for.err


def test_cut_answers_are_marked_and_counted_also_from_the_cache(
    serve: Serve, call: Call, asked: tuple[str | Path, ...]
) -> None:
    server = serve(about_eve(replied("off, by", "length")))
    for folder in ("out", "again"):
        done = call(*asked, "--output", folder)
        assert done.status == 0, done.err
        assert [line["cut"] for line in lines_of(folder)].count(True) == 3
        assert {row["cut"] for row in done.document["rows"]} == {3}
        assert "3 of 9 samples cut by the token limit" in Path(folder, "report.html").read_text()
    assert len(server.bodies) == 9


def test_error_in_a_200_is_handled_as_the_error_it_is(
    serve: Serve, call: Call, asked: tuple[str | Path, ...]
) -> None:
    busy = 200, {}, json.dumps({"error": {"message": "Provider returned error", "code": 502}}).encode()
    server = serve(lambda number, body: busy if number % 3 == 1 else said("off, bye"))
    done = call(*asked, "--output", "out")
    assert done.status == 0, done.err
    assert {row["errors"] for row in done.document["rows"]} == {0}
    server.script = lambda number, body: busy
    gone = call(*asked, "--output", "gone", "--max-new-tokens", "9")
    assert gone.status == 1
    assert "status 502: Provider returned error" in gone.err


def test_refused_options_and_quoted_prompts(
    serve: Serve,
    call: Call,
    asked: tuple[str | Path, ...],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    questions = tmp_path / "data" / "LaMP_7" / "dev_questions.json"
    questions.write_text(questions.read_text().replace("eve is away", "the temperature of eve"))

    def script(number: int, body: dict[str, Any]) -> Reply:
        prompt = body["messages"][0]["content"]
        if "reasoning_effort" in body:
            return refused(400, "Unsupported parameter: 'reasoning_effort'", param="reasoning_effort")
        if "temperature" in prompt:
            return 422, {}, json.dumps({"detail": f"invalid: {prompt}"}).encode()
        return said("off, bye")

    server = serve(script)
    done = call(*asked, "--output", "out")
    assert done.status == 0, done.err
    assert caplog.text.count("rejects the option") == 1
    assert sum("reasoning_effort" in body for body in server.bodies) == 1
    assert all(body["temperature"] == 0 for body in server.bodies)
    assert sum(line["error"] is not None for line in lines_of("out")) == 3


def test_local_model_that_reasons(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSONAKIT_CACHE", str(tmp_path / "cache"))
    data = make_data(tmp_path / "data")
    model = make_thinker(tmp_path / "thinker")
    asked = ("eval", "lamp", "--no-run", "--base", model, "--data", data, "--task", "LaMP_3", "--json")
    for folder in ("out", "again"):
        done = call(*asked, "--baseline", "generic", "--output", folder)
        assert done.status == 0, done.err
        assert {(line["prediction"], line["cut"]) for line in lines_of(folder)} == {("5", False)}
    short = call(*asked, "--baseline", "generic", "--output", "short", "--max-new-tokens", "3")
    assert short.status == 1
    assert "all 3 tokens were used before the answer" in short.err
    assert {line["scores"] for line in lines_of("short")} == {None}
    cut = call(*asked, "--baseline", "generic", "--output", "cut", "--max-new-tokens", "6")
    assert {row["cut"] for row in cut.document["rows"]} == {3}
