"""The options of a request that a server may reject, and what it has rejected so far.

OpenAI's reasoning models reject temperatures other than 1 and `max_tokens`; some servers reject `seed`. Two
options ask a model not to reason: `chat_template_kwargs` (vLLM, SGLang, llama.cpp) and `reasoning_effort`
(OpenAI, Ollama, OpenRouter, Groq, Gemini). Where "none" is no allowed effort, the lowest allowed is sent.
"""

from __future__ import annotations

import itertools
import logging
import re
import threading
from typing import Any
from urllib.parse import urlsplit

from personakit.models.reasoning import NO_THINKING
from personakit.models.refusal import REFUSED_CODES
from personakit.models.replies import Reply

_REASONING = ("chat_template_kwargs", "reasoning_effort")
#: How servers name an option in a message.
_NAMES = {
    "max_tokens": r"max_completion_tokens",
    "temperature": r"temperature",
    "seed": r"seed",
    "chat_template_kwargs": r"chat_template_kwargs|enable_thinking",
    "reasoning_effort": r"reasoning(_effort)?|think(ing)?",
}
# A complaint about the size of max_tokens, which another name would not help.
_SIZE = re.compile(r"too large|context|exceed|at most|at least|maximum", re.IGNORECASE)

_log = logging.getLogger(__name__)


class RequestOptions:
    """The options for one model of one server."""

    def __init__(self, model: str, url: str, address: str) -> None:
        """`address` is the URL as shown in warnings."""
        self._model, self._address = model, address
        self._lock = threading.Lock()
        self._rejected: set[str] = set()
        if urlsplit(url).hostname == "api.openai.com":
            self._rejected.add("chat_template_kwargs")
        self._effort = "none"
        self._accepted = False

    @property
    def rejects_temperature(self) -> bool:
        """Whether answers are sampled at the server's temperature, whatever was asked for."""
        return "temperature" in self._rejected

    def body(self, required: dict[str, Any], **asked: Any) -> dict[str, Any]:
        """Return the body of a request: `required`, and the options that the server does not reject."""
        options = asked | {"chat_template_kwargs": NO_THINKING, "reasoning_effort": self._effort}
        body = required | {name: value for name, value in options.items() if name not in self._rejected}
        if "max_tokens" in self._rejected:
            body["max_completion_tokens"] = asked["max_tokens"]
        return body

    def accept(self) -> None:
        """Note that the server has answered a request with the current options."""
        self._accepted = True

    def learn(self, reply: Reply, body: dict[str, Any]) -> bool:
        """Return whether `reply` rejects an option of `body`; it is omitted or changed from then on."""
        rejected = [name for name in _NAMES if name in body and self._is_rejected(name, reply, body)]
        for name in rejected:
            with self._lock:
                lowest = self._lowest_effort(reply) if name == "reasoning_effort" else None
                if lowest is not None and body[name] == "none":
                    self._effort = lowest
                else:
                    self._reject(name)
        return bool(rejected)

    def without_reasoning(self, reply: Reply, body: dict[str, Any]) -> dict[str, Any] | None:
        """Return `body` without the options about reasoning, if they may be why it fails, else None.

        That is where the error names no field, and the server has not answered a request with them.
        """
        named = reply.param or reply.locations or reply.code in REFUSED_CODES
        if self._accepted or named or not any(name in body for name in _REASONING):
            return None
        return {name: value for name, value in body.items() if name not in _REASONING}

    def reject_reasoning(self) -> None:
        """Omit the options about reasoning from then on."""
        with self._lock:
            for name in _REASONING:
                self._reject(name)

    def _reject(self, name: str) -> None:
        if name not in self._rejected and name != "max_tokens":  # that one has a successor
            message = 'endpoint %s rejects the option "%s" for "%s": continuing without it'
            _log.warning(message, self._address, name, self._model)
        self._rejected.add(name)

    def _is_rejected(self, name: str, reply: Reply, body: dict[str, Any]) -> bool:
        if name == "max_tokens" and _SIZE.search(reply.message):
            return False
        places = [reply.param] if reply.param else reply.locations
        if places:
            return any(re.split(r"[.\[]", place)[0] == name for place in places)
        own_words = f"{body['messages'][0]['content']} {body['model']}"
        return _says(_NAMES[name], reply.message, own_words)

    def _lowest_effort(self, reply: Reply) -> str | None:
        return next((each for each in ("minimal", "low") if re.search(rf"\b{each}\b", reply.message)), None)


def _says(pattern: str, message: str, request: str) -> bool:
    """Return whether `message` contains a word that matches, and not in a quote from the request.

    A word is quoted if it has one of its neighbours in the request, too.
    """
    asked, said = _words(request), _words(message)
    quotes = set(itertools.pairwise(asked))
    pairs = [None, *itertools.pairwise(said), None]
    return any(
        re.fullmatch(pattern, word) and not quotes & {pairs[place], pairs[place + 1]}
        for place, word in enumerate(said)
    )


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
