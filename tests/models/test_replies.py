"""Replies of servers that are not what was asked for: reasoning, errors in a 200, streams, broken ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from personakit.errors import RunError
from personakit.models.cache import AnswerCache, CachedModel
from personakit.models.endpoint import EndpointModel
from personakit.models.refusal import Cut, NoAnswer, Refusal, no_answer_reason
from personakit.models.retries import RetryPolicy

from .server import Reply, Server, echo, replied, said

Serve = Callable[..., Server]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Start servers; pauses between attempts are not waited for."""
    servers: list[Server] = []
    monkeypatch.setattr("personakit.models.retries.pause", lambda seconds, stop: None)

    def start(script: Callable[[int, dict[str, Any]], Reply]) -> Server:
        servers.append(Server(script))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def ask(server: Server, *prompts: str, **options: Any) -> list[str]:
    model = EndpointModel("m", base_url=server.url, retry_policy=RetryPolicy(attempts=4), **options)
    return [texts[0] for texts in model.generate(prompts or ["p"], max_new_tokens=7)]


def streamed(*events: Any) -> Reply:
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    return 200, {"Content-Type": "text/event-stream"}, "".join([*lines, "data: [DONE]\n\n"]).encode()


def delta(finish_reason: str | None = None, **message: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": message, "finish_reason": finish_reason}]}


@pytest.mark.parametrize(
    "reply",
    [
        replied("<think>\nhm\n</think>\n\nyes"),
        replied("hm\n</think>\n\nyes"),
        replied([{"type": "thinking", "thinking": []}, {"type": "text", "text": "yes"}]),
        replied("yes", reasoning_content="hm"),
        replied("yes", reasoning="hm"),
        streamed(
            delta(role="assistant"), delta(reasoning="hm"), delta(content="ye"), delta("stop", content="s")
        ),
        streamed(delta(content="<think>hm</think>"), delta(content="yes"), {"choices": [], "usage": {}}),
    ],
)
def test_only_the_answer_is_returned(serve: Serve, reply: Reply) -> None:
    server = serve(lambda number, body: reply)
    assert ask(server) == ["yes"]
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("reply", "reason", "attempts"),
    [
        (replied("<think>hm"), "its reasoning does not end", 3),
        (replied("<think>hm", "length"), "all 7 tokens were used before the answer", 2),
        (replied("<think>hm</think>"), "it reasoned and gave no answer", 3),
        (replied(None, reasoning_content="yes"), "it reasoned and gave no answer", 3),
        (replied([{"type": "thinking", "thinking": []}]), "it gave no text", 3),
        (replied(""), "it gave no text", 3),
        (replied(" \n"), "it gave no text", 3),
        (replied("", "load"), "still loading", 4),
        ((200, {}, b'{"choices": []}'), "no choices", 3),
        ((200, {}, b'{"choices": [{"message": {"role": "assistant"}}]}'), "it gave no text", 3),
        (streamed(delta(reasoning="hm"), delta("length")), "all 7 tokens", 2),
    ],
)
def test_reply_without_an_answer_is_asked_again_then_failed_and_not_cached(
    serve: Serve, tmp_path: Path, reply: Reply, reason: str, attempts: int
) -> None:
    server = serve(lambda number, body: reply)
    cache = AnswerCache(tmp_path / "answers.sqlite")
    model = EndpointModel("m", base_url=server.url, retry_policy=RetryPolicy(attempts=4))
    [[text]] = CachedModel(model, cache).generate(["p"], max_new_tokens=7)
    assert isinstance(text, NoAnswer)
    assert reason in (no_answer_reason(text) or "")
    assert (text, model.unanswered, len(cache), len(server.bodies)) == ("", 1, 0, attempts)
    server.script = echo
    assert CachedModel(model, cache).generate(["p"], max_new_tokens=7) == [["p:0"]]


def test_a_second_attempt_can_answer(serve: Serve) -> None:
    server = serve(lambda number, body: replied("", "load") if number == 1 else said("yes"))
    assert ask(server) == ["yes"]


def test_server_that_never_answers_is_given_up(serve: Serve) -> None:
    server = serve(lambda number, body: replied("<think>hm", "length"))
    with pytest.raises(RunError, match=r'no answer to 16 requests to "m" in a row: all 7 tokens'):
        ask(server, *(f"p{number}" for number in range(100)))
    assert len(server.bodies) <= 2 * (16 + 8)


def test_cut_answers_are_marked_also_from_the_cache(serve: Serve, tmp_path: Path) -> None:
    server = serve(lambda number, body: replied("<think>hm</think>so far", "length"))
    path = tmp_path / "answers.sqlite"
    for _ in range(2):
        with AnswerCache(path) as cache:
            [[text]] = CachedModel(EndpointModel("m", base_url=server.url), cache).generate(
                ["p"], max_new_tokens=7
            )
            assert (type(text), text) == (Cut, "so far")
    assert len(server.bodies) == 1


def test_refusal_in_a_part_of_the_content(serve: Serve) -> None:
    [text] = ask(serve(lambda number, body: replied([{"type": "refusal", "refusal": "no"}])))
    assert (type(text), text.reason) == (Refusal, "no")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"message": "overloaded", "code": 502}},
        {"error": {"message": "overloaded", "code": "503"}},
        {"error": {"message": "overloaded", "type": "overloaded_error"}},
        {"error": "overloaded"},
        {"choices": [{"error": {"message": "overloaded", "code": 502}, "message": {"content": ""}}]},
        [{"error": {"message": "overloaded", "code": 503}}],
    ],
)
def test_error_in_a_200_is_retried_as_the_error_it_is(serve: Serve, error: Any) -> None:
    reply = 200, {}, json.dumps(error).encode()
    server = serve(lambda number, body: reply if number == 1 else said("yes"))
    assert ask(server) == ["yes"]
    assert len(server.bodies) == 2
    server = serve(lambda number, body: reply)
    with pytest.raises(RunError, match=r"in 4 attempts \(status 5\d\d: overloaded\)"):
        ask(server)


def test_rate_limit_in_a_200_waits_and_says_why(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    limit = 200, {}, b'{"error": {"message": "slow down", "code": 429}}'
    server = serve(lambda number, body: limit if number <= 6 else said("yes"))
    assert ask(server) == ["yes"]  # more attempts than the four of other errors
    assert caplog.text.count("is busy") == 1
    assert "status 429: slow down" in caplog.text


def test_quota_of_the_day_in_a_200_is_not_waited_for(serve: Serve) -> None:
    reply = b'{"error": {"message": "Rate limit exceeded: free-models-per-day", "code": 429}}'
    server = serve(lambda number, body: (200, {}, reply))
    with pytest.raises(RunError, match="status 429: Rate limit exceeded: free-models-per-day") as caught:
        ask(server)
    assert "quota" in caught.value.hint
    assert len(server.bodies) == 1


def test_permanent_error_in_a_200_fails_at_once(serve: Serve) -> None:
    server = serve(lambda number, body: (200, {}, b'{"error": {"message": "no", "code": "invalid_api_key"}}'))
    with pytest.raises(RunError, match="status 401: no"):
        ask(server)
    assert len(server.bodies) == 1


def test_broken_compression_is_retried_and_named(serve: Serve) -> None:
    server = serve(lambda number, body: (200, {"Content-Encoding": "gzip"}, b"not gzip"))
    with pytest.raises(RunError, match=r"in 4 attempts \(the compression of its reply is broken\)"):
        ask(server)


def test_redirect_names_the_new_address(serve: Serve) -> None:
    target = "https://user:secret@example.org/v1/chat/completions?key=secret"
    server = serve(lambda number, body: (308, {"Location": target}, b""))
    with pytest.raises(RunError, match=r"it redirects to https://example\.org/v1/chat/completions") as caught:
        ask(server)
    assert caught.value.hint == "set OPENAI_BASE_URL to https://example.org/v1"
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("suffix", "path"),
    [
        ("?api-version=1", "/v1/chat/completions?api-version=1"),
        ("/?api-version=1", "/v1/chat/completions?api-version=1"),
        ("/chat/completions", "/v1/chat/completions"),
    ],
)
def test_query_of_the_address_is_kept(serve: Serve, suffix: str, path: str) -> None:
    server = serve(echo)
    model = EndpointModel("m", base_url=server.url + suffix)
    assert model.generate(["p"], max_new_tokens=7) == [["p:0"]]
    assert server.paths == [path]
    assert model.address == (server.url + suffix.partition("?")[0]).rstrip("/") or "?" not in model.address


_PART = {"message": {"content": "part of an"}, "finish_reason": "error", "error": {"code": 502}}


@pytest.mark.parametrize(
    "broken",
    [
        (200, {}, json.dumps({"choices": [_PART]}).encode()),
        (200, {}, json.dumps({"choices": [{**_PART, "error": None}]}).encode()),
        streamed(delta(content="part"), {**delta(content=" of"), "error": {"code": 502, "message": "lost"}}),
        (200, {}, f"data: {json.dumps(delta(content='part of an'))}\n\n".encode()),
    ],
    ids=["in the choice", "finish reason", "in a stream", "stream that breaks off"],
)
def test_text_before_an_error_is_no_answer(serve: Serve, broken: Reply) -> None:
    server = serve(lambda number, body: broken if number == 1 else said("whole"))
    assert ask(server) == ["whole"]
    assert len(server.bodies) == 2
