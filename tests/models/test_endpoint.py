from __future__ import annotations

import email.utils
import json
import pickle
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from personakit.errors import RunError, UserError
from personakit.models.cache import AnswerCache, CachedModel
from personakit.models.conversation import Conversation
from personakit.models.endpoint import EndpointModel
from personakit.models.open import open_language_model
from personakit.models.refusal import no_answer_reason, refusal_reason
from personakit.models.retries import RetryPolicy, retry_after
from personakit.models.stand_ins import StandIn

from .server import CUT, Reply, Server, echo, said


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses between attempts, which are not waited for."""
    waits: list[float] = []
    monkeypatch.setattr("personakit.models.retries.pause", lambda seconds, stop: waits.append(seconds))
    return waits


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(script: Callable[[int, dict[str, Any]], Reply]) -> Server:
        servers.append(Server(script))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def test_a_conversation_is_sent_as_its_messages(serve: Callable[..., Server]) -> None:
    server = serve(echo)
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    EndpointModel("m", base_url=server.url).generate([Conversation(messages)], max_new_tokens=7)
    assert server.bodies[0]["messages"] == messages


def test_answers_come_in_input_order_with_bounded_concurrency(serve: Callable[..., Server]) -> None:
    server = serve(echo)
    model = EndpointModel("m", base_url=server.url, key="sk-secret", concurrency=3)
    prompts = [f"p{n}" for n in range(12)]
    answers = model.generate(prompts, samples=2, max_new_tokens=7, temperature=0.5, seed=10)
    assert answers == [[f"{prompt}:10", f"{prompt}:11"] for prompt in prompts]
    assert server.most_at_once <= 3
    assert set(server.paths) == {"/v1/chat/completions"}
    assert set(server.keys) == {"Bearer sk-secret"}
    assert server.bodies[0]["model"] == "m"
    assert server.bodies[0]["max_tokens"] == 7
    assert server.bodies[0]["temperature"] == 0.5


def test_greedy_samples_take_one_request(serve: Callable[..., Server]) -> None:
    server = serve(echo)
    assert EndpointModel("m", base_url=server.url).generate(["p"], samples=3, max_new_tokens=7) == [
        ["p:0"] * 3
    ]
    assert len(server.bodies) == 1


def test_retry_after_of_a_429_response_is_honoured(serve: Callable[..., Server], waits: list[float]) -> None:
    def twice_busy(number: int, body: dict[str, Any]) -> Reply:
        return (429, {"Retry-After": str(number)}, b"{}") if number <= 2 else echo(number, body)

    server = serve(twice_busy)
    assert EndpointModel("m", base_url=server.url).generate(["p"], max_new_tokens=7) == [["p:0"]]
    assert all(asked <= wait <= 1.5 * asked for wait, asked in zip(waits, (1, 2), strict=True))


@pytest.mark.parametrize("value", ["0", "-3", "Thu, 01 Jan 2015 00:00:00 GMT"])
def test_a_retry_after_of_zero_is_ignored(
    serve: Callable[..., Server], waits: list[float], value: str
) -> None:
    server = serve(
        lambda number, body: (429, {"Retry-After": value}, b"{}") if number <= 3 else echo(number, body)
    )
    assert EndpointModel("m", base_url=server.url).generate(["p"], max_new_tokens=7) == [["p:0"]]
    assert all(low <= wait <= 1.5 * low for wait, low in zip(waits, (1, 2, 4), strict=True))


def test_a_server_that_dies_gives_one_sentence(serve: Callable[..., Server], waits: list[float]) -> None:
    server = serve(echo)
    model = EndpointModel(
        "m", base_url=server.url, key="sk-secret", retry_policy=RetryPolicy(attempts=4, first_delay=0.5)
    )
    assert model.generate(["p"], max_new_tokens=7) == [["p:0"]]
    server.stop()
    with pytest.raises(
        RunError, match=r'gave no answer for "m" in 4 attempts \(it cannot be reached\)'
    ) as caught:
        model.generate(["p"], max_new_tokens=7)
    assert "sk-secret" not in str(caught.value) + caught.value.hint
    assert "with --resume if it has an output folder" in caught.value.hint
    assert len(waits) == 3
    assert all(low <= wait <= 1.5 * low for wait, low in zip(waits, (0.5, 1.0, 2.0), strict=True))


@pytest.mark.parametrize(
    ("reply", "message", "hint"),
    [
        ((401, {}, b'{"error": {"message": "wrong key"}}'), "status 401: wrong key", "OPENAI_API_KEY"),
        ((404, {}, b"no such model"), "status 404: no such model", "model name"),
        ((200, {}, b"<html>"), "not JSON", "/v1"),
        ((200, {}, b'{"object": "list"}'), "no choices", "chat API"),
    ],
)
def test_refusals_are_not_retried(
    serve: Callable[..., Server], reply: Reply, message: str, hint: str
) -> None:
    server = serve(lambda number, body: reply)
    with pytest.raises(RunError, match=message) as caught:
        EndpointModel("m", base_url=server.url).generate(["p"], max_new_tokens=7)
    assert hint in caught.value.hint
    assert len(server.bodies) == 1


def test_an_endpoint_cannot_score() -> None:
    with pytest.raises(UserError, match="cannot score texts"):
        EndpointModel("m").score(["p"], ["c"])
    assert EndpointModel("m").count_tokens("twelve chars") == 3


def test_the_address_comes_from_the_environment(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(echo)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    model = open_language_model("openai:org/m")
    assert model.generate(["p"], max_new_tokens=2) == [["p:0"]]
    assert server.keys == [None]
    assert server.bodies[0]["model"] == "org/m"
    monkeypatch.delenv("OPENAI_BASE_URL")
    with pytest.raises(UserError, match="OPENAI_API_KEY is not set"):
        open_language_model("openai:m")
    monkeypatch.setenv("OPENAI_BASE_URL", "localhost:8000")
    with pytest.raises(UserError, match='"localhost:8000" is not a web address'):
        open_language_model("openai:m")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://me:hunter2/x@host/v1", "host/v1"),
        ("http://me:123/hunter2@host/v1", "host/v1"),  # "me" would be a host, 123 its port
        ("http://me:hunter2#x@host/v1", "host/v1"),
        ("http://me:hun@ter2@host/v1", "host/v1"),
        ("me:hunter2@host/v1", "host/v1"),
        ("ftp://me:hunter2@host/v1?key=hunter2", "host/v1"),
        ("http://localhost:abc/v1", "http://localhost:abc/v1"),
        ("http://localhost:99999/v1", "http://localhost:99999/v1"),
        ("http://[::1/v1", "http://[::1/v1"),
        ("http://1.2.3.999/v1", "http://1.2.3.999/v1"),
        ("http://a..b/v1", "http://a..b/v1"),
        ("http://", "http://"),
        ("http://:80/v1", "http://:80/v1"),
        ("http://h\n/v1", "http://h\n/v1"),
    ],
)
def test_an_invalid_address_fails_at_once_without_showing_the_password(url: str, shown: str) -> None:
    with pytest.raises(UserError) as caught:
        EndpointModel("m", base_url=url)
    assert caught.value.message.startswith(f'endpoint address "{shown}" is not a web address, expected')
    assert "OPENAI_BASE_URL" in caught.value.hint
    assert "hunter2" not in caught.value.message + caught.value.hint
    assert caught.value.__suppress_context__  # the cause quotes what it could not read


def test_the_address_is_shown_without_secrets() -> None:
    assert (
        EndpointModel("m", base_url="https://me:hunter2@host:80/v1?key=k#f").address == "https://host:80/v1"
    )
    assert EndpointModel("m", base_url="http://[::1]:80/v1/").address == "http://[::1]:80/v1"


@pytest.mark.parametrize("key", ["sk-\N{CYRILLIC SMALL LETTER ES}", "sk-a\nb", "sk-a ", "sk-\x7f"])
def test_an_invalid_key_is_refused_without_showing_it(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(
        UserError, match=r"^OPENAI_API_KEY contains characters that are not allowed in a header$"
    ) as caught:
        open_language_model("openai:m")
    assert "sk-" not in caught.value.hint


def test_the_fingerprint_depends_on_address_and_model() -> None:
    models = [
        EndpointModel("a", base_url="http://x/v1"),
        EndpointModel("b", base_url="http://x/v1"),
        EndpointModel("a", base_url="http://y/v1"),
    ]
    assert len({model.fingerprint for model in models}) == 3


def test_a_busy_server_gets_more_attempts_than_a_dead_one(serve: Callable[..., Server]) -> None:
    retry_policy = RetryPolicy(attempts=2, busy_attempts=9)
    server = serve(lambda number, body: (429, {}, b"{}") if number <= 8 else echo(number, body))
    assert EndpointModel("m", base_url=server.url, retry_policy=retry_policy).generate(
        ["p"], max_new_tokens=7
    )
    server = serve(lambda number, body: (429, {}, b"{}"))
    with pytest.raises(RunError, match=r"in 9 attempts \(status 429\)"):
        EndpointModel("m", base_url=server.url, retry_policy=retry_policy).generate(["p"], max_new_tokens=7)


def test_an_exhausted_quota_is_not_retried(serve: Callable[..., Server]) -> None:
    reply = b'{"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}'
    server = serve(lambda number, body: (429, {}, reply))
    with pytest.raises(RunError, match="exceeded your quota") as caught:
        EndpointModel("m", base_url=server.url).generate(["p"], max_new_tokens=7)
    assert "quota" in caught.value.hint
    assert len(server.bodies) == 1


def test_a_timeout_is_reported(serve: Callable[..., Server]) -> None:
    released = threading.Event()

    def late(number: int, body: dict[str, Any]) -> Reply:
        released.wait(5)
        return CUT

    server = serve(late)
    model = EndpointModel("m", base_url=server.url, retry_policy=RetryPolicy(timeout=0.2, attempts=1))
    with pytest.raises(RunError, match=r"no response within 0\.2 seconds"):
        model.generate(["p"], max_new_tokens=7)
    released.set()


def test_retry_after_is_parsed_in_both_forms() -> None:
    assert retry_after("3") == 3.0
    assert retry_after("-1") == 0.0
    assert retry_after("soon") is retry_after(None) is None
    assert 900 < (retry_after(email.utils.formatdate(time.time() + 1000, usegmt=True)) or 0) <= 1000
    assert retry_after(email.utils.formatdate(time.time() - 10)) == 0.0


def test_max_completion_tokens_replaces_a_rejected_max_tokens(serve: Callable[..., Server]) -> None:
    def reasoning(number: int, body: dict[str, Any]) -> Reply:
        if "max_tokens" in body:
            return 400, {}, b'{"error": {"message": "Use \'max_completion_tokens\' instead."}}'
        return said(str(body["max_completion_tokens"]))

    server = serve(reasoning)
    model = EndpointModel("m", base_url=server.url, concurrency=1)
    assert model.generate(["p", "q"], max_new_tokens=7) == [["7"], ["7"]]
    assert len(server.bodies) == 3


@pytest.mark.parametrize("status", [400, 422])
def test_rejected_options_are_omitted_from_then_on(
    serve: Callable[..., Server], caplog: pytest.LogCaptureFixture, status: int
) -> None:
    def choosy(number: int, body: dict[str, Any]) -> Reply:
        for option in ("max_tokens", "temperature", "seed"):
            if option in body:
                words = "use max_completion_tokens" if option == "max_tokens" else f"no '{option}' here"
                return status, {}, json.dumps({"error": {"message": words}}).encode()
        return said("yes")

    server = serve(choosy)
    model = EndpointModel("m", base_url=server.url, concurrency=1)
    assert model.generate(["p", "q"], max_new_tokens=7) == [["yes"], ["yes"]]
    assert len(server.bodies) == 5  # three options are learnt, once
    reasoning = {"chat_template_kwargs", "reasoning_effort"}
    assert server.bodies[-1].keys() == {"model", "messages", "max_completion_tokens", *reasoning}
    told = [record.getMessage() for record in caplog.records]
    assert [word for line in told for word in ("temperature", "seed") if f'"{word}"' in line] == [
        "temperature",
        "seed",
    ]


def test_a_bad_request_without_an_option_name_is_an_error(serve: Callable[..., Server]) -> None:
    server = serve(lambda number, body: (400, {}, b'{"error": {"message": "the prompt is too long"}}'))
    with pytest.raises(RunError, match="status 400: the prompt is too long"):
        EndpointModel("m", base_url=server.url).generate(["p"], max_new_tokens=7)
    assert len(server.bodies) == 2  # once more without the options about reasoning


def unsaid(content: str | None, finish_reason: str) -> Reply:
    choice = {"message": {"content": content}, "finish_reason": finish_reason}
    return 200, {}, json.dumps({"choices": [choice]}).encode()


def test_an_unpaired_surrogate_does_not_lose_the_answer(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve(lambda number, body: unsaid("so \ud83d long", "stop"))
    cache = AnswerCache(tmp_path / "answers.sqlite")
    model = CachedModel(EndpointModel("m", base_url=server.url), cache)
    assert model.generate(["p"], max_new_tokens=7) == [["so ? long"]]
    assert len(cache) == 1


@pytest.mark.parametrize("content", [None, ""])
def test_reasoning_without_an_answer_is_an_error_and_not_cached(
    serve: Callable[..., Server], tmp_path: Path, content: str | None
) -> None:
    server = serve(lambda number, body: unsaid(content, "length"))
    cache = AnswerCache(tmp_path / "answers.sqlite")
    model = CachedModel(EndpointModel("m", base_url=server.url), cache)
    [[text]] = model.generate(["p"], max_new_tokens=7)
    assert re.match(r"all 7 tokens were .*decoding\.max_new_tokens", no_answer_reason(text) or "")
    assert (len(server.bodies), len(cache)) == (2, 0)


def test_a_refusal_is_an_empty_answer_with_a_warning_and_not_cached(
    serve: Callable[..., Server], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def refusing(number: int, body: dict[str, Any]) -> Reply:
        if body["messages"][0]["content"] == "bad":
            return choice(content=None, refusal="not that")
        return echo(number, body)

    server = serve(refusing)
    cache = AnswerCache(tmp_path / "answers.sqlite")
    model = EndpointModel("m", base_url=server.url)
    prompts = ["a", "bad", "b"]
    assert CachedModel(model, cache).generate(prompts, max_new_tokens=7) == [["a:0"], [""], ["b:0"]]
    assert (model.unanswered, len(cache)) == (1, 2)
    assert 'refused 1 of 2 requests to "m" (not that)' in caplog.text
    server.script = echo
    assert CachedModel(model, cache).generate(prompts, max_new_tokens=7)[1] == ["bad:0"]
    assert len(server.bodies) == 4


def choice(finish_reason: str = "stop", **message: Any) -> Reply:
    found = {"message": {"role": "assistant", **message}, "finish_reason": finish_reason}
    return 200, {}, json.dumps({"choices": [found]}).encode()


@pytest.mark.parametrize(
    ("reply", "text", "reason"),
    [
        (choice(content=None, refusal="I'm sorry,\nbut no."), "", "I'm sorry, but no."),
        (choice("content_filter", content=""), "", "finish_reason content_filter"),
        (choice("content_filter"), "", "finish_reason content_filter"),
        (choice("content_filter", content="It is"), "It is", "finish_reason content_filter"),
        (
            (400, {}, b'{"error": {"code": "content_filter", "message": "filtered by policy"}}'),
            "",
            "status 400, content_filter",
        ),
    ],
)
def test_every_kind_of_refusal_is_marked_not_retried_and_not_cached(
    serve: Callable[..., Server], tmp_path: Path, reply: Reply, text: str, reason: str
) -> None:
    server = serve(lambda number, body: reply)
    cache = AnswerCache(tmp_path / "answers.sqlite")
    [[said]] = CachedModel(EndpointModel("m", base_url=server.url), cache).generate(["p"], max_new_tokens=7)
    assert (said, refusal_reason(said)) == (text, reason)
    assert (len(cache), len(server.bodies)) == (0, 1)
    assert refusal_reason(pickle.loads(pickle.dumps(said))) == reason  # it may come from another process
    assert refusal_reason("an answer") is None


def test_a_stand_in_keeps_refusals(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve(lambda number, body: choice(content=None, refusal="no"))
    cache = AnswerCache(tmp_path / "answers.sqlite")
    model = CachedModel(StandIn(EndpointModel("m", base_url=server.url), "wordy"), cache)
    [[said]] = model.generate(["p"], max_new_tokens=7)
    assert (refusal_reason(said), len(cache)) == ("no", 0)


def test_neither_key_nor_password_is_shown(serve: Callable[..., Server]) -> None:
    server = serve(lambda number, body: (401, {}, b'{"error": {"message": "no such key: sk-secret"}}'))
    url = server.url.replace("http://", "http://ada:hunter2@")
    with pytest.raises(RunError) as caught:
        EndpointModel("m", base_url=url, key="sk-secret").generate(["p"], max_new_tokens=7)
    assert "no such key: [key]" in caught.value.message
    assert "hunter2" not in caught.value.message
    assert server.url in caught.value.message


def test_answers_survive_busy_interrupted_and_dead_servers(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("personakit.models.retries.pause", lambda seconds, stop: waits.append(seconds))

    def failing(number: int, body: dict[str, Any]) -> Reply:
        if number <= 5:
            return 429, {"Retry-After": "50"}, b"{}"
        return CUT if number == 10 or number > 40 else echo(number, body)

    server = serve(failing)
    prompts = [f"p{n}" for n in range(60)]
    cache = AnswerCache(tmp_path / "answers.sqlite")
    model = EndpointModel("m", base_url=server.url, concurrency=4)
    with pytest.raises(RunError, match=r"in \d+ attempts \(the connection was lost\)"):
        CachedModel(model, cache).generate(prompts, max_new_tokens=7)
    assert sum(wait >= 50 for wait in waits) == 5  # as the server asked
    assert len(cache) == sum(server.answered.values()) == 34  # 40 less five refusals and a cut
    asked = len(server.bodies)
    server.script = echo
    assert CachedModel(model, cache).generate(prompts, max_new_tokens=7) == [
        [f"{each}:0"] for each in prompts
    ]
    assert set(server.answered.values()) == {1}
    assert len(server.bodies) == asked + 60 - 34
    assert server.most_at_once <= 4


def test_concurrent_answers_are_kept_when_another_request_fails(serve: Callable[..., Server]) -> None:
    begun = threading.Event()

    def script(number: int, body: dict[str, Any]) -> Reply:
        if number == 1:
            return echo(number, body)
        if body["messages"][0]["content"] == "bad":
            begun.wait(5)
            return 404, {}, b"no"
        begun.set()
        time.sleep(0.3)  # the answer comes after the other has failed
        return echo(number, body)

    kept: list[tuple[int, int, str]] = []
    model = EndpointModel("m", base_url=serve(script).url, concurrency=2)
    model.generate(["first"], max_new_tokens=7)  # which is sent alone
    with pytest.raises(RunError, match="status 404"):
        model.generate_streaming(
            ["bad", "good", "later"], lambda *answer: kept.append(answer), max_new_tokens=7
        )
    assert kept == [(1, 0, "good:0")]
