"""Options that servers reject are omitted; what a server quotes of the request rejects nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from personakit.errors import RunError
from personakit.models.cache import AnswerCache, CachedModel
from personakit.models.endpoint import EndpointModel
from personakit.models.request_options import RequestOptions

from .server import Reply, Server, echo, refused, said

Serve = Callable[..., Server]
OFF = {"enable_thinking": False, "thinking": False}


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[Server] = []

    def start(script: Callable[[int, dict[str, Any]], Reply]) -> Server:
        servers.append(Server(script))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def rejecting(**options: Reply) -> Callable[[int, dict[str, Any]], Reply]:
    """Return a server that rejects each of the options that is sent."""

    def script(number: int, body: dict[str, Any]) -> Reply:
        return next((reply for option, reply in options.items() if option in body), said("yes"))

    return script


def test_models_are_asked_not_to_reason(serve: Serve) -> None:
    server = serve(echo)
    EndpointModel("m", base_url=server.url).generate(["p"], max_new_tokens=7)
    assert server.bodies[0]["chat_template_kwargs"] == OFF
    assert server.bodies[0]["reasoning_effort"] == "none"


@pytest.mark.parametrize(
    "reply",
    [
        refused(400, "Unrecognized request argument supplied: chat_template_kwargs"),
        refused(400, "no", param="chat_template_kwargs", code="unknown_parameter"),
        (
            422,
            {},
            b'{"detail": [{"type": "extra", "loc": ["body", "chat_template_kwargs"], "input": {}}]}',
        ),
    ],
)
def test_rejected_option_is_sent_once_even_with_concurrent_requests(
    serve: Serve, reply: Reply, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(rejecting(chat_template_kwargs=reply))
    model = EndpointModel("m", base_url=server.url, concurrency=8)
    assert model.generate([f"p{number}" for number in range(20)], max_new_tokens=7) == [["yes"]] * 20
    assert sum("chat_template_kwargs" in body for body in server.bodies) == 1
    assert all(body["reasoning_effort"] == "none" for body in server.bodies)
    assert caplog.text.count("continuing without it") == 1


@pytest.mark.parametrize(
    ("message", "effort"),
    [
        ("'reasoning_effort' does not support 'none'. Supported values are: 'low', 'medium', 'high'.", "low"),
        ("'reasoning_effort' does not support 'none'. Supported: 'minimal', 'low', 'high'.", "minimal"),
        ("Unsupported parameter: 'reasoning_effort' is not supported with this model.", None),
        ('"llama" does not support thinking', None),
    ],
)
def test_lowest_effort_that_the_server_names_is_sent(serve: Serve, message: str, effort: str | None) -> None:
    def script(number: int, body: dict[str, Any]) -> Reply:
        return refused(400, message) if body.get("reasoning_effort") == "none" else said("yes")

    server = serve(script)
    model = EndpointModel("m", base_url=server.url)
    assert model.generate(["p", "q"], max_new_tokens=7) == [["yes"]] * 2
    assert [body.get("reasoning_effort") for body in server.bodies] == ["none", effort, effort]


@pytest.mark.parametrize("status", [400, 422, 500])
def test_options_that_a_server_fails_on_without_naming_them_are_omitted(serve: Serve, status: int) -> None:
    def script(number: int, body: dict[str, Any]) -> Reply:
        return (status, {}, b"bad request") if "reasoning_effort" in body else said("yes")

    server = serve(script)
    model = EndpointModel("m", base_url=server.url)
    assert model.generate(["p", "q"], max_new_tokens=7) == [["yes"]] * 2
    assert len(server.bodies) == 3
    assert not {"reasoning_effort", "chat_template_kwargs"} & server.bodies[-1].keys()


def test_openai_is_not_sent_what_it_does_not_know() -> None:
    options = RequestOptions("m", "https://api.openai.com/v1", "")
    assert options.body({}, temperature=0.0) == {"temperature": 0.0, "reasoning_effort": "none"}


PROMPT = 'the room temperature with a seed is "warm"\nno reasoning about max_completion_tokens'


@pytest.mark.parametrize(
    "reply",
    [
        (422, {}, json.dumps({"detail": [{"loc": ["body", "messages", 0], "input": PROMPT}]}).encode()),
        refused(400, f"the prompt is not allowed: {PROMPT}"),
        refused(400, f"the prompt is not allowed: {PROMPT!r}"),
        refused(400, "not allowed: ...e room temperature with a seed is ..."),
        refused(400, "seed and temperature and max_completion_tokens", param="messages"),
        (400, {}, f"not allowed: {PROMPT}".encode()),
    ],
)
def test_quoted_prompt_rejects_no_option(serve: Serve, reply: Reply) -> None:
    def script(number: int, body: dict[str, Any]) -> Reply:
        return reply if body["messages"][0]["content"] == PROMPT else echo(number, body)

    server = serve(script)
    model = EndpointModel("m", base_url=server.url)
    assert model.generate(["p"], max_new_tokens=7) == [["p:0"]]
    with pytest.raises(RunError, match="rejected"):
        model.generate([PROMPT], max_new_tokens=7)
    assert model.generate(["q"], max_new_tokens=7) == [["q:0"]]
    assert server.bodies[-1].keys() == server.bodies[0].keys()
    assert not model.temperature_rejected


def test_option_is_rejected_although_the_prompt_has_its_name(serve: Serve) -> None:
    reply = refused(400, "Unsupported value: 'temperature' does not support 0 with this model.")
    server = serve(rejecting(temperature=reply))
    model = EndpointModel("m", base_url=server.url)
    assert model.generate([PROMPT], max_new_tokens=7) == [["yes"]]


def test_complaint_about_the_size_of_max_tokens_does_not_rename_it(serve: Serve) -> None:
    message = "'max_tokens' or 'max_completion_tokens' is too large: 64. The maximum context length is 64."
    server = serve(lambda number, body: refused(400, message, param=None))
    with pytest.raises(RunError, match="too large"):
        EndpointModel("m", base_url=server.url).generate(["p"], max_new_tokens=64)
    assert all(body["max_tokens"] == 64 for body in server.bodies)


def test_answers_at_the_servers_temperature_are_not_cached_as_greedy(serve: Serve, tmp_path: Path) -> None:
    server = serve(rejecting(temperature=refused(400, "no", param="temperature")))
    cache = AnswerCache(tmp_path / "answers.sqlite")
    prompts = ["p", "q"]

    def answers() -> list[list[str]]:
        return CachedModel(EndpointModel("m", base_url=server.url), cache).generate(prompts, max_new_tokens=7)

    assert answers() == [["yes"]] * 2
    assert len(server.bodies) == 3
    # The server still rejects it: what is cached is valid. One request finds out.
    server.script = rejecting(temperature=refused(400, "no", param="temperature"))
    assert answers() == [["yes"]] * 2
    assert len(server.bodies) == 5  # rejected, and sent again without
    # The server accepts it: other answers.
    server.script = echo
    assert answers() == [["p:0"], ["q:0"]]
    assert answers() == [["p:0"], ["q:0"]]
    assert len(server.bodies) == 7
