from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from personakit.errors import RunError, UserError
from personakit.models.endpoint import EndpointModel
from personakit.models.open import open_language_model

Reply = tuple[int, dict[str, str], bytes]


class Server:
    """A local server that answers as `script(number of the request, its body)` says."""

    def __init__(self, script: Callable[[int, dict[str, Any]], Reply]) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.paths: list[str] = []
        self.most_at_once = self._now = 0
        lock, server = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    server._now += 1
                    server.most_at_once = max(server.most_at_once, server._now)
                    server.bodies.append(body)
                    server.keys.append(self.headers.get("Authorization"))
                    server.paths.append(self.path)
                    number = len(server.bodies)
                status, headers, content = script(number, body)
                with lock:
                    server._now -= 1
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(script: Callable[[int, dict[str, Any]], Reply]) -> Server:
        servers.append(Server(script))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def said(text: str) -> Reply:
    return 200, {}, json.dumps({"choices": [{"message": {"content": text}}]}).encode()


def echo(number: int, body: dict[str, Any]) -> Reply:
    return said(f"{body['messages'][0]['content']}:{body['seed']}")


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


def test_greedy_samples_are_asked_once(serve: Callable[..., Server]) -> None:
    server = serve(echo)
    assert EndpointModel("m", base_url=server.url).generate(["p"], samples=3, max_new_tokens=7) == [
        ["p:0"] * 3
    ]
    assert len(server.bodies) == 1


def test_waits_as_asked_when_there_are_too_many_requests(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("personakit.models.endpoint.time.sleep", waits.append)

    def twice_busy(number: int, body: dict[str, Any]) -> Reply:
        return (429, {"Retry-After": str(number)}, b"{}") if number <= 2 else echo(number, body)

    server = serve(twice_busy)
    assert EndpointModel("m", base_url=server.url).generate(["p"], max_new_tokens=7) == [["p:0"]]
    assert waits == [1.0, 2.0]


def test_a_server_that_dies_gives_one_sentence(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("personakit.models.endpoint.time.sleep", waits.append)
    server = serve(echo)
    model = EndpointModel("m", base_url=server.url, key="sk-secret", attempts=4, first_wait=0.5)
    assert model.generate(["p"], max_new_tokens=7) == [["p:0"]]
    server.stop()
    with pytest.raises(RunError, match=r'gave no answer for "m" in 4 attempts') as caught:
        model.generate(["p"], max_new_tokens=7)
    assert "sk-secret" not in str(caught.value) + caught.value.hint
    assert len(waits) == 3
    assert all(low <= wait <= 1.5 * low for wait, low in zip(waits, (0.5, 1.0, 2.0), strict=True))


@pytest.mark.parametrize(
    ("reply", "message", "hint"),
    [
        ((401, {}, b'{"error": {"message": "wrong key"}}'), "status 401: wrong key", "OPENAI_API_KEY"),
        ((404, {}, b"no such model"), "status 404: no such model", "model's name"),
        ((200, {}, b"<html>"), "not JSON", "/v1"),
        ((200, {}, b'{"object": "list"}'), "without choices", "chat API"),
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


def test_a_black_box_cannot_score() -> None:
    with pytest.raises(UserError, match="black box"):
        EndpointModel("m").score(["p"], ["c"])
    assert EndpointModel("m").count_tokens("twelve chars") == 3


def test_the_environment_names_the_address(
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


def test_the_fingerprint_tells_addresses_and_models_apart() -> None:
    models = [
        EndpointModel("a", base_url="http://x/v1"),
        EndpointModel("b", base_url="http://x/v1"),
        EndpointModel("a", base_url="http://y/v1"),
    ]
    assert len({model.fingerprint for model in models}) == 3
