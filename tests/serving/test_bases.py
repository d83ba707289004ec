"""Base models: behind HTTP with retries, and local in batches."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from models.server import CUT, Reply, Server, refused, replied
from rpo.fakes import Scripted

from personakit.config.endpoint import EndpointSettings
from personakit.models.conversation import Conversation
from personakit.models.refusal import Cut, NoAnswer
from personakit.serving.app import create_app
from personakit.serving.base import BaseAnswer, Chat
from personakit.serving.batching import Batcher, BusyError, EndedError
from personakit.serving.errors import ApiError
from personakit.serving.http_base import HttpBase
from personakit.serving.local_base import LocalBase, plain_text
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


def ask(chat: Chat, *, seconds: float = 20.0, attempts: int = 3) -> BaseAnswer:
    async def answer() -> BaseAnswer:
        base = HttpBase("m", settings=EndpointSettings(attempts=attempts), seconds=seconds)
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


def test_a_base_that_was_down_is_asked_again(endpoint: Callable[..., Server]) -> None:
    server = endpoint(lambda number, body: [CUT, refused(503, "starting"), replied("So.")][number - 1])
    assert ask(Chat(MESSAGES)).text == "So."
    assert len(server.bodies) == 3


@pytest.mark.parametrize(
    ("reply", "status", "message"),
    [
        (CUT, 503, "the base model gave no answer: in 3 attempts (the connection was lost)"),
        (refused(503, "down"), 503, "the base model gave no answer: in 3 attempts (status 503)"),
        (refused(400, "bad sk-secret", code="c", param="p"), 400, "bad [key]"),
        (
            refused(401, "wrong key sk-secret"),
            502,
            "the base model's server rejected the request with status 401",
        ),
        (replied(None), 503, "the base model gave no answer: it gave no text"),
        ((200, {}, b"hello"), 502, "the base model's server replied with no chat completion"),
        ((200, {}, b'{"choices": 5}'), 502, "the base model's server replied with no chat completion"),
    ],
)
def test_failures_are_one_sentence(
    endpoint: Callable[..., Server], reply: Reply, status: int, message: str
) -> None:
    endpoint(lambda number, body: reply)
    with pytest.raises(ApiError) as caught:
        ask(Chat(MESSAGES))
    assert (caught.value.status, caught.value.message) == (status, message)


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


def sse(*events: Any) -> Reply:
    lines = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    return 200, {"Content-Type": "text/event-stream"}, f": hello\n\n{lines}data: [DONE]\n\n".encode()


def chunk(text: str) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", "model": "m", "choices": [{"delta": {"content": text}}]}


def test_the_bases_own_stream_is_passed_on(endpoint: Callable[..., Server], store: ProfileStore) -> None:
    replies = [
        refused(503, "starting"),
        sse(chunk("So"), chunk(".")),
        refused(400, "bad"),
        (200, {}, b"data: {"),
    ]
    server = endpoint(lambda number, body: replies[number - 1])
    stubs = stub_service(store)
    answering = replace(stubs.service.answering, base=HttpBase("m"))
    body = {"messages": list(MESSAGES), "stream": True, "stream_options": {"include_usage": True}}
    app = create_app(replace(stubs.service, answering=answering))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        reply = client.post("/v1/chat/completions", json={"model": "voice", **body})  # without a user
        events = [line.removeprefix("data: ") for line in reply.text.splitlines() if line]
        assert [json.loads(event) for event in events[:-1]] == [
            {**chunk("So"), "model": "voice"},
            {**chunk("."), "model": "voice"},
        ]
        assert events[-1] == "[DONE]"
        assert server.bodies[-1] == {**body, "model": "m"}
        bad = client.post("/v1/chat/completions", json={"model": "m", "user": "ada", **body})
        assert (bad.status_code, bad.json()["error"]["message"]) == (400, "bad")
        broken = client.post("/v1/chat/completions", json={"model": "m", **body})
        assert (broken.status_code, broken.json()["error"]["message"]) == (
            502,
            "the base model's stream broke off",
        )


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


def test_what_a_local_model_cannot_do_is_refused() -> None:
    image = ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},)
    results, model = local(
        lambda prompt, limit: Cut("half") if prompt == "cut" else NoAnswer("it reasoned"),
        Chat(MESSAGES, {"tools": [{}]}),
        Chat(MESSAGES, {"response_format": {"type": "json_object"}}),
        Chat(image),
        Chat(({"role": "tool", "content": "x"},)),
        Chat(MESSAGES),
        Chat(({"role": "user", "content": "cut"},), {"response_format": {"type": "text"}, "tools": []}),
    )
    assert [result.status for result in results[:5]] == [400, 400, 400, 400, 502]
    assert (results[5].text, results[5].finish_reason) == ("half", "length")
    assert len(model.prompts) == 2


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
        end.set()
        kept = [await task for task in (first, others[0], *others[2:], other_key)]
        batcher.close()
        return kept

    assert asyncio.run(ask_all()) == [0, 2, 6, 8, 10, 18]
    assert sizes == [1, 3, 1, 1]  # a cancelled request takes no place, another key makes another batch


def test_a_request_that_fails_does_not_fail_its_batch() -> None:
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


def test_special_tokens_in_a_message_stay_text() -> None:
    tokenizer = SimpleNamespace(all_special_tokens=["<|im_end|>"], added_tokens_decoder={})
    model = Scripted(lambda prompt, limit: "")
    model.tokenizer = tokenizer  # type: ignore[attr-defined]
    assert plain_text(model, "a<|im_end|>b") == "a< |im_end|>b"
    assert plain_text(None, "a<|im_end|>b") == "a<|im_end|>b"
