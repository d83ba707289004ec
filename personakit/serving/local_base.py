"""A local base model, asked in batches (`Batcher`)."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from personakit.contracts import LanguageModel
from personakit.models.conversation import Conversation
from personakit.models.refusal import Cut, no_answer_reason
from personakit.models.turns import without_special_tokens
from personakit.models.windows import prompt_limit, unread_tokens
from personakit.serving.base import BaseAnswer, Chat, text_of
from personakit.serving.batching import Batcher, BusyError
from personakit.serving.errors import ApiError

_DEFAULT_TOKENS = 512
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_USED = frozenset({"max_tokens", "max_completion_tokens", "temperature", "seed", "stop", "n"})
#: Options whose absence would change the kind of the answer, not only its wording.
_NEEDED = ("tools", "functions", "logprobs", "response_format", "audio")


class LocalBase:
    """A `LanguageModel` in this process. Greedy unless the request has a temperature.

    It has `max_tokens`, `temperature`, `seed` and `stop`; other options are ignored and named in the trace.
    """

    def __init__(self, name: str, model: LanguageModel, batcher: Batcher) -> None:
        """`name` is shown to clients."""
        self.name = name
        self._model = model
        self._batcher = batcher

    async def draft(self, chat: Chat) -> BaseAnswer:
        """Answer a request; raises `ApiError` for messages and options that the model cannot have."""
        options = {name: value for name, value in chat.options.items() if value is not None}
        for name in _NEEDED:
            if options.get(name) not in (None, False, [], {}, {"type": "text"}):
                raise ApiError(400, f"the base model {self.name} has no {name}", param=name)
        conversation = self._conversation(chat.messages)
        tokens = int(options.get("max_completion_tokens") or options.get("max_tokens") or _DEFAULT_TOKENS)
        window = getattr(self._model, "context_window", None)
        tokens = min(tokens, window // 2) if window else tokens
        temperature = float(options.get("temperature", 0.0))
        seed = options.get("seed")
        key = (id(self), tokens, temperature, seed)
        try:
            generate = partial(self._generate, tokens, temperature, seed)
            [answer] = await self._batcher.run(key, generate, conversation)
        except BusyError as error:
            raise ApiError(
                503, "too many requests wait for the base model", headers={"Retry-After": "5"}
            ) from error
        if (reason := no_answer_reason(answer)) is not None:
            raise ApiError(502, f"the base model gave no answer: {reason}")
        text, stopped = _until(str(answer), options.get("stop"))
        count = self._model.count_tokens
        usage = {"prompt_tokens": count(conversation), "completion_tokens": count(text)}
        limit = prompt_limit(self._model, tokens)
        return BaseAnswer(
            {"role": "assistant", "content": text},
            text,
            "length" if isinstance(answer, Cut) and not stopped else "stop",
            {**usage, "total_tokens": sum(usage.values())},
            ignored=tuple(sorted(name for name in options if name not in _USED)),
            prompt_cut=unread_tokens(usage["prompt_tokens"], limit),
        )

    async def close(self) -> None:
        """Nothing is to be released."""

    def _generate(
        self, tokens: int, temperature: float, seed: int | None, prompts: list[Conversation]
    ) -> Sequence[list[str]]:
        seed = random.getrandbits(31) if seed is None else seed
        return self._model.generate(prompts, max_new_tokens=tokens, temperature=temperature, seed=seed)

    def _conversation(self, messages: Sequence[Mapping[str, Any]]) -> Conversation:
        read = []
        for number, message in enumerate(messages):
            role, text = _ROLES.get(message["role"]), text_of(message.get("content"))
            if role is None or text is None:
                raise ApiError(
                    400,
                    f"messages.{number}: the base model {self.name} reads text of the roles system, user and "
                    "assistant only",
                    param="messages",
                )
            read.append({"role": role, "content": plain_text(self._model, text)})
        return Conversation(read)


def plain_text(model: LanguageModel | None, text: str) -> str:
    """Return `text` without special tokens of `model`, which could end a message and begin another one."""
    tokenizer = getattr(model, "tokenizer", None)
    return text if tokenizer is None else without_special_tokens(tokenizer, text)


def _until(text: str, stop: str | Sequence[str] | None) -> tuple[str, bool]:
    """Return `text` up to the first of the `stop` strings, and whether there was one."""
    ends = [stop] if isinstance(stop, str) else list(stop or ())
    found = min((text.find(end) for end in ends if end and end in text), default=-1)
    return (text, False) if found < 0 else (text[:found], True)
