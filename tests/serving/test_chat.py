"""`/v1/chat/completions`: whose way an answer is in, what the base model is asked, and what is passed on."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from rpo.fakes import Scripted

from personakit.errors import RunError
from personakit.retrieval.bm25 import BM25
from personakit.serving.base import BaseAnswer, Chat
from personakit.serving.errors import ApiError
from personakit.serving.logs import JsonLines
from personakit.serving.store import ProfileStore

from .stubs import BASE, RUN, SUMMARISED, Stubs, served_run

ADA, BOB = "Heyho, off to the marsh! xx", "Good day to you. Yours, Robert"


@pytest.fixture(autouse=True)
def _two_users(store: ProfileStore) -> None:
    tenant = store.tenant(create=True)
    tenant.append("ada", [({"text": ADA}, None)])
    tenant.append("bob", [({"text": BOB}, None), ({"title": "unusable"}, None)])


def ask(client: TestClient, text: str = "The train is late.", **fields: Any) -> dict[str, Any]:
    body = {"model": RUN, "messages": [{"role": "user", "content": text}], **fields}
    reply = client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    document: dict[str, Any] = reply.json()
    assert json.loads(reply.headers["x-personakit-trace"]).items() <= document["personakit"].items()
    return document


def content(document: dict[str, Any]) -> str:
    text: str = document["choices"][0]["message"]["content"]
    return text


def test_each_user_gets_an_answer_from_their_own_texts(client: TestClient) -> None:
    ada, bob = ask(client, user="ada"), ask(client, user="bob")
    for document, own, other in ((ada, ADA, BOB), (bob, BOB, ADA)):
        assert own in content(document)
        assert other not in content(document)
        assert "Draft: The train is late." in content(document)
        assert document["personakit"]["personalised"]
        assert document["personakit"]["items"] == [1]
    assert bob["personakit"]["unusable_items"] == 1
    assert ada["object"] == "chat.completion"
    assert ada["choices"][0]["finish_reason"] == "stop"
    assert ada["usage"]["total_tokens"] == 5


def test_the_base_is_asked_the_whole_conversation_and_all_options_and_no_history(
    client: TestClient, stubs: Stubs
) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Where?", "name": "x"},
        {"role": "assistant", "content": "Here."},
        {"role": "user", "content": [{"type": "text", "text": "When?"}]},
    ]
    options = {"temperature": 0.3, "top_p": 0.9, "max_tokens": 20, "logit_bias": {"5": 1}, "stop": ["x"]}
    for user in ("ada", "bob"):
        ask(client, messages=messages, user=user, **options, seed=7, personakit={"generic": True})
    for chat in stubs.base.chats:
        assert list(chat.messages) == messages
        assert chat.options == {**options, "seed": 7}


def test_without_user_or_history_or_by_request_the_draft_is_the_answer(
    client: TestClient, stubs: Stubs
) -> None:
    cases: list[tuple[str, dict[str, Any]]] = [
        ("no user", {}),
        ("unknown user", {"user": "eve"}),
        ("switched off", {"user": "ada", "personakit": {"personalise": False}}),
        ("the bare base model", {"user": "ada", "model": BASE}),
        (
            "the request fixes the form of the answer",
            {"user": "ada", "response_format": {"type": "json_object"}},
        ),
    ]
    for reason, fields in cases:
        document = ask(client, **fields)
        assert content(document) == "Draft: The train is late."
        assert document["personakit"]["reason"] == reason
        assert not document["personakit"]["personalised"]
        assert document["personakit"]["degraded"] is None
    assert stubs.rewriter.prompts == []


def test_headers_name_the_user_and_switch_off(client: TestClient) -> None:
    body = {"model": RUN, "messages": [{"role": "user", "content": "Hi."}]}
    own = client.post("/v1/chat/completions", json=body, headers={"x-personakit-user": "ada"}).json()
    assert ADA in content(own)
    off = client.post(
        "/v1/chat/completions",
        json={**body, "user": "ada"},
        headers={"x-personakit-user": "ada", "x-personakit-personalise": "off"},
    ).json()
    assert content(off) == "Draft: Hi."
    two = client.post(
        "/v1/chat/completions", json={**body, "user": "bob"}, headers={"x-personakit-user": "ada"}
    )
    assert (two.status_code, two.json()["error"]["param"]) == (400, "user")


def test_the_header_is_utf8(client: TestClient) -> None:
    client.post("/v1/users/zoë/items", json={"items": [{"text": "Salut !"}]})
    body = {"model": RUN, "messages": [{"role": "user", "content": "Hi."}]}
    for name in ("zoë".encode(), "zoë".encode("latin-1")):
        own = client.post("/v1/chat/completions", json=body, headers={b"x-personakit-user": name})
        assert "Salut !" in content(own.json())


@pytest.mark.parametrize("content", [b'{"x": NaN}', b'{"x": "\\ud800"}', b'{"x": ', b"[]", b"\xff"])
def test_what_is_no_json_is_refused(client: TestClient, content: bytes) -> None:
    fields = f'"model": "{RUN}", "messages": [{{"role": "user", "content": "Hi."}}], '.encode()
    for body in (content, content.replace(b"{", b"{" + fields, 1)):
        reply = client.post(
            "/v1/chat/completions", content=body, headers={"content-type": "application/json"}
        )
        assert (reply.status_code, reply.json()["error"]["type"]) == (400, "invalid_request_error")


def test_a_user_can_switch_personalisation_off(client: TestClient) -> None:
    client.put("/v1/users/ada/settings", json={"personalise": False})
    assert ask(client, user="ada")["personakit"]["reason"] == "switched off"
    client.put("/v1/users/ada/settings", json={"personalise": True})
    assert ask(client, user="ada")["personakit"]["personalised"]


def test_new_items_count_at_once_and_forgotten_ones_no_more(client: TestClient) -> None:
    client.post("/v1/users/ada/items", json={"items": [{"text": "Newest words"}]})
    document = ask(client, user="ada")
    assert "Newest words" in content(document)
    assert document["personakit"]["items"] == [2, 1]
    client.delete("/v1/users/ada")
    assert ask(client, user="ada")["personakit"]["reason"] == "unknown user"


def test_after_forgetting_neither_files_nor_indexes_have_a_word(
    client: TestClient, stubs: Stubs, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERSONAKIT_CACHE", str(tmp_path / "cache"))
    written = logging.FileHandler(tmp_path / "service.log")
    written.setFormatter(JsonLines())
    logging.getLogger("personakit").addHandler(written)
    monkeypatch.setattr(logging.getLogger("personakit"), "level", logging.DEBUG)
    for given_text in (True, False):
        run = served_run(stubs.rewriter, given_text=given_text, retriever="bm25")
        monkeypatch.setitem(stubs.service.answering.runs, RUN, run)
        assert ADA in content(ask(client, "A question about porcupines", user="ada"))
    client.get("/v1/users/ada/items")
    assert isinstance(run.rewriter.provider, BM25)
    cache = run.rewriter.provider._cache
    assert len(cache) == 1
    for word in (b"Heyho", b"marsh", b"porcupines"):  # another process may forget: it cannot clear this
        assert word not in pickle.dumps(cache), word
    client.delete("/v1/users/ada")
    assert not cache
    logging.getLogger("personakit").removeHandler(written)
    written.close()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    databases = set() if "://" in place else {"profiles.sqlite", "profiles.sqlite-wal", "keys.sqlite"}
    assert {"service.log", *databases} <= {path.name for path in files}
    for path in files:
        for word in (b"Heyho", b"marsh", b"porcupines"):
            assert word not in path.read_bytes(), path


def test_the_generic_answer_comes_along_if_wanted(client: TestClient) -> None:
    assert "generic" not in ask(client, user="ada")["personakit"]
    document = ask(client, user="ada", personakit={"generic": True})
    assert document["personakit"]["generic"] == "Draft: The train is late."


def test_a_run_that_was_trained_on_drafts_gets_the_draft_and_the_question(
    client: TestClient, stubs: Stubs, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = served_run(stubs.rewriter, given_text=False)
    monkeypatch.setitem(stubs.service.answering.runs, RUN, run)
    text = content(ask(client, user="ada"))
    assert "tweet without any explanation before or after it: The train is late." in text
    assert "Draft of somebody who does not know this user: Draft: The train is late." in text
    assert ADA in text


def test_of_an_edit_only_the_users_text_is_read(client: TestClient, stubs: Stubs) -> None:
    edits = [{"draft": "Kind regards to the herons.", "text": "Toodle-pip, herons!"}]
    client.post("/v1/users/ada/edits", json={"edits": edits})
    text = content(ask(client, "The herons are late.", user="ada"))
    assert "Toodle-pip, herons!" in text
    assert "Kind regards" not in " ".join(stubs.rewriter.prompts)


def _too_slow(prompt: str, limit: int) -> str:
    time.sleep(0.3)
    return "late"


def _broken(prompt: str, limit: int) -> str:
    raise RuntimeError(ADA)


@pytest.mark.parametrize(
    ("seconds", "answer", "reason", "errors"),
    [
        (0.05, _too_slow, "the rewrite took longer than 0.05 seconds", []),
        (20, _broken, "the rewrite failed (RuntimeError)", [("rewrite", "RuntimeError")]),
        (20, lambda prompt, limit: " ", "the rewriter gave no readable answer: the draft stands", []),
    ],
)
def test_a_slow_or_failing_rewrite_is_degraded_to_the_draft(
    store: ProfileStore,
    seconds: float,
    answer: Callable[[str, int], str],
    reason: str,
    errors: list[tuple[str, str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    from personakit.serving.app import create_app

    from .stubs import stub_service

    stubs = stub_service(store, rewrite_seconds=seconds)
    stubs.rewriter.answer = answer
    with TestClient(create_app(stubs.service), base_url="http://127.0.0.1") as client:
        document = ask(client, user="ada")
        assert content(document) == "Draft: The train is late."
        assert document["personakit"]["degraded"] == reason
        assert 'outcome="degraded"} 1.0' in client.get("/metrics").text
    assert failures(caplog) == errors


def failures(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """The steps that failed, and the types of their errors, as they were logged."""
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records]
    return [(line["step"], line["error"]["type"]) for line in lines if line["event"] == "answer degraded"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("rewrite", "sent", "left_out", "degraded"),
    [
        ("Heyho! The train at 9 is late. Xx!", "Heyho! The train at 9 is late. Xx!", None, None),
        (
            "Heyho! The train at 10 is late. Xx!",
            "Heyho! The train at 9 is late. Xx!",
            "the rewrite loses number 9 and invents number 10",
            None,
        ),
        (
            "The train at 10 is late.",
            "The train at 9 is late.",
            "the rewrite loses number 9 and invents number 10: the draft stands",
            "the rewrite loses or invents facts: the draft stands",
        ),
    ],
)
def test_edits_that_lose_or_invent_facts_are_undone(
    client: TestClient,
    stubs: Stubs,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    stream: bool,
    rewrite: str,
    sent: str,
    left_out: str | None,
    degraded: str | None,
) -> None:
    caplog.set_level(logging.INFO)
    run = served_run(Scripted(lambda prompt, limit: rewrite), given_text=True)
    monkeypatch.setitem(stubs.service.answering.runs, RUN, replace(run, check_content=True))
    draft = "The train at 9 is late."
    stubs.base.answer = lambda chat: BaseAnswer({"role": "assistant", "content": draft}, draft)
    if stream:
        chunks = events(client, user="ada")
        text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
        trace = chunks[-1]["personakit"]
    else:
        document = ask(client, user="ada")
        text, trace = content(document), document["personakit"]
    assert (text, trace["left_out"], trace["degraded"]) == (sent, left_out, degraded)
    assert trace["personalised"] == (degraded is None)
    logged = " ".join(JsonLines().format(record) for record in caplog.records)
    assert "number 9" not in logged  # what is undone quotes the user's text


def test_tool_calls_and_refusals_are_passed_on(client: TestClient, stubs: Stubs) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    stubs.base.answer = lambda chat: BaseAnswer(message, None, "tool_calls")
    document = ask(client, user="ada")
    assert document["choices"][0] == {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": "tool_calls",
    }
    refusal = {"role": "assistant", "content": None, "refusal": "No."}
    stubs.base.answer = lambda chat: BaseAnswer(refusal, None, refused="No.")
    assert ask(client, user="ada")["choices"][0]["message"] == refusal


def events(client: TestClient, **fields: Any) -> list[dict[str, Any]]:
    body = {"model": RUN, "messages": [{"role": "user", "content": "A  b\nc "}], "stream": True, **fields}
    with client.stream("POST", "/v1/chat/completions", json=body) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        assert "personalised" in reply.headers["x-personakit-trace"]
        lines = [line for line in reply.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


@pytest.mark.parametrize("user", ["ada", "eve"])
def test_a_stream_has_the_same_text_as_one_answer(client: TestClient, user: str) -> None:
    whole = ask(client, "A  b\nc ", user=user)
    chunks = events(client, user=user, stream_options={"include_usage": True})
    streamed = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks[:-1])
    assert streamed == content(whole)
    assert len(chunks) > 3
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[-3:-1]] == [None, "stop"]
    assert chunks[-2]["personakit"]["personalised"] == (user == "ada")
    assert (chunks[-1]["choices"], chunks[-1]["usage"]["total_tokens"]) == ([], 5)


def test_a_long_stream_has_few_events(client: TestClient) -> None:
    chunks = events(client, messages=[{"role": "user", "content": "word " * 79 + "end"}])
    assert len(chunks) == 13  # 81 words, eight at a time; role; end
    assert chunks[5]["choices"][0]["delta"]["content"] == " word" * 8


def test_a_stream_passes_tool_calls_on(client: TestClient, stubs: Stubs) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    stubs.base.answer = lambda chat: BaseAnswer(
        {"role": "assistant", "content": None, "tool_calls": [call]}, None, "tool_calls"
    )
    first, *_, last = events(client, user="ada")
    assert first["choices"][0]["delta"]["tool_calls"] == [{"index": 0, **call}]
    assert last["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "model"),
        ({"model": RUN, "messages": []}, "messages"),
        ({"model": RUN, "messages": [{"role": "poet", "content": "secret text"}]}, "messages.0.role"),
        ({"model": RUN, "messages": [{"role": "user", "content": "secret text"}], "n": 2}, "n"),
        (
            {"model": RUN, "messages": [{"role": "user", "content": "x"}], "temperature": "secret text"},
            "temperature",
        ),
        ({"model": RUN, "messages": [{"role": "user", "content": "x"}], "user": "a/b"}, "user"),
        ({"model": RUN, "messages": [{"role": "user", "content": "x"}], "user": ".."}, None),
    ],
)
def test_bad_requests_are_told_the_place_and_never_the_text(
    client: TestClient, body: dict[str, Any], param: str | None
) -> None:
    reply = client.post("/v1/chat/completions", json=body)
    error = reply.json()["error"]
    assert (reply.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert "secret text" not in reply.text


def test_an_unknown_model_is_404(client: TestClient) -> None:
    body = {"model": "gpt-x", "messages": [{"role": "user", "content": "x"}]}
    reply = client.post("/v1/chat/completions", json=body)
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")
    assert [entry["id"] for entry in client.get("/v1/models").json()["data"]] == [RUN, SUMMARISED, BASE]
    assert client.get(f"/v1/models/{RUN}").json()["id"] == RUN
    assert client.get("/v1/models/gpt-x").status_code == 404


def test_a_client_that_leaves_ends_its_request(stubs: Stubs, monkeypatch: pytest.MonkeyPatch) -> None:
    from personakit.serving.app import create_app

    ended: list[str] = []

    async def ask_and_leave() -> None:
        body = json.dumps({"model": RUN, "messages": [{"role": "user", "content": "x"}]}).encode()
        asked, events = asyncio.Event(), [{"type": "http.request", "body": body, "more_body": False}]

        async def draft(chat: Chat) -> BaseAnswer:
            asked.set()
            try:
                await asyncio.sleep(60)
            finally:
                ended.append("cancelled")
            raise AssertionError

        async def receive() -> dict[str, Any]:
            if events:
                return events.pop()
            await asked.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            ended.append(message.get("status"))

        monkeypatch.setattr(stubs.base, "draft", draft)
        headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "query_string": b""}
        await create_app(stubs.service)({**scope, "headers": headers}, receive, send)

    asyncio.run(ask_and_leave())
    assert set(ended) == {"cancelled", 499, None}


def test_errors_of_the_base_are_passed_on(client: TestClient, stubs: Stubs) -> None:
    stubs.base.error = ApiError(503, "the base model gave no answer: it cannot be reached")
    body = {"model": RUN, "messages": [{"role": "user", "content": "x"}]}
    reply = client.post("/v1/chat/completions", json=body)
    assert (reply.status_code, reply.json()["error"]["type"]) == (503, "server_error")


def test_an_unexpected_error_is_one_sentence(stubs: Stubs) -> None:
    from personakit.serving.app import create_app

    def broken(chat: Chat) -> BaseAnswer:
        raise RuntimeError("internal words")

    stubs.base.answer = broken
    client = TestClient(create_app(stubs.service), base_url="http://127.0.0.1", raise_server_exceptions=False)
    body = {"model": RUN, "messages": [{"role": "user", "content": "x"}]}
    reply = client.post("/v1/chat/completions", json=body)
    assert (reply.status_code, reply.json()["error"]["type"]) == (500, "server_error")
    assert "internal words" not in reply.text


def test_a_run_error_is_503(client: TestClient, stubs: Stubs) -> None:
    def full(chat: Chat) -> BaseAnswer:
        raise RunError("the disk is full", hint="free some space")

    stubs.base.answer = full
    reply = client.post(
        "/v1/chat/completions", json={"model": RUN, "messages": [{"role": "user", "content": "x"}]}
    )
    assert (reply.status_code, reply.json()["error"]["message"]) == (503, "the disk is full; free some space")


def test_a_store_that_fails_leaves_the_draft(
    client: TestClient, stubs: Stubs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from sqlalchemy.exc import OperationalError

    from personakit.serving.store import TenantStore

    def fails(*arguments: Any, **options: Any) -> Any:
        raise OperationalError("SELECT", {}, Exception("disk I/O error"))

    monkeypatch.setattr(TenantStore, "profile", fails)
    monkeypatch.setattr(TenantStore, "user", fails)
    document = ask(client, user="ada")
    assert content(document) == "Draft: The train is late."
    assert document["personakit"]["degraded"] == "the profile store cannot be reached"
    assert failures(caplog) == [("rewrite", "OperationalError")]
    reply = client.get("/v1/users/ada")
    assert (reply.status_code, reply.json()["error"]["message"]) == (
        503,
        "the profile store cannot be reached",
    )
    monkeypatch.setattr(stubs.service.store._vault, "read", fails)
    assert client.get("/ready").status_code == 503


def test_health_ready_and_metrics(client: TestClient, stubs: Stubs) -> None:
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/ready").json() == {"status": "ready"}
    ask(client, user="ada")
    text = client.get("/metrics").text
    assert 'personakit_answers_total{model="voice",outcome="personalised"} 1.0' in text
    assert 'personakit_requests_total{route="/v1/chat/completions",status="200"} 1.0' in text
    assert "ada" not in text
    stubs.service.answering.batcher.close()
    assert client.get("/ready").status_code == 503
