"""Reads the replies of OpenAI-compatible servers: errors, also in a reply with status 200, and answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from personakit.models.reasoning import content_text, remove_reasoning
from personakit.models.refusal import Cut, Refusal, out_of_tokens, read_refusal
from personakit.models.retries import EmptyReplyError

#: Statuses of errors that a server names in words; an error that names nothing known counts as 500.
_NAMED = {
    "rate_limit": 429,
    "ratelimit": 429,
    "quota": 429,
    "overloaded": 529,
    "authentication": 401,
    "invalid_api_key": 401,
    "permission": 403,
    "not_found": 404,
    "content_filter": 400,
    "content_policy_violation": 400,
    "context_length": 400,
    "invalid": 400,
    "unsupported": 400,
}
#: Attempts of a request that gets no answer, and of one whose reasoning fills the token limit: it is paid
#: for, and rarely ends otherwise.
_ATTEMPTS_EMPTY, _ATTEMPTS_OUT_OF_TOKENS = 3, 2
_MAX_MESSAGE = 200  # characters of a server's message
# A quota that is used up, or that is only refilled tomorrow (OpenAI, OpenRouter).
_QUOTA = re.compile(r"insufficient_quota|per[- ]day|daily", re.IGNORECASE)


class Reply:
    """One reply: its status, or that of the error in its body; `document` is None if it is not JSON.

    `message`, `code` and `param` are those of the error; `locations` the fields of the request that pydantic
    complains about.
    """

    def __init__(self, status: int, headers: Mapping[str, str], text: str) -> None:
        self.status, self.headers, self.text = status, headers, text
        try:
            self.document = _parse(self.text)
        except ValueError:
            self.document = None
        error = error_in(self.document)
        if self.status == 200 and error:  # whatever text came before it is a part of an answer
            self.status = _status_of(error)
        fields = error if isinstance(error, dict) else {}
        self.message = error_message(error, self.text)
        self.code = fields.get("code") if isinstance(fields.get("code"), str) else None
        self.param = fields.get("param") if isinstance(fields.get("param"), str) else None
        details = self.document.get("detail") if isinstance(self.document, dict) else None
        self.locations = [
            str(each["loc"][1])
            for each in (details if isinstance(details, list) else [])
            if isinstance(each, dict) and isinstance(each.get("loc"), list) and len(each["loc"]) > 1
        ]

    @property
    def quota_exhausted(self) -> bool:
        """Whether no retry of this evaluation can help; a server that says when to retry knows better."""
        return "Retry-After" not in self.headers and _QUOTA.search(self.text) is not None


def read_answer(document: Any, max_new_tokens: int) -> str:
    """Return the answer of a chat completion: a text, a `Cut` one, or a `Refusal`.

    Reasoning is removed. Raises `EmptyReplyError` if no answer is left, and `LookupError`, `TypeError` or
    `AttributeError` if the document is no chat completion.
    """
    choices = document["choices"]
    if choices == []:
        raise EmptyReplyError("the reply has no choices", attempts=_ATTEMPTS_EMPTY)
    choice = choices[0]
    reason = read_refusal(choice)
    finish = str(choice.get("finish_reason")).lower()
    out_of_room = finish in ("length", "max_tokens")
    message = choice["message"]
    # Unpaired surrogates can be sent but not stored.
    text = content_text(message.get("content")).encode("utf-8", "replace").decode()
    answer = remove_reasoning(text)
    if reason is not None:
        return Refusal(answer or "", reason)
    if finish == "error":
        raise EmptyReplyError("the server ended its reply with an error", attempts=_ATTEMPTS_EMPTY)
    if answer and answer.strip():
        return Cut(answer) if out_of_room else answer
    if out_of_room:
        raise EmptyReplyError(out_of_tokens(max_new_tokens).reason, attempts=_ATTEMPTS_OUT_OF_TOKENS)
    if finish == "load":  # Ollama
        raise EmptyReplyError("the server is still loading the model")
    if answer is None:
        why = "its reasoning does not end"
    else:
        reasoned = text.strip() or _reasoning_of(message)
        why = "it reasoned and gave no answer" if reasoned else "it gave no text"
    raise EmptyReplyError(why, attempts=_ATTEMPTS_EMPTY)


def _reasoning_of(message: Any) -> Any:
    return message.get("reasoning_content") or message.get("reasoning")


def _parse(text: str) -> Any:
    """Parse JSON, or the events of a server that streams although it was not asked to."""
    if not text.lstrip().startswith(("data:", "event:", ":")):
        return json.loads(text)
    message: dict[str, Any] = {"content": ""}
    finish = None
    for event in _events(text):
        if error_in(event):
            return event
        if not event.get("choices"):
            continue
        choice = event["choices"][0]
        delta = choice.get("delta") or choice.get("message") or {}
        message["content"] += content_text(delta.get("content"))
        for field in ("refusal", "reasoning", "reasoning_content"):
            if isinstance(delta.get(field), str):
                message[field] = message.get(field, "") + delta[field]
        finish = choice.get("finish_reason") or finish
    if finish is None and "[DONE]" not in text:
        finish = "error"  # the stream broke off
    return {"choices": [{"message": message, "finish_reason": finish}]}


def _events(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == "data" and value.strip() not in ("", "[DONE]"):
            event = json.loads(value)
            if isinstance(event, dict):
                yield event


def error_in(document: Any) -> Any:
    """Return the error of a document: at its top, flat (vLLM), in a list (Gemini), in its choice."""
    if isinstance(document, list) and document:
        document = document[0]
    if not isinstance(document, dict):
        return None
    if document.get("object") == "error":
        return document
    choices = document.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return document.get("error") or (first.get("error") if isinstance(first, dict) else None)


def error_message(error: Any, text: str) -> str:
    """Return the message of an error (`error_in`) on one line; that of a reply's `text` if it has none."""
    fields = error if isinstance(error, dict) else {}
    message = fields.get("message") or (error if isinstance(error, str) else text)
    return " ".join(str(message).split())


def message_without_key(message: str, key: str | None) -> str:
    """Return the beginning of a server's message for display, without the API key."""
    return (message.replace(key, "[key]") if key else message)[:_MAX_MESSAGE]


def _status_of(error: Any) -> int:
    fields = error if isinstance(error, dict) else {}
    for code in (fields.get("code"), fields.get("status"), fields.get("type")):
        if str(code).isdecimal() and 400 <= int(str(code)) < 600:
            return int(str(code))
        for name, status in _NAMED.items():
            if name in str(code).lower():
                return status
    return 500
