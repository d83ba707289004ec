"""The interface of base models, behind HTTP (`http_base.py`) or local (`local_base.py`)."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Chat:
    """A request: messages and sampling options as OpenAI names them."""

    messages: Sequence[Mapping[str, Any]]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BaseAnswer:
    """The base model's answer: a message of the assistant as OpenAI shapes it.

    `text` is its text without reasoning; None if there is nothing to rewrite: a tool call, or a refusal
    (`refused` is then the reason). `ignored` are options that this base model does not support, and
    `prompt_cut` the tokens of the conversation that exceed its context window. `choice` and `document` are
    the other fields of OpenAI's choice (`logprobs`) and completion (`system_fingerprint`, `service_tier`).
    """

    message: Mapping[str, Any]
    text: str | None
    finish_reason: str = "stop"
    usage: Mapping[str, Any] = field(default_factory=dict)
    refused: str | None = None
    ignored: tuple[str, ...] = ()
    prompt_cut: int = 0
    choice: Mapping[str, Any] = field(default_factory=dict)
    document: Mapping[str, Any] = field(default_factory=dict)


class BaseModelClient(Protocol):
    """A base model. `name` is the name by which clients ask for the bare model."""

    name: str

    async def draft(self, chat: Chat) -> BaseAnswer:
        """Answer a request; raises `ApiError`."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...


@runtime_checkable
class StreamingBase(BaseModelClient, Protocol):
    """A base model that streams its answers as it generates them."""

    def stream(self, chat: Chat) -> AsyncIterator[dict[str, Any]]:
        """Yield the chunks of an answer as OpenAI shapes them; raises `ApiError`."""
        ...


def as_chunk(answer: BaseAnswer) -> dict[str, Any]:
    """Return an answer as the only chunk of a stream, without `model`."""
    delta = dict(answer.message)
    if calls := delta.get("tool_calls"):
        delta["tool_calls"] = [{"index": number, **call} for number, call in enumerate(calls)]
    choice = {**answer.choice, "index": 0, "delta": delta, "finish_reason": answer.finish_reason}
    return {**head(answer, "chat.completion.chunk"), "choices": [choice], "usage": answer.usage or None}


def head(answer: BaseAnswer, kind: str) -> dict[str, Any]:
    """Return the first fields of a completion, or of a chunk of it, without `model`."""
    first = {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time())}
    return {**first, **answer.document}


def text_of(content: Any) -> str | None:
    """Return the text of a message's content: a string, or a list of parts; None if a part is no text."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    texts = [part.get("text") for part in content]
    return None if any(not isinstance(text, str) for text in texts) else "\n".join(texts)
