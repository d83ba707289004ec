"""Keys: who may reach whom, and how much at once."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from personakit.errors import UserError
from personakit.models.proxies import is_loopback_host
from personakit.serving.app import create_app
from personakit.serving.base import BaseAnswer, Chat
from personakit.serving.start import ServeSettings, open_service
from personakit.serving.store import KeyLimits, ProfileStore

from .stubs import BASE, RUN, StubBase, Stubs, listening, stub_service

CHAT = "/v1/chat/completions"
ADA = "Heyho, off to the marsh! xx"


@pytest.fixture
def stubs(store: ProfileStore) -> Iterator[Stubs]:
    made = stub_service(store, open_to_all=False, max_body_bytes=2000)
    store.tenant().append("ada", [({"text": ADA}, None)])
    yield made
    made.service.answering.batcher.close()


@pytest.fixture
def client(stubs: Stubs) -> Iterator[TestClient]:
    with TestClient(create_app(stubs.service)) as made:
        yield made


def bearer(
    store: ProfileStore, *, tenant: str = "default", user: str | None = None, **limits: int
) -> dict[str, str]:
    """A new key of a tenant, as a header."""
    own = store.tenant(tenant, create=True)
    if user is not None:
        own.create(user)
    _, secret = store.keys(own).create(user=user, limits=KeyLimits(**limits))
    return {"Authorization": f"Bearer {secret}"}


def body(**fields: Any) -> dict[str, Any]:
    return {"model": RUN, "messages": [{"role": "user", "content": "Hi."}], **fields}


ROUTES = [
    ("POST", CHAT),
    ("GET", "/v1/models"),
    ("GET", "/v1/access"),
    ("GET", "/v1/users"),
    ("GET", "/v1/users/ada"),
    ("DELETE", "/v1/users/ada"),
    ("GET", "/v1/users/ada/export"),
    ("GET", "/v1/users/ada/items"),
    ("POST", "/v1/users/ada/items"),
    ("PUT", "/v1/users/ada/items/1"),
    ("DELETE", "/v1/users/ada/items/1"),
    ("POST", "/v1/users/ada/edits"),
    ("GET", "/v1/users/ada/summaries"),
    ("PUT", "/v1/users/ada/summaries/popi"),
    ("DELETE", "/v1/users/ada/summaries/popi"),
    ("GET", "/v1/users/ada/settings"),
    ("PUT", "/v1/users/ada/settings"),
]
BODIES = {
    CHAT: body(user="ada"),
    "/v1/users/ada/items": {"items": [{"text": "new"}]},
    "/v1/users/ada/items/1": {"text": "changed"},
    "/v1/users/ada/edits": {"edits": [{"draft": "a", "text": "b"}]},
    "/v1/users/ada/summaries/popi": {"text": "Short."},
    "/v1/users/ada/settings": {"personalise": False},
}


def call(client: TestClient, route: tuple[str, str], headers: dict[str, str] | None = None) -> Any:
    method, path = route
    content = BODIES.get(path) if method in ("POST", "PUT") else None
    return client.request(method, path, json=content, headers=headers)


def test_all_routes_are_listed(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    routes = {
        (
            method.upper(),
            path.replace("{user}", "ada")
            .replace("{number}", "1")
            .replace("summaries/{model}", "summaries/popi"),
        )
        for path, methods in document["paths"].items()
        for method in methods
        if path.startswith("/v1") and path != "/v1/models/{model}"
    }
    assert routes == set(ROUTES)


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_needs_a_valid_key(
    client: TestClient, store: ProfileStore, route: tuple[str, str]
) -> None:
    before = store.tenant().export("ada")
    for headers in (None, {"Authorization": "Bearer pk-wrong"}, {"Authorization": "Basic eDp5"}):
        reply = call(client, route, headers)
        assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")
    assert store.tenant().export("ada") == before


@pytest.mark.parametrize("route", ROUTES)
def test_a_key_of_another_tenant_reaches_nobody_here(
    client: TestClient, store: ProfileStore, route: tuple[str, str]
) -> None:
    before = store.tenant().export("ada")
    reply = call(client, route, bearer(store, tenant="theirs"))
    assert reply.status_code in (200, 404)
    assert "marsh" not in reply.text
    assert store.tenant().export("ada") == before


@pytest.mark.parametrize("route", [route for route in ROUTES if "ada" in route[1]])
def test_a_key_of_another_user_is_refused(
    client: TestClient, store: ProfileStore, route: tuple[str, str]
) -> None:
    before = store.tenant().export("ada")
    reply = call(client, route, bearer(store, user="bob"))
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "user_mismatch")
    assert store.tenant().export("ada") == before


def test_the_users_key_decides_who_the_user_is(client: TestClient, store: ProfileStore) -> None:
    own = bearer(store, user="ada")
    for fields in ({}, {"user": "ada"}):
        assert ADA in client.post(CHAT, json=body(**fields), headers=own).text
    assert client.post(CHAT, json=body(user="bob"), headers=own).status_code == 403
    assert client.post(CHAT, json=body(), headers={**own, "x-personakit-user": "bob"}).status_code == 403
    assert client.get("/v1/users", headers=own).status_code == 403
    assert client.get("/v1/users/ada/export", headers=own).json()["items"][0]["fields"] == {"text": ADA}


def test_a_revoked_key_ends_at_once(client: TestClient, store: ProfileStore) -> None:
    number, secret = store.keys(store.tenant()).create()
    headers = {"Authorization": f"Bearer {secret}"}
    assert client.get("/v1/models", headers=headers).status_code == 200
    store.keys(store.tenant()).revoke(number)
    assert client.get("/v1/models", headers=headers).status_code == 401


def test_a_key_has_so_many_requests_a_minute(
    client: TestClient, store: ProfileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("personakit.serving.limits.time.monotonic", lambda: now)
    limited, other = bearer(store, requests_per_minute=2), bearer(store)
    statuses = [client.get("/v1/models", headers=limited).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert client.get("/v1/models", headers=other).status_code == 200
    reply = client.get("/v1/models", headers=limited)
    assert (reply.headers["retry-after"], reply.json()["error"]["type"]) == ("30", "rate_limit_error")
    now += 30
    assert client.get("/v1/models", headers=limited).status_code == 200


def test_a_key_has_so_many_requests_at_once(client: TestClient, store: ProfileStore, stubs: Stubs) -> None:
    begun, end = threading.Event(), threading.Event()

    def waits(prompt: str, limit: int) -> str:
        begun.set()
        end.wait(20)
        return "Done."

    stubs.rewriter.answer = waits
    limited = bearer(store, user="ada", concurrent_requests=1)
    first: list[int] = []
    thread = threading.Thread(
        target=lambda: first.append(client.post(CHAT, json=body(), headers=limited).status_code)
    )
    thread.start()
    assert begun.wait(20)
    assert client.post(CHAT, json=body(), headers=limited).status_code == 429
    end.set()
    thread.join()
    assert first == [200]
    assert client.get("/v1/models", headers=limited).status_code == 200


def test_a_stream_counts_until_its_client_leaves_and_ends_then(store: ProfileStore, stubs: Stubs) -> None:
    ended = threading.Event()

    class EndlessBase(StubBase):
        async def stream(self, chat: Chat) -> AsyncIterator[dict[str, Any]]:
            try:
                while True:
                    yield {"choices": [{"delta": {"content": "more"}}]}
                    await asyncio.sleep(0.01)
            finally:
                ended.set()

    limited = bearer(store, concurrent_requests=1)
    service = replace(stubs.service, answering=replace(stubs.service.answering, base=EndlessBase()))
    with listening(service) as address, httpx2.Client(base_url=address, headers=limited) as client:
        with client.stream("POST", CHAT, json=body(model=BASE, stream=True)) as reply:
            lines = reply.iter_lines()  # without a name it would end, and the connection with it
            assert "more" in next(lines)
            assert client.get("/v1/models").status_code == 429
        assert ended.wait(20)
        statuses = (client.get("/v1/models").status_code for _ in range(1000))
        assert 200 in statuses


def test_large_bodies_are_refused_declared_or_not(client: TestClient, store: ProfileStore) -> None:
    headers = bearer(store)
    large = json.dumps(body(user="x" * 3000)).encode()
    declared = client.post(CHAT, content=large, headers={**headers, "content-type": "application/json"})
    streamed = client.post(
        CHAT,
        content=iter([large[:1500], large[1500:]]),
        headers={**headers, "content-type": "application/json"},
    )
    for reply in (declared, streamed):
        assert (reply.status_code, reply.json()["error"]["message"]) == (
            413,
            "the body has more than 2000 bytes, the limit",
        )


def test_exceptions_that_nobody_waits_for_are_logged_without_their_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from personakit.serving.logs import log_to_stderr

    for name in ("personakit", "uvicorn", "asyncio"):
        for attribute in ("handlers", "propagate", "level"):
            logger = logging.getLogger(name)
            monkeypatch.setattr(logger, attribute, getattr(logger, attribute))
    log_to_stderr()

    async def fails() -> None:
        raise RuntimeError(ADA)

    async def leaves() -> None:
        asyncio.ensure_future(fails())  # noqa: RUF006 - nobody waits
        await asyncio.sleep(0)

    asyncio.run(leaves())
    gc.collect()
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["error"]["type"]) == ("Task exception was never retrieved", "RuntimeError")
    assert ADA not in json.dumps(line)


def test_logs_have_no_text_and_no_name(
    client: TestClient, store: ProfileStore, stubs: Stubs, caplog: pytest.LogCaptureFixture
) -> None:
    from personakit.serving.logs import JsonLines

    def broken(chat: Chat) -> BaseAnswer:
        raise RuntimeError(ADA)

    headers = bearer(store)
    with caplog.at_level(logging.INFO, logger="personakit.serving"):
        client.post(CHAT, json=body(user="ada"), headers=headers)
        client.get("/v1/users/ada/export", headers=headers)
        stubs.base.answer = broken
        TestClient(create_app(stubs.service), raise_server_exceptions=False).post(
            CHAT, json=body(user="ada"), headers=headers
        )
    lines = [JsonLines().format(record) for record in caplog.records if record.name == "personakit.serving"]
    logged = [json.loads(line) for line in lines if json.loads(line)["event"] == "request"]
    assert [(each["route"], each["status"]) for each in logged] == [
        (CHAT, 200),
        ("/v1/users/{user}/export", 200),
        (CHAT, 500),
    ]
    assert logged[0]["personalised"] is True
    assert any(json.loads(line)["event"] == "exception" for line in lines)
    for word in ("ada", "marsh", "Heyho", headers["Authorization"][-8:]):
        assert not any(word in line for line in lines), word


def test_no_key_is_needed_on_loopback_only(store: ProfileStore, tmp_path: Any) -> None:
    assert [is_loopback_host(host) for host in ("127.0.0.1", "::1", "[::1]", "localhost", "127.8.8.8")] == [
        True
    ] * 5
    others = ("0.0.0.0", "::", "example.org", "192.168.1.2", "", "x.localhost")
    assert not any(is_loopback_host(host) for host in others)
    with pytest.raises(UserError, match="can be reached from other machines"):
        open_service(ServeSettings(runs=(), base="nano", host="0.0.0.0", store=str(tmp_path / "profiles")))


def test_open_service_has_only_names_of_this_machine(store: ProfileStore) -> None:
    """A page of another site whose name points to 127.0.0.1 gets nothing."""
    with TestClient(create_app(stub_service(store).service), base_url="http://127.0.0.1") as client:
        assert client.get("/v1/models").status_code == 200
        for host in ("localhost:8000", "[::1]:8000", "127.0.0.1"):
            assert client.get("/v1/models", headers={"host": host}).status_code == 200
        for host in ("evil.example", "evil.example:8000", "localhost.evil.example", "", "[x"):
            reply = client.get("/v1/models", headers={"host": host})
            assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_host")


def test_a_running_service_notices_the_first_key(store: ProfileStore) -> None:
    with TestClient(create_app(stub_service(store).service), base_url="http://127.0.0.1") as client:
        assert client.get("/v1/users").status_code == 200
        number, secret = store.keys(store.tenant()).create()
        assert client.get("/v1/users").status_code == 401
        own = {"Authorization": f"Bearer {secret}"}
        assert client.get("/v1/users", headers=own).status_code == 200
        assert client.get("/v1/users", headers={**own, "host": "profiles.example"}).status_code == 200
        store.keys(store.tenant()).revoke(number)
        assert client.get("/v1/users").status_code == 401  # it is not open again
