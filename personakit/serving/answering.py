"""Answers a request: the base model's draft, then its rewrite for the user.

1. The base model answers the whole conversation with the request's options. No text of the user's history is
   in what it is asked.
2. The run rewrites the draft with the user's items, within `rewrite_seconds` of the draft. If that fails, or
   takes longer, the draft is the answer, marked as degraded.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from personakit.records import Answer
from personakit.serving.base import BaseAnswer, BaseModelClient, Chat, text_of
from personakit.serving.batching import Batcher, BusyError
from personakit.serving.errors import ApiError
from personakit.serving.rewriters import RewriteRequest, ServedRun
from personakit.serving.store import StoredEntry, TenantStore

OFF = "switched off"


@dataclass(slots=True)
class Trace:
    """What was used for an answer. It has no text of the user."""

    model: str
    base: str
    personalised: bool = False
    items: list[int] = field(default_factory=list)
    """Numbers of the user's items in the rewriter's prompt, best first."""
    reason: str | None = None
    """Why the answer is not personalised although nothing failed."""
    degraded: str | None = None
    """Why the answer is the base model's: what failed."""
    ignored: list[str] = field(default_factory=list)
    """Options of the request that the base model does not have."""
    unusable_items: int = 0
    """Items that lack the fields which the run reads."""
    prompt_cut: int = 0
    """Tokens that were not read because they exceed the context windows of base model and rewriter."""
    rewriter_tokens: int = 0
    base_seconds: float = 0.0
    rewrite_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """The answer's text (None: the draft's message is the answer as it is), the draft, and the trace."""

    text: str | None
    draft: BaseAnswer
    trace: Trace


@dataclass(frozen=True)
class Answering:
    """The models of one service. `on_failure` is called with an error that degraded an answer."""

    base: BaseModelClient
    runs: Mapping[str, ServedRun]
    batcher: Batcher
    rewrite_seconds: float
    on_failure: Callable[[BaseException], None] = lambda error: None

    def names(self) -> list[str]:
        """Return the names of all models, the bare base last."""
        return [*self.runs, self.base.name]

    def check(self, model: str) -> None:
        """Raise `ApiError` if there is no such model."""
        if model not in self.runs and model != self.base.name:
            raise ApiError(
                404,
                f"there is no model {model[:80]!r}, expected one of {', '.join(self.names())}",
                code="model_not_found",
                param="model",
            )

    def clear_caches(self) -> None:
        """Remove what the runs' indexes keep in memory of users' texts."""
        for run in self.runs.values():
            run.clear_caches()

    async def close(self) -> None:
        """Release the base model's connections and end the thread of local models."""
        await self.base.close()
        await asyncio.to_thread(self.batcher.close)

    async def answer(
        self, model: str, chat: Chat, users: TenantStore, user: str | None, *, personalise: bool = True
    ) -> ChatAnswer:
        """Answer a request of a tenant's user (None: nobody in particular)."""
        self.check(model)
        run, trace = self.runs.get(model), Trace(model, self.base.name)
        started = time.monotonic()
        draft = await self.base.draft(chat)
        trace.base_seconds, trace.ignored = round(time.monotonic() - started, 4), list(draft.ignored)
        trace.prompt_cut = draft.prompt_cut
        trace.reason = _why_not(run, chat, draft, user, personalise=personalise)
        if trace.reason is not None or run is None or user is None:
            return ChatAnswer(None, draft, trace)
        started = time.monotonic()
        text = None
        try:
            text = await self._rewritten(run, chat, draft, users, user, trace)
        except TimeoutError:
            trace.degraded = f"the rewrite took longer than {self.rewrite_seconds:g} seconds"
        except BusyError:
            trace.degraded = "too many requests wait for the rewriter"
        except SQLAlchemyError as error:
            self.on_failure(error)
            trace.degraded = "the profile store cannot be reached"
        except Exception as error:  # noqa: BLE001 - the draft is an answer
            self.on_failure(error)
            trace.degraded = f"the rewriter failed ({type(error).__name__})"
        trace.rewrite_seconds = round(time.monotonic() - started, 4)
        return ChatAnswer(text, draft, trace)

    async def _rewritten(
        self, run: ServedRun, chat: Chat, draft: BaseAnswer, users: TenantStore, user: str, trace: Trace
    ) -> str | None:
        """Return the rewrite, None if there is none; note in the trace why, and what was used."""
        async with asyncio.timeout(self.rewrite_seconds):
            items, settings = await asyncio.to_thread(users.profile, user)
            usable = run.usable(items)
            trace.unusable_items = len(items) - len(usable)
            if settings.get("personalise") is False:
                trace.reason = OFF
            elif not usable:
                trace.reason = "no history"
            if trace.reason is not None:
                return None
            request = RewriteRequest(user, _last_of_user(chat), draft.text or "", usable)
            answer = await self.batcher.run(("rewrite", run.name), run.respond, request)
        return _read(answer, usable, trace)


def _why_not(
    run: ServedRun | None, chat: Chat, draft: BaseAnswer, user: str | None, *, personalise: bool
) -> str | None:
    """Return why a draft is not rewritten; None if it is."""
    form = chat.options.get("response_format") or {}
    for applies, reason in (
        (run is None, "the bare base model"),
        (not personalise, OFF),
        (user is None, "no user"),
        (draft.refused is not None, "the base model refused"),
        (draft.text is None, "the answer is no text"),
        (not (draft.text or "").strip(), "the answer is empty"),
        (form.get("type", "text") != "text", "the request fixes the form of the answer"),
    ):
        if applies:
            return reason
    return None


def _read(answer: Answer, items: tuple[StoredEntry, ...], trace: Trace) -> str | None:
    """Return the text of an answer, None if the draft is better; note in the trace what was used."""
    trace.rewriter_tokens = answer.tokens
    trace.prompt_cut += answer.prompt_cut
    if answer.error is not None or answer.degraded is not None or answer.refused is not None:
        trace.degraded = answer.error or answer.degraded or "the rewriter refused"
    elif answer.cut:
        trace.degraded = "the rewrite was cut by its token limit"
    elif not answer.text.strip():
        trace.degraded = "the rewrite is empty"
    if trace.degraded is not None:
        return None
    known = {str(item.number): item.number for item in items}
    trace.items = [known[item.id] for item in answer.context.items if item.id in known]
    trace.personalised = True
    return answer.text


def _last_of_user(chat: Chat) -> str:
    texts: list[Any] = [text_of(each.get("content")) for each in chat.messages if each["role"] == "user"]
    return next((text for text in reversed(texts) if text), "")
