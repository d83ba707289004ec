"""Base models: behind HTTP with retries, and local in batches."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from models.server import CUT, Reply, Server, refused, replied
from models.tiny import make_tiny
from rpo.fakes import Scripted

from personakit.models.conversation import Conversation
from personakit.models.local import LocalModel
from personakit.models.refusal import Cut, NoAnswer
from personakit.serving.app import create_app
from personakit.serving.base import BaseAnswer, Chat
from personakit.serving.batching import Batcher, BusyError, EndedError
from personakit.serving.errors import ApiError
from personakit.serving.http_base import HttpBase
from personakit.serving.local_base import LocalBase, plain_text
from personakit.serving.logs import JsonLines
from personakit.serving.store import ProfileStore

from .stubs import stub_service

MESSAGES = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"})


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(script: Callable[[int, dict[str, Any]], Reply]) -> Server:
        servers.append(Server(script))
        monkeypatch.setenv("OPENAI_BASE_URL", servers[-1].url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
        monkeypatch.setattr("personakit.models.retries.random.uniform", lambda low, high: 0.01)
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def ask(chat: Chat, *, seconds: float = 20.0) -> BaseAnswer:
    async def answer() -> BaseAnswer:
        base = HttpBase("m", seconds=seconds)
        try:
            return await base.draft(chat)
        finally:
            await base.close()

    return asyncio.run(answer())


def test_messages_and_options_are_passed_on_unchanged(endpoint: Callable[..., Server]) -> None:
    server = endpoint(lambda number, body: replied("So.", usage={"total_tokens": 3}))
    options = {"temperature": 0.5, "tools": [{"type": "function"}], "x": {"y": None}}
    answer = ask(Chat(MESSAGES, options))
    assert server.bodies == [{**options, "model": "m", "messages": list(MESSAGES)}]
    assert server.keys == ["Bearer sk-secret"]
    assert (answer.text, answer.finish_reason, answer.message["content"]) == ("So.", "stop", "So.")


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
def test_a_base_elsewhere_is_asked_through_the_proxy(
    endpoint: Callable[..., Server], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    proxy = endpoint(lambda number, body: replied("So."))
    monkeypatch.setenv("OPENAI_BASE_URL", "http://base.example/v1")
    monkeypatch.setenv(variable, proxy.url.removeprefix("http://").removesuffix("/v1"))
    assert ask(Chat(MESSAGES)).text == "So."
    assert proxy.paths == ["http://base.example/v1/chat/completions"]


def test_a_name_in_the_address_comes_before_the_key(
    endpoint: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = endpoint(lambda number, body: replied("So."))
    monkeypatch.setenv("OPENAI_BASE_URL", server.url.replace("http://", "http://ada:pass@"))
    assert ask(Chat(MESSAGES)).text == "So."
    assert server.keys == ["Basic YWRhOnBhc3M="]


def test_a_base_that_was_never_asked_is_closed(endpoint: Callable[..., Server]) -> None:
    server = endpoint(lambda number, body: replied("So."))
    asyncio.run(HttpBase("m").close())
    assert not server.bodies


def test_a_base_that_was_down_is_asked_again(endpoint: Callable[..., Server]) -> None:
    server = endpoint(lambda number, body: [CUT, refused(503, "starting"), replied("So.")][number - 1])
    assert ask(Chat(MESSAGES)).text == "So."
    assert len(server.bodies) == 3


def test_a_base_is_asked_again_until_the_deadline(
    endpoint: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("personakit.serving.http_base._FIRST_DELAY", 0.001)
    monkeypatch.setattr("personakit.serving.http_base._LONGEST_DELAY", 0.002)
    server = endpoint(lambda number, body: refused(503, "starting") if number < 20 else replied("So."))
    assert ask(Chat(MESSAGES)).text == "So."
    assert len(server.bodies) == 20


@pytest.mark.parametrize(
    ("reply", "status", "message"),
    [
        (CUT, 503, "the base model gave no answer in 1 attempt (the connection was lost)"),
        (refused(503, "down"), 503, "the base model gave no answer in 1 attempt (status 503)"),
        (
            (429, {"Retry-After": "70"}, b"{}"),
            429,
            "the base model gave no answer in 1 attempt (status 429)",
        ),
        (refused(400, "bad sk-secret", code="c", param="p"), 400, "bad [key]"),
        (refused(400, f"{'x' * 195}sk-secret, and more"), 400, f"{'x' * 195}[key]"),  # at most 200 characters
        (
            refused(401, "wrong key sk-secret"),
            502,
            "the base model's server rejected the request with status 401: check OPENAI_API_KEY",
        ),
        (
            refused(404, "no model"),
            502,
            "the base model's server rejected the request with status 404: "
            "check the model's name (--base) and OPENAI_BASE_URL",
        ),
        (
            (200, {}, b'{"choices": []}'),
            503,
            "the base model gave no answer in 1 attempt (the reply has no choices)",
        ),
        ((200, {}, b"hello"), 502, "the base model's server replied with no chat completion"),
        ((200, {}, b'{"choices": 5}'), 502, "the base model's server replied with no chat completion"),
    ],
)
def test_failures_are_one_sentence(
    endpoint: Callable[..., Server], reply: Reply, status: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint(lambda number, body: reply)
    monkeypatch.setattr("personakit.models.retries.random.uniform", lambda low, high: 1000.0)
    with pytest.raises(ApiError) as caught:
        ask(Chat(MESSAGES))
    assert (caught.value.status, caught.value.message) == (status, message)
    if status == 429:
        assert caught.value.headers == {"Retry-After": "70"}


@pytest.mark.parametrize("upstream", [400, 401, 503])
@pytest.mark.parametrize("stream", [False, True])
def test_the_log_has_the_status_of_the_bases_server(
    endpoint: Callable[..., Server],
    store: ProfileStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    upstream: int,
    stream: bool,
) -> None:
    caplog.set_level("INFO")
    endpoint(lambda number, body: refused(upstream, "about Ada"))
    monkeypatch.setattr("personakit.models.retries.random.uniform", lambda low, high: 1000.0)
    stubs = stub_service(store)
    stubs.service.answering = replace(stubs.service.answering, base=HttpBase("m"))
    with TestClient(create_app(stubs.service), base_url="http://127.0.0.1") as client:
        client.post("/v1/chat/completions", json={"model": "m", "messages": list(MESSAGES), "stream": stream})
    lines = [JsonLines().format(each) for each in caplog.records if each.name == "personakit.serving"]
    assert [json.loads(line)["upstream_status"] for line in lines if "upstream" in line] == [upstream]
    assert not any("Ada" in line for line in lines)


@pytest.mark.parametrize(
    "reply",
    [
        replied(None),
        replied(""),
        replied(None, "function_call", function_call={"name": "f", "arguments": "{}"}),
        replied(None, audio={"id": "a", "data": "x"}),
        replied(None, "length", reasoning_content="Hm."),
    ],
)
def test_an_answer_without_text_is_one_and_is_not_asked_for_again(
    endpoint: Callable[..., Server], reply: Reply
) -> None:
    server = endpoint(lambda number, body: reply)
    answer = ask(Chat(MESSAGES))
    choice = json.loads(reply[2])["choices"][0]
    assert (answer.text, answer.message, answer.finish_reason) == (
        None,
        choice["message"],
        choice["finish_reason"],
    )
    assert len(server.bodies) == 1


def test_what_else_an_answer_has_is_kept(endpoint: Callable[..., Server], store: ProfileStore) -> None:
    choice = {
        "message": {"role": "assistant", "content": "So \ud800."},
        "finish_reason": "stop",
        "logprobs": {"content": []},
    }
    document = {"id": "x", "choices": [choice], "system_fingerprint": "fp", "service_tier": "flex"}
    endpoint(lambda number, body: (200, {}, json.dumps(document).encode()))
    store.tenant(create=True).append("ada", [({"text": "Heyho!"}, None)])
    stubs = stub_service(store)
    answering = replace(stubs.service.answering, base=HttpBase("m"))
    app = create_app(replace(stubs.service, answering=answering))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        for user, logprobs in (("eve", {"content": []}), ("ada", None)):
            body = {"model": "voice", "user": user, "messages": list(MESSAGES)}
            found = client.post("/v1/chat/completions", json=body).json()
            assert found["personakit"]["personalised"] == (user == "ada")
            assert (found["system_fingerprint"], found["service_tier"]) == ("fp", "flex")
            assert found["choices"][0]["logprobs"] == logprobs
            assert found["id"] != "x"


def test_a_base_that_hangs_is_given_up(endpoint: Callable[..., Server]) -> None:
    end = threading.Event()

    def hang(number: int, body: dict[str, Any]) -> Reply:
        end.wait(20)
        return replied("late")

    endpoint(hang)
    with pytest.raises(ApiError) as caught:
        ask(Chat(MESSAGES), seconds=0.2)
    end.set()
    assert (caught.value.status, caught.value.message) == (
        504,
        "the base model gave no answer within 0.2 seconds",
    )


def test_what_is_no_text_is_kept_as_it_came(endpoint: Callable[..., Server]) -> None:
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    endpoint(
        lambda number, body: [
            replied(None, "tool_calls", tool_calls=calls),
            replied(None, refusal="I cannot."),
            replied("Half a", "length"),
            replied("<think>Hm.</think>So."),
        ][number - 1]
    )

    async def answers() -> list[BaseAnswer]:
        base = HttpBase("m")
        found = [await base.draft(Chat(MESSAGES)) for _ in range(4)]
        await base.close()
        return found

    tools, refusal, cut, reasoned = asyncio.run(answers())
    assert (tools.text, tools.message["tool_calls"], tools.finish_reason) == (None, calls, "tool_calls")
    assert (refusal.text, refusal.refused) == (None, "I cannot.")
    assert (cut.text, cut.finish_reason) == ("Half a", "length")
    assert reasoned.text == "So."


EVENTS = "text/event-stream"


def sse(*events: Any) -> Reply:
    lines = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    return 200, {"Content-Type": EVENTS}, f": hello\n\n{lines}data: [DONE]\n\n".encode()


def chunk(text: str) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", "model": "m", "choices": [{"delta": {"content": text}}]}


def streamed(client: TestClient, model: str, reason: str, **fields: Any) -> list[Any]:
    """The events of a stream, which is passed on for that reason."""
    body = {"model": model, "messages": list(MESSAGES), "stream": True, **fields}
    reply = client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    trace = json.loads(reply.headers["x-personakit-trace"])
    assert (trace["model"], trace["base"], trace["reason"]) == (model, "m", reason)
    assert not trace["personalised"]
    assert trace["base_seconds"] > 0
    *events, last = [line.removeprefix("data: ") for line in reply.text.splitlines() if line]
    assert last == "[DONE]"
    return [json.loads(event) for event in events]


def test_the_bases_own_stream_is_passed_on(endpoint: Callable[..., Server], store: ProfileStore) -> None:
    error = {"error": {"message": "no key sk-secret"}}
    length, kind = {"choices": [{"delta": {}, "finish_reason": "length"}]}, {"Content-Type": EVENTS}
    replies = [
        refused(503, "starting"),
        sse(chunk("So"), chunk(".")),
        (200, kind, f"data: {json.dumps(length)}\n\n".encode()),
        (200, kind, f"data: {json.dumps(chunk('Half an ans'))}\n\n".encode()),
        sse(chunk("Half"), error),
        replied("Whole.", tool_calls=[{"id": "1"}]),
        refused(200, "down", code="invalid"),
        refused(400, "bad"),
        (200, kind, b"data: {"),
    ]
    server = endpoint(lambda number, body: replies[number - 1])
    stubs = stub_service(store)
    answering = replace(stubs.service.answering, base=HttpBase("m"))
    app = create_app(replace(stubs.service, answering=answering))
    broke_off, bare = "the base model's stream broke off", "the bare base model"
    with TestClient(app, base_url="http://127.0.0.1") as client:
        options = {"include_usage": True, "include_obfuscation": False}
        assert streamed(client, "voice", "no user", stream_options=options) == [
            {**chunk("So"), "model": "voice"},
            {**chunk("."), "model": "voice"},
        ]
        assert server.bodies[-1]["stream_options"] == options
        assert streamed(client, "m", bare) == [{**length, "model": "m"}]  # [DONE] may be missing
        half, event = streamed(client, "m", bare)
        assert (half["choices"], event["error"]["message"]) == (chunk("Half an ans")["choices"], broke_off)
        _, event = streamed(client, "m", bare, user="ada")
        assert event["error"]["message"] == f"{broke_off}: no key [key]"
        [whole] = streamed(client, "m", bare)  # of a server that does not stream
        assert whole["object"] == "chat.completion.chunk"
        assert whole["choices"][0]["delta"]["content"] == "Whole."
        assert whole["choices"][0]["delta"]["tool_calls"] == [{"index": 0, "id": "1"}]
        assert whole["choices"][0]["finish_reason"] == "stop"
        body = {"model": "m", "messages": list(MESSAGES), "stream": True}
        for status, message in ((400, "down"), (400, "bad"), (502, broke_off)):
            bad = client.post("/v1/chat/completions", json=body)
            assert (bad.status_code, bad.json()["error"]["message"]) == (status, message)
        counted = [line for line in client.get("/metrics").text.splitlines() if "answers_total{" in line]
    assert counted == [  # only streams that have begun
        'personakit_answers_total{model="voice",outcome="generic"} 1.0',
        'personakit_answers_total{model="m",outcome="generic"} 4.0',
    ]


async def chunks(base: HttpBase) -> list[Any]:
    try:
        return [each async for each in base.stream(Chat(MESSAGES))]
    finally:
        await base.close()


def test_an_event_that_is_too_long_breaks_the_stream_off(
    endpoint: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("personakit.serving.http_base._LONGEST_EVENT", 4096)
    endpoint(lambda number, body: sse(chunk("So"), chunk("o" * 9000)))
    with pytest.raises(ApiError, match="the base model's stream broke off"):
        asyncio.run(chunks(HttpBase("m")))


def test_a_stream_that_is_complete_may_lose_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    events = sse(chunk("So."))[2]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"true}")
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head + f"{len(events):x}\r\n".encode() + events + b"\r\n")  # and no last chunk
        await writer.drain()
        writer.close()

    async def ask_once() -> list[Any]:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{port}/v1")
            return await chunks(HttpBase("m"))

    assert asyncio.run(ask_once()) == [chunk("So.")]


def local(answer: Callable[[str, int], str], *chats: Chat) -> tuple[list[Any], Scripted]:
    """Ask a scripted local model all at once; errors are among the results."""
    model = Scripted(answer)

    async def answers() -> list[Any]:
        batcher = Batcher()
        base = LocalBase("m", model, batcher)
        found = await asyncio.gather(*(base.draft(chat) for chat in chats), return_exceptions=True)
        batcher.close()
        return list(found)

    return asyncio.run(answers()), model


def test_a_local_model_sees_the_conversation_and_has_some_options() -> None:
    options = {"max_tokens": 7, "stop": [".", "!"], "top_p": 0.5, "presence_penalty": None}
    [answer], model = local(lambda prompt, limit: f"So {limit}. Not this.", Chat(MESSAGES, options))
    assert isinstance(model.prompts[0], Conversation)
    assert model.prompts[0].messages == MESSAGES
    assert (answer.text, answer.finish_reason, answer.ignored) == ("So 7", "stop", ("top_p",))
    assert answer.usage == {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


def test_a_local_models_usage_counts_the_chat_template(tmp_path: Path) -> None:
    model = LocalModel.load(str(make_tiny(tmp_path)))
    plain, _ = ask_local(model)
    model.tokenizer.chat_template = "{% for each in messages %}the cat {{ each.content }} {% endfor %}"
    templated, prompt = ask_local(model)
    assert templated["prompt_tokens"] == model.count_tokens(prompt) > plain["prompt_tokens"]


def ask_local(model: LocalModel) -> tuple[Any, str]:
    """Return the usage of an answer, and the prompt in the test's template."""

    async def answer() -> BaseAnswer:
        batcher = Batcher()
        found = await LocalBase("m", model, batcher).draft(Chat(MESSAGES, {"max_tokens": 2}))
        batcher.close()
        return found

    return asyncio.run(answer()).usage, "".join(f"the cat {each['content']} " for each in MESSAGES)


def test_what_a_local_model_cannot_do_is_refused() -> None:
    image = ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},)
    results, model = local(
        lambda prompt, limit: Cut("half") if prompt == "cut" else NoAnswer("it reasoned"),
        Chat(MESSAGES, {"tools": [{}]}),
        Chat(MESSAGES, {"response_format": {"type": "json_object"}}),
        Chat(image),
        Chat(({"role": "tool", "content": "x"},)),
        Chat(({"role": "user"},)),
        Chat(MESSAGES),
        Chat(({"role": "user", "content": "cut"},), {"response_format": {"type": "text"}, "tools": []}),
        Chat(({"role": "user", "content": "x" * 200_001},)),
    )
    assert [result.status for result in results[:6]] == [400, 400, 400, 400, 400, 502]
    assert (results[6].text, results[6].finish_reason) == ("half", "length")
    assert results[7].code == "context_length_exceeded"
    assert len(model.prompts) == 2


def test_a_local_model_writes_so_much_in_so_much_time() -> None:
    end = threading.Event()

    def slow(prompt: str, limit: int) -> str:
        return f"{limit}" if prompt == "quick" else str(end.wait(20))

    async def answers() -> tuple[BaseAnswer, BaseAnswer]:
        batcher = Batcher()
        quick = Chat(({"role": "user", "content": "quick"},), {"max_tokens": 50_000})
        base = LocalBase("m", Scripted(slow), batcher, max_tokens=900)
        first = await base.draft(quick)
        impatient = LocalBase("m", Scripted(slow), batcher, seconds=0.05)
        with pytest.raises(ApiError) as caught:
            await impatient.draft(Chat(MESSAGES))
        assert (caught.value.status, caught.value.message) == (
            504,
            "the base model gave no answer within 0.05 seconds",
        )
        end.set()
        last = await base.draft(quick)
        batcher.close()
        with pytest.raises(ApiError, match="the service is about to end"):
            await base.draft(quick)
        return first, last

    first, last = asyncio.run(answers())
    assert (first.text, last.text) == ("900", "900")


def test_a_local_model_reads_texts_on_its_own_thread() -> None:
    class Watched(Scripted):
        def count_tokens(self, text: str) -> int:
            threads.append(threading.current_thread().name)
            return super().count_tokens(text)

    threads: list[str] = []

    async def answer() -> None:
        batcher = Batcher()
        options = {f"{'x' * 60}{number}": 1 for number in range(30)}
        found = await LocalBase("m", Watched(lambda prompt, limit: "So."), batcher).draft(
            Chat(MESSAGES, options)
        )
        batcher.close()
        assert found.ignored == ("x" * 40,) * 20  # they go into a header

    asyncio.run(answer())
    assert threads == ["local models"] * 2


def test_requests_that_wait_make_one_batch() -> None:
    sizes: list[int] = []
    begun, end = threading.Event(), threading.Event()

    def double(numbers: list[int]) -> list[int]:
        if numbers == [0]:
            begun.set()
            end.wait(20)
        return [2 * number for number in numbers]

    async def ask_all() -> list[int]:
        batcher = Batcher(most_together=3, on_batch=sizes.append)
        first = asyncio.create_task(batcher.run("double", double, 0))
        await asyncio.to_thread(begun.wait, 20)
        others = [asyncio.create_task(batcher.run("double", double, number)) for number in range(1, 6)]
        other_key = asyncio.create_task(batcher.run("other", double, 9))
        await asyncio.sleep(0)
        others[1].cancel()
        await asyncio.wait(
            [others[1]]
        )  # else the batch may begin before the request is known to be cancelled
        end.set()
        kept = [await task for task in (first, others[0], *others[2:], other_key)]
        batcher.close()
        return kept

    assert asyncio.run(ask_all()) == [0, 2, 6, 8, 10, 18]
    assert sizes == [1, 3, 1, 1]  # a cancelled request takes no place, another key makes another batch


def test_a_request_that_fails_does_not_fail_its_batch(caplog: pytest.LogCaptureFixture) -> None:
    begun, end = threading.Event(), threading.Event()

    def invert(numbers: list[int]) -> list[float]:
        if numbers == [1]:
            begun.set()
            end.wait(20)
        return [1 / number for number in numbers]

    async def ask_all() -> list[Any]:
        batcher = Batcher()
        first = asyncio.create_task(batcher.run("invert", invert, 1))
        await asyncio.to_thread(begun.wait, 20)
        others = asyncio.gather(
            *(batcher.run("invert", invert, number) for number in (2, 0, 4)), return_exceptions=True
        )
        await asyncio.sleep(0)
        end.set()
        found = [await first, *await others]
        batcher.close()
        return found

    first, half, error, quarter = asyncio.run(ask_all())
    assert (first, half, quarter) == (1.0, 0.5, 0.25)
    assert isinstance(error, ZeroDivisionError)
    [line] = [json.loads(JsonLines().format(record)) for record in caplog.records]
    assert (line["level"], line["requests"], line["error"]["type"]) == ("warning", 3, "ZeroDivisionError")
    assert "division" not in json.dumps(line)


def test_too_many_waiting_requests_are_refused() -> None:
    end = threading.Event()

    async def ask_all() -> list[Any]:
        batcher = Batcher(most_waiting=2)
        tasks = [
            asyncio.create_task(batcher.run(number, lambda them: (end.wait(20), them)[1], number))
            for number in range(6)
        ]
        await asyncio.sleep(0.1)
        end.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        batcher.close()
        return list(found)

    found = asyncio.run(ask_all())
    assert found[:2] == [0, 1]
    assert any(isinstance(each, BusyError) for each in found)


def test_requests_that_gave_up_take_no_place_in_the_queue() -> None:
    begun, end = threading.Event(), threading.Event()

    def wait(numbers: list[int]) -> list[int]:
        begun.set()
        end.wait(20)
        return numbers

    async def ask_all() -> int:
        batcher = Batcher(most_waiting=1)
        running = asyncio.create_task(batcher.run("wait", wait, 0))
        await asyncio.to_thread(begun.wait, 20)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(batcher.run("wait", wait, 1), 0.01)
        last = asyncio.create_task(batcher.run("wait", wait, 2))
        await asyncio.sleep(0)
        end.set()
        await running
        found = await last
        batcher.close()
        return found

    assert asyncio.run(ask_all()) == 2


def test_a_function_that_loses_a_result_fails_its_requests_and_not_the_thread() -> None:
    async def ask_all() -> list[Any]:
        batcher = Batcher()
        found = [
            await asyncio.gather(batcher.run("lost", lambda numbers: [], 1), return_exceptions=True),
            await batcher.run("kept", lambda numbers: numbers, 2),
        ]
        batcher.close()
        return found

    [lost], kept = asyncio.run(ask_all())
    assert isinstance(lost, ValueError)
    assert kept == 2


def test_closing_waits_for_no_long_batch_and_nothing_waits_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("personakit.serving.batching._END_SECONDS", 0.01)
    begun, end = threading.Event(), threading.Event()

    async def ask_all() -> None:
        batcher = Batcher()
        running = asyncio.create_task(
            batcher.run("long", lambda numbers: (begun.set(), end.wait(20), numbers)[2], 1)
        )
        await asyncio.to_thread(begun.wait, 20)
        batcher.close()
        assert batcher.alive  # the batch still runs
        with pytest.raises(EndedError):
            await batcher.run("late", lambda numbers: numbers, 2)
        end.set()
        assert await running == 1

    asyncio.run(ask_all())


def test_special_tokens_in_a_message_stay_text(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = SimpleNamespace(all_special_tokens=["<|im_end|>"], added_tokens_decoder={})
    model = Scripted(lambda prompt, limit: "")
    monkeypatch.setattr(model, "tokenizer", tokenizer, raising=False)
    assert plain_text(model, "a<|im_end|>b") == "a< |im_end|>b"
    assert plain_text(Scripted(lambda prompt, limit: ""), "a<|im_end|>b") == "a<|im_end|>b"
