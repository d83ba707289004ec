"""`/v1/chat/completions` and `/v1/models`, as OpenAI's clients expect them."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import asdict, replace
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Header, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from personakit.serving.answering import ChatAnswer, Trace
from personakit.serving.base import Chat, StreamingBase, head
from personakit.serving.errors import RESPONSES, ApiError, error_document
from personakit.serving.service import (
    PERSONALISE_HEADER,
    TRACE_HEADER,
    AccessOf,
    ServiceOf,
    UserHeader,
    user_of,
)
from personakit.serving.store import NAME_PATTERN

T = TypeVar("T")

router = APIRouter(prefix="/v1", responses=RESPONSES)
#: Fields of a request that are for the service and not for the base model.
_OURS = {"model", "messages", "stream", "stream_options", "user", "personakit", "n"}
_PIECE = re.compile(r"(?:\s*\S+){1,8}|\s+$")  # of a stream

PersonaliseHeader = Annotated[
    Literal["on", "off"] | None,
    Header(alias=PERSONALISE_HEADER, description="`off` gives the base model's own answer."),
]


class ContentPart(BaseModel):
    """A part of a message; parts other than text are passed to the base model unchanged."""

    model_config = ConfigDict(extra="allow")
    type: str
    text: str | None = None


class ChatMessage(BaseModel):
    """A message of the conversation."""

    model_config = ConfigDict(extra="allow")
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[ContentPart] | None = None


class StreamOptions(BaseModel):
    """What a stream includes."""

    model_config = ConfigDict(extra="allow")
    include_usage: bool = False


class OwnOptions(BaseModel):
    """Options of personakit."""

    model_config = ConfigDict(extra="forbid")
    personalise: bool = Field(default=True, description="False gives the base model's own answer.")
    generic: bool = Field(default=False, description="Also return the base model's own answer.")


class ChatRequest(BaseModel):
    """OpenAI's request. Options that are not listed here are passed to the base model unchanged."""

    model_config = ConfigDict(extra="allow")
    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    user: str | None = Field(
        None, pattern=NAME_PATTERN, description="The user for whom the answer is personalised."
    )
    n: Literal[1] | None = None
    max_tokens: int | None = Field(None, ge=1, le=1_000_000)
    max_completion_tokens: int | None = Field(None, ge=1, le=1_000_000)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = None
    personakit: OwnOptions | None = None


class ModelEntry(BaseModel):
    """A model that requests may name."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "personakit"


class ModelList(BaseModel):
    """All models."""

    object: Literal["list"] = "list"
    data: list[ModelEntry]


@router.get("/models")
async def models(service: ServiceOf, access: AccessOf) -> ModelList:
    """List the runs and the bare base model."""
    return ModelList(data=[ModelEntry(id=name) for name in service.answering.names()])


@router.get("/models/{model:path}")
async def model(model: str, service: ServiceOf, access: AccessOf) -> ModelEntry:
    """Return one model."""
    service.answering.check(model)
    return ModelEntry(id=model)


@router.post("/chat/completions", response_model=None)
async def chat_completions(
    body: ChatRequest,
    request: Request,
    service: ServiceOf,
    access: AccessOf,
    user: UserHeader,
    personalise: PersonaliseHeader = None,
) -> Response:
    """Answer a conversation, in the way of its user.

    With `stream`, a rewrite is streamed when it is complete, the base model's own answer as it is written.
    """
    name = user_of(access, body.user, user)
    own = body.personakit or OwnOptions()
    wanted = own.personalise if personalise is None else personalise == "on"
    chat, base = _chat(body), service.answering.base
    reason = service.answering.why_not(body.model, name, personalise=wanted)
    request.state.facts.update(model=body.model)
    if body.stream and reason is not None and isinstance(base, StreamingBase):
        trace = Trace(body.model, base.name, reason=reason)
        chunks = await _while_connected(request, _begun(base, chat, body, trace))
        service.metrics.answers.labels(trace.model, "generic").inc()
        return _event_stream(chunks, _noted(request, trace))
    answer = await _while_connected(
        request,
        service.answering.answer(
            body.model, chat, access.store, name, personalise=wanted, generic=own.generic
        ),
    )
    _count(service, answer)
    facts, headers = asdict(answer.trace), _noted(request, answer.trace)
    if own.generic:
        facts["generic"] = answer.generic
    if body.stream:
        usage = body.stream_options is not None and body.stream_options.include_usage
        return _event_stream(_events(answer, facts, usage=usage), headers)
    # In ASCII: what the base model wrote may have unpaired surrogates, which UTF-8 cannot hold.
    return Response(json.dumps(_completion(answer, facts)), headers=headers, media_type="application/json")


async def _while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of `work`. If the client disconnects, cancel it and raise `ApiError`."""

    async def left() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(left())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ApiError(499, "the client has left")
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _begun(base: StreamingBase, chat: Chat, body: ChatRequest, trace: Trace) -> AsyncIterator[str]:
    """Return the base model's own stream after its first chunk: an error before that sets the status."""
    if body.stream_options is not None:
        options = {**chat.options, "stream_options": body.stream_options.model_dump(exclude_unset=True)}
        chat = Chat(chat.messages, options)
    started, chunks = time.monotonic(), base.stream(chat)
    first = await anext(chunks, None)
    trace.base_seconds = round(time.monotonic() - started, 4)

    async def events() -> AsyncIterator[str]:
        chunk = first
        try:
            while chunk is not None:
                yield f"data: {json.dumps({**chunk, 'model': body.model})}\n\n"
                chunk = await anext(chunks, None)
        except ApiError as error:
            yield f"data: {json.dumps(error_document(error.status, error.message).model_dump())}\n\n"
        yield "data: [DONE]\n\n"

    return events()


def _noted(request: Request, trace: Trace) -> dict[str, str]:
    """Note a trace for the log; return it as a header."""
    request.state.facts.update(
        personalised=trace.personalised,
        degraded=trace.degraded,
        base_seconds=trace.base_seconds,
        rewrite_seconds=trace.rewrite_seconds,
    )
    facts = asdict(replace(trace, left_out=None))
    return {TRACE_HEADER: json.dumps({key: value for key, value in facts.items() if value is not None})}


def _event_stream(events: AsyncIterator[str], headers: dict[str, str]) -> Response:
    headers = {**headers, "Cache-Control": "no-cache"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


def _chat(body: ChatRequest) -> Chat:
    document = body.model_dump(exclude_unset=True)
    if not isinstance(document.get("response_format", {}), dict | None):
        raise ApiError(400, "response_format: expected an object", param="response_format")
    try:
        json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:  # also of the encoding
        raise ApiError(400, "the request has numbers or characters that JSON does not allow") from error
    return Chat(document["messages"], {key: value for key, value in document.items() if key not in _OURS})


def _count(service: ServiceOf, answer: ChatAnswer) -> None:
    trace, metrics = answer.trace, service.metrics
    outcome = "personalised" if trace.personalised else "degraded" if trace.degraded else "generic"
    metrics.answers.labels(trace.model, outcome).inc()
    # A step that was not needed took no time, and is not counted.
    for histogram, seconds in (
        (metrics.base_seconds, trace.base_seconds),
        (metrics.rewrite_seconds, trace.rewrite_seconds),
    ):
        if seconds:
            histogram.observe(seconds)


def _completion(answer: ChatAnswer, facts: dict[str, Any]) -> dict[str, Any]:
    sent = answer.answer
    own = {"index": 0, "message": sent.message, "finish_reason": sent.finish_reason}
    return {
        **head(sent, "chat.completion"),
        "model": answer.trace.model,
        "choices": [{"logprobs": None, **sent.choice, **own}],
        "usage": sent.usage or None,
        "personakit": facts,
    }


async def _events(answer: ChatAnswer, facts: dict[str, Any], *, usage: bool) -> AsyncIterator[str]:
    """Yield the answer a few words at a time, as server-sent events."""
    sent = answer.answer
    first = {**head(sent, "chat.completion.chunk"), "model": answer.trace.model}

    def event(delta: dict[str, Any], finish: str | None = None, **fields: Any) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return f"data: {json.dumps({**first, 'choices': [choice], **fields})}\n\n"

    message = dict(sent.message)
    text = message.pop("content", None)
    calls = [{"index": number, **call} for number, call in enumerate(message.pop("tool_calls", None) or [])]
    yield event({**message, "role": "assistant", "content": "", **({"tool_calls": calls} if calls else {})})
    for piece in _PIECE.findall(text or ""):
        yield event({"content": piece})
    yield event({}, sent.finish_reason, personakit=facts)
    if usage:
        yield f"data: {json.dumps({**first, 'choices': [], 'usage': sent.usage})}\n\n"
    yield "data: [DONE]\n\n"
