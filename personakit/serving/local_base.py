"""A local base model, called in batches (`Batcher`)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from personakit.contracts import LanguageModel
from personakit.models.conversation import Conversation
from personakit.models.refusal import Cut, NoAnswer, no_answer_reason
from personakit.models.tokens import encode_prompts
from personakit.models.turns import without_special_tokens
from personakit.models.windows import unread_tokens
from personakit.serving import BASE_SECONDS, MAX_TOKENS
from personakit.serving.base import BaseAnswer, Chat, text_of
from personakit.serving.batching import Batcher, BusyError, EndedError
from personakit.serving.errors import ApiError

_DEFAULT_TOKENS = 512
#: A conversation: no context window of a local model holds more, and all requests wait while it is read.
_MOST_CHARACTERS = 200_000
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_USED = frozenset({"max_tokens", "max_completion_tokens", "temperature", "seed", "stop"})
#: Options whose absence would change the kind of the answer, not only its wording.
_NEEDED = ("tools", "functions", "logprobs", "response_format", "audio")
#: Ignored options are named in a header: at most so many, and so much of a name.
_NAMED, _LONGEST_NAME = 20, 40


@dataclass(frozen=True, slots=True)
class _Limits:
    """What requests of one batch have in common."""

    tokens: int
    temperature: float
    seed: int | None


@dataclass(frozen=True, slots=True)
class _Asked:
    """One request of a batch: its messages and the strings at which its answer ends."""

    messages: Sequence[Mapping[str, str]]
    stop: str | Sequence[str] | None


class LocalBase:
    """A `LanguageModel` in this process. Greedy unless the request has a temperature.

    It supports `max_tokens`, `temperature`, `seed` and `stop`; the trace names the options that are ignored.
    """

    def __init__(
        self,
        name: str,
        model: LanguageModel,
        batcher: Batcher,
        *,
        seconds: float = BASE_SECONDS,
        max_tokens: int = MAX_TOKENS,
    ) -> None:
        """`name` is shown to clients. A request fails after `seconds`; an answer has at most `max_tokens`."""
        self.name = name
        self._model = model
        self._batcher = batcher
        self._seconds = seconds
        self._window: int | None = getattr(model, "context_window", None)
        self._max_tokens = min(max_tokens, self._window // 2) if self._window else max_tokens

    async def draft(self, chat: Chat) -> BaseAnswer:
        """Answer a request; raises `ApiError` for messages and options that the model does not support."""
        options = {name: value for name, value in chat.options.items() if value is not None}
        for name in _NEEDED:
            if options.get(name) not in (None, False, [], {}, {"type": "text"}):
                raise ApiError(400, f"the base model {self.name} does not support {name}", param=name)
        asked = _Asked(self._messages(chat.messages), options.get("stop"))
        tokens = int(options.get("max_completion_tokens") or options.get("max_tokens") or _DEFAULT_TOKENS)
        temperature = float(options.get("temperature", 0.0))
        limits = _Limits(min(tokens, self._max_tokens), temperature, options.get("seed"))
        try:
            async with asyncio.timeout(self._seconds):
                generate = partial(self._generate, limits)
                answer = await self._batcher.run((id(self), limits), generate, asked)
        except TimeoutError as error:
            raise ApiError(504, f"the base model gave no answer within {self._seconds:g} seconds") from error
        except BusyError as error:
            raise ApiError(503, "too many requests wait for the base model") from error
        except EndedError as error:
            raise ApiError(503, "the service is about to end") from error
        if isinstance(answer, NoAnswer):
            raise ApiError(502, f"the base model gave no answer: {answer.reason}")
        ignored = sorted(name[:_LONGEST_NAME] for name in options if name not in _USED)
        return replace(answer, ignored=tuple(ignored[:_NAMED]))

    async def close(self) -> None:
        """Nothing is to be released."""

    def _generate(self, limits: _Limits, batch: list[_Asked]) -> list[BaseAnswer | NoAnswer]:
        """Answer a batch, on the thread of the local models: reading a long text takes time, too."""
        prompts = [
            Conversation(
                [{**each, "content": plain_text(self._model, each["content"])} for each in asked.messages]
            )
            for asked in batch
        ]
        seed = random.getrandbits(31) if limits.seed is None else limits.seed
        written = self._model.generate(
            prompts, max_new_tokens=limits.tokens, temperature=limits.temperature, seed=seed
        )
        return [
            self._read(asked, prompt, answer, limits)
            for asked, prompt, [answer] in zip(batch, prompts, written, strict=True)
        ]

    def _read(
        self, asked: _Asked, prompt: Conversation, answer: str, limits: _Limits
    ) -> BaseAnswer | NoAnswer:
        if (reason := no_answer_reason(answer)) is not None:
            return NoAnswer(reason)
        text, stopped = _until(str(answer), asked.stop)
        tokenizer = getattr(self._model, "tokenizer", None)
        count = self._model.count_tokens
        asked_tokens = count(prompt) if tokenizer is None else len(encode_prompts(tokenizer, [prompt])[0])
        usage = {"prompt_tokens": asked_tokens, "completion_tokens": count(text)}
        return BaseAnswer(
            {"role": "assistant", "content": text},
            text,
            "length" if isinstance(answer, Cut) and not stopped else "stop",
            {**usage, "total_tokens": sum(usage.values())},
            prompt_cut=unread_tokens(asked_tokens, self._window and self._window - limits.tokens),
        )

    def _messages(self, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
        read = []
        for number, message in enumerate(messages):
            role, text = _ROLES.get(message["role"]), text_of(message.get("content"))
            if role is None or text is None or (role == "user" and message.get("content") is None):
                raise ApiError(
                    400,
                    f"messages.{number}: the base model {self.name} reads text of the roles system, user and "
                    "assistant only",
                    param="messages",
                )
            read.append({"role": role, "content": text})
        characters = sum(len(each["content"]) for each in read)
        if characters > _MOST_CHARACTERS:
            raise ApiError(
                400,
                f"the conversation has {characters} characters, expected at most {_MOST_CHARACTERS}",
                code="context_length_exceeded",
                param="messages",
            )
        return read


def plain_text(model: LanguageModel, text: str) -> str:
    """Return `text` without special tokens of `model`, which could end a message and begin another one."""
    tokenizer = getattr(model, "tokenizer", None)
    return text if tokenizer is None else without_special_tokens(tokenizer, text)


def _until(text: str, stop: str | Sequence[str] | None) -> tuple[str, bool]:
    """Return `text` up to the first of the `stop` strings, and whether there was one."""
    ends = [stop] if isinstance(stop, str) else list(stop or ())
    found = min((text.find(end) for end in ends if end and end in text), default=-1)
    return (text, False) if found < 0 else (text[:found], True)
