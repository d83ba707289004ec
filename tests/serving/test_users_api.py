"""`/v1/users`: append, list, edit, export, forget."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from personakit.serving.store import TenantStore


def test_the_life_of_a_history(client: TestClient) -> None:
    items = [{"text": "one"}, {"title": "T", "text": "two", "date": "2026-01-02"}]
    assert client.post("/v1/users/ada/items", json={"items": items}).json() == {"numbers": [1, 2]}
    listed = client.get("/v1/users/ada/items").json()["items"]
    assert [(item["number"], item["fields"], item["date"]) for item in listed] == [
        (1, {"text": "one"}, None),
        (2, {"title": "T", "text": "two"}, "2026-01-02"),
    ]
    assert client.get("/v1/users/ada/items?after=1").json()["items"] == listed[1:]
    client.put("/v1/users/ada/items/1", json={"text": "first"})
    client.delete("/v1/users/ada/items/2")
    client.post("/v1/users/ada/edits", json={"edits": [{"draft": "a", "text": "b"}]})
    client.put("/v1/users/ada/summaries/popi", json={"text": "Likes numbers."})
    assert client.get("/v1/users/ada").json().items() >= {"items": 2, "summaries": 1}.items()
    assert [user["user"] for user in client.get("/v1/users").json()["users"]] == ["ada"]
    document = client.get("/v1/users/ada/export").json()
    assert [item["fields"] for item in document["items"]] == [
        {"text": "first"},
        {"text": "b", "draft": "a"},
    ]
    assert document["summaries"][0].items() >= {"text": "Likes numbers.", "edited": True}.items()
    assert client.delete("/v1/users/ada/summaries/popi").status_code == 200
    assert client.get("/v1/users/ada/summaries").json() == {"summaries": []}
    assert client.delete("/v1/users/ada").json() == {"forgotten": True}
    assert client.get("/v1/users").json() == {"users": []}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/users/eve"),
        ("GET", "/v1/users/eve/items"),
        ("GET", "/v1/users/eve/export"),
        ("DELETE", "/v1/users/eve"),
        ("DELETE", "/v1/users/eve/items/1"),
        ("DELETE", "/v1/users/ada/items/9"),
        ("DELETE", "/v1/users/ada/summaries/popi"),
    ],
)
def test_what_is_not_there_is_404(client: TestClient, method: str, path: str) -> None:
    client.post("/v1/users/ada/items", json={"items": [{"text": "one"}]})
    reply = client.request(method, path)
    assert (reply.status_code, reply.json()["error"]["type"]) == (404, "not_found_error")


@pytest.mark.parametrize(
    "items",
    [
        [],
        [{}],
        [{"date": "2026"}],
        [{"txt": "misspelt"}],
        [{"title": "alone"}],
        [{"text": "fine", "date": "yesterday"}],
        [{"text": "fine", "date": "2026-02-30"}],
        [{"text": "fine", "date": "1/2/2026"}],
        [{"text": ""}],
        [{"text": 5}],
        [{"text": "x" * 100_001}],
        [{"text": "fine"}, {"text": None}],
        "text",
    ],
)
def test_bad_items_are_refused_and_none_is_kept(client: TestClient, items: Any) -> None:
    reply = client.post("/v1/users/ada/items", json={"items": items})
    assert (reply.status_code, reply.json()["error"]["type"]) == (400, "invalid_request_error")
    assert client.get("/v1/users").json() == {"users": []}


@pytest.mark.parametrize(
    ("method", "path", "body", "sentence"),
    [
        ("POST", "items", {"items": [{"text": " "}]}, "items.0: text is empty, expected a text"),
        ("POST", "items", {"items": [{"text": "a\0"}]}, 'item 1: its "text" has a NUL character'),
        ("PUT", "settings", {"personalise": "yes"}, "personalise: Input should be a valid boolean"),
    ],
)
def test_what_is_wrong_with_a_value_is_said(
    client: TestClient, method: str, path: str, body: Any, sentence: str
) -> None:
    reply = client.request(method, f"/v1/users/ada/{path}", json=body)
    assert (reply.status_code, sentence in reply.json()["error"]["message"]) == (400, True), reply.text


def test_items_are_checked_as_the_command_line_checks_them(client: TestClient) -> None:
    items = [
        {"text": "one", "date": "Jan 2, 2026"},
        {"title": "T", "abstract": "A"},
        {"original": "a", "revised": "b"},
        {"comment": "shorter please"},
    ]
    assert client.post("/v1/users/ada/items", json={"items": items}).json() == {"numbers": [1, 2, 3, 4]}
    assert client.get("/v1/users/ada/items").json()["items"][0]["date"] == "2026-01-02"
    reply = client.put("/v1/users/ada/items/1", json={"txt": "misspelt"})
    sentence = "body: expected a text called text (or, of other kinds of items: abstract, title, or"
    assert sentence in reply.json()["error"]["message"]
    reply = client.put("/v1/users/ada/items/1", json={"text": "two", "date": "yesterday"})
    assert reply.json()["error"]["message"] == "date: expected a date such as 2026-01-02"


@pytest.mark.parametrize(
    ("content", "headers", "code", "sentence"),
    [
        (b'{"items": [{"text": "secret"}]}', {}, "invalid_content_type", "curl needs -H 'content-type"),
        (
            b"items=secret",
            {"content-type": "application/x-www-form-urlencoded"},
            "invalid_content_type",
            "curl",
        ),
        (b'{"items":\n [{"text": "secret",}]}', None, "invalid_json", "not valid JSON: "),
        (b'{"items": [{"text": "secret"', None, "invalid_json", "line 1, column 29"),
        (b'{"items": [{"text": "secret\xff"}]}', None, None, "expected JSON in UTF-8"),
        (b"", None, "invalid_value", "body: Field required"),
    ],
)
def test_a_body_that_is_not_read_says_why(
    client: TestClient, content: bytes, headers: dict[str, str] | None, code: str | None, sentence: str
) -> None:
    headers = {"content-type": "application/json"} if headers is None else headers
    reply = client.post("/v1/users/ada/items", content=content, headers=headers)
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], sentence in error["message"]) == (400, code, True), error
    assert "secret" not in reply.text


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "settings", {"personalize": False}),
        ("PUT", "summaries/popi", {"text": "Short.", "model": "x"}),
        ("POST", "items", {"items": [{"text": "one"}], "date": "2026-01-02"}),
        ("POST", "edits", {"edits": [{"text": "b", "draft": "a", "date": "2026-01-02"}]}),
    ],
)
def test_misspelt_fields_are_refused(client: TestClient, method: str, path: str, body: Any) -> None:
    reply = client.request(method, f"/v1/users/ada/{path}", json=body)
    assert (reply.status_code, "Extra inputs are not permitted" in reply.text) == (400, True)
    assert client.get("/v1/users").json() == {"users": []}


def test_names_may_have_any_letters_but_no_slash(client: TestClient) -> None:
    for name in ("zoë müller@example.org", "用户", "a%b?c#d"):
        from urllib.parse import quote

        path = f"/v1/users/{quote(name, safe='')}/items"
        assert client.post(path, json={"items": [{"text": "x"}]}).status_code == 200
        assert name in [user["user"] for user in client.get("/v1/users").json()["users"]]
    message = client.get("/v1/users/%00/items").json()["error"]["message"]
    assert message == "user: expected 1 to 256 characters without slashes and control characters"
    reply = client.get("/v1/users/a%2Fb/items")
    assert (reply.status_code, "names have no slash" in reply.json()["error"]["message"]) == (404, True)


def test_changes_that_wait_for_the_database_keep_nobody_waiting(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, go_on = threading.Semaphore(0), threading.Event()

    def wait(*arguments: Any) -> list[int]:
        waiting.release()
        go_on.wait(60)
        return [1]

    client.post("/v1/users/ada/items", json={"items": [{"text": "x"}]})
    monkeypatch.setattr(TenantStore, "append", wait)

    def append(count: int) -> list[Future[Response]]:
        body = {"items": [{"text": "x"}]}
        return [pool.submit(client.post, "/v1/users/ada/items", json=body) for _ in range(count)]

    with ThreadPoolExecutor(45) as pool:
        try:
            first = append(20)
            for _ in first:
                assert waiting.acquire(timeout=60)
            monkeypatch.setattr("personakit.serving.users_api.STORE_SECONDS", 0.2)
            others = append(25)
            for path in ("/v1/models", "/v1/users/ada", "/ready"):
                assert client.get(path, headers={"Authorization": "Bearer x"}).status_code == 200
            assert {each.result().status_code for each in others} == {503}
        finally:
            go_on.set()
        assert {each.result().status_code for each in first} == {200}
