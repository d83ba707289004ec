"""Answers a request for a user.

With a run that rewrites (RPO), the base model answers the whole conversation with the request's options and
sees nothing of the user's history; the run then rewrites this draft with the user's items.
With a run that summarises (POPI), the answer is written from the user's summary.

Both have `rewrite_seconds`. If they fail or take longer, the base model's answer is sent, marked as degraded.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import SQLAlchemyError

from personakit.records import Answer
from personakit.rpo.light_edits import LEFT_OUT, REWRITE
from personakit.serving.base import BaseAnswer, BaseModelClient, Chat, text_of
from personakit.serving.batching import Batcher, BusyError
from personakit.serving.errors import ApiError
from personakit.serving.logs import described, log
from personakit.serving.rewriters import RewriteRequest, RewritingRun
from personakit.serving.runs import ServedRun
from personakit.serving.store import (
    OtherMasterKeyError,
    StoreBusyError,
    StoredItem,
    StoredProfile,
    TenantStore,
    UnknownError,
)
from personakit.serving.summaries import SummaryRun

OFF, NO_HISTORY, UNKNOWN_USER = "switched off", "no history", "unknown user"


@dataclass(slots=True)
class Trace:
    """What was used for an answer. It has no text of the user, except `left_out`."""

    model: str
    base: str
    personalised: bool = False
    items: list[int] = field(default_factory=list)
    """Numbers of the user's items in the rewriter's prompt, best first."""
    reason: str | None = None
    """Why the answer is not personalised although nothing failed."""
    degraded: str | None = None
    """Why the answer is the base model's: what failed."""
    left_out: str | None = None
    """What the rewrite lost or invented, which is undone. It quotes text: only the reply's body has it."""
    summary: str | None = None
    """Where the user's summary is from: stored, inferred for this answer, or edited by the user."""
    ignored: list[str] = field(default_factory=list)
    """Options of the request that the base model does not have."""
    unusable_items: int = 0
    """Items that lack the fields which the run reads."""
    prompt_cut: int = 0
    """Tokens that were not read because they exceed the context windows of base model and rewriter."""
    rewriter_tokens: int = 0
    base_seconds: float = 0.0
    """Of the base model's own answer, or until the first chunk of its stream."""
    rewrite_seconds: float = 0.0
    """Of the rewrite, or of summary and answer."""


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """An answer, the text of the base model's own answer if it was called for one, and the trace."""

    answer: BaseAnswer
    generic: str | None
    trace: Trace


@dataclass(frozen=True, slots=True)
class Request:
    """A request of a tenant's user; `reading` resolves to the user's profile, `draft` is None for POPI."""

    users: TenantStore
    user: str
    chat: Chat
    draft: BaseAnswer | None
    reading: asyncio.Future[StoredProfile]


@dataclass(frozen=True)
class Answering:
    """The models of one service."""

    base: BaseModelClient
    runs: Mapping[str, ServedRun]
    batcher: Batcher
    rewrite_seconds: float

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

    def check_summarised(self, model: str) -> None:
        """Raise `ApiError` if there is no such run, or if it reads no summaries."""
        self.check(model)
        if not isinstance(self.runs.get(model), SummaryRun):
            raise ApiError(404, f"{model} reads no summaries", code="model_not_found", param="model")

    def clear_caches(self) -> None:
        """Remove what the runs' indexes keep in memory of users' texts."""
        for run in self.runs.values():
            if isinstance(run, RewritingRun):
                run.clear_caches()

    async def close(self) -> None:
        """Release the base model's connections and end the thread of local models."""
        await self.base.close()
        await asyncio.to_thread(self.batcher.close)

    def why_not(self, model: str, user: str | None, *, personalise: bool) -> str | None:
        """Return why an answer is not personalised whatever the user's profile holds; None if it may be.

        Raises `ApiError` if there is no such model.
        """
        self.check(model)
        if model not in self.runs:
            return "the bare base model"
        if not personalise:
            return OFF
        return "no user" if user is None else None

    async def answer(
        self,
        model: str,
        chat: Chat,
        users: TenantStore,
        user: str | None,
        *,
        personalise: bool = True,
        generic: bool = False,
    ) -> ChatAnswer:
        """Answer a request of a tenant's user (None: no user).

        With `generic`, the base model's own answer is returned, too. Raises `ApiError`.
        """
        run, trace = self.runs.get(model), Trace(model, self.base.name)
        trace.reason = self.why_not(model, user, personalise=personalise)
        draft = answer = reading = None
        if run is not None and user is not None and trace.reason is None:
            summary_of = run.name if isinstance(run, SummaryRun) else None
            reading = _read_ahead(partial(users.profile, user, summary_of=summary_of))
        if generic or trace.reason is not None or isinstance(run, RewritingRun):
            draft = await self._draft(chat, trace)
        if draft is not None and isinstance(run, RewritingRun):
            trace.reason = trace.reason or _why_not_rewritten(chat, draft)
        if run is not None and user is not None and reading is not None and trace.reason is None:
            answer = await self._personalised(run, Request(users, user, chat, draft, reading), trace)
        if answer is None and draft is None:
            draft = await self._draft(chat, trace)
        sent = answer or draft
        assert sent is not None
        return ChatAnswer(sent, None if draft is None else draft.text, trace)

    async def _draft(self, chat: Chat, trace: Trace) -> BaseAnswer:
        started = time.monotonic()
        draft = await self.base.draft(chat)
        trace.base_seconds = round(time.monotonic() - started, 4)
        trace.ignored, trace.prompt_cut = list(draft.ignored), draft.prompt_cut
        return draft

    async def _personalised(self, run: ServedRun, asked: Request, trace: Trace) -> BaseAnswer | None:
        """Return the user's own answer, None if there is none; note in the trace why, and what was used."""
        started = time.monotonic()
        answer = None
        try:
            if isinstance(run, SummaryRun):
                answer = await self._from_summary(run, asked, trace)
            elif asked.draft is not None:
                answer = await self._rewritten(run, asked, asked.draft, trace)
        except TimeoutError:
            trace.degraded = f"the {run.step} took longer than {self.rewrite_seconds:g} seconds"
        except BusyError:
            trace.degraded = f"too many requests wait for the {run.step}"
        except ApiError:  # the base model's own
            raise
        except UnknownError:  # the user was forgotten while the summary was inferred
            trace.reason = UNKNOWN_USER
        except Exception as error:  # noqa: BLE001 - the draft is an answer
            log.error("answer degraded", extra={"facts": {"step": run.step, "error": described(error)}})
            trace.degraded = (
                "the profile store cannot be reached"
                if isinstance(error, SQLAlchemyError)
                else error.message
                if isinstance(error, OtherMasterKeyError | StoreBusyError)
                else f"the {run.step} failed ({type(error).__name__})"
            )
        trace.rewrite_seconds = round(time.monotonic() - started, 4)
        return answer

    async def _rewritten(
        self, run: RewritingRun, asked: Request, draft: BaseAnswer, trace: Trace
    ) -> BaseAnswer | None:
        async with asyncio.timeout(self.rewrite_seconds):
            profile = await asyncio.shield(asked.reading)
            usable = run.usable(profile.items)
            trace.unusable_items = len(profile.items) - len(usable)
            trace.reason = _why_generic(profile, known=bool(usable))
            if trace.reason is not None:
                return None
            request = RewriteRequest(asked.user, _last_of_user(asked.chat), draft.text or "", usable)
            answer = await self.batcher.run(("rewrite", run.name), run.respond, request)
        text = _read(answer, usable, trace)
        return None if text is None else replace(draft, message={**draft.message, "content": text}, choice={})

    async def _from_summary(self, run: SummaryRun, asked: Request, trace: Trace) -> BaseAnswer | None:
        async with asyncio.timeout(self.rewrite_seconds):
            profile = await asyncio.shield(asked.reading)
            known = profile.summary is not None and profile.summary.edited
            trace.reason = _why_generic(profile, known=known or bool(profile.items))
            if trace.reason is not None:
                return None
            summary, trace.summary = await run.summary(asked.users, asked.user, profile)
        if not summary:
            trace.degraded = "the summary is empty"
            return None
        answer = await (run.generator or self.base).draft(run.conversation(asked.chat, summary))
        trace.ignored, trace.prompt_cut = list(answer.ignored), answer.prompt_cut
        trace.personalised = True
        return answer


def _read_ahead(read: Callable[[], StoredProfile]) -> asyncio.Future[StoredProfile]:
    """Read a profile while the base model answers."""
    reading = asyncio.ensure_future(run_in_threadpool(read))
    # If the base model fails, nothing awaits the result, and asyncio would log its error.
    reading.add_done_callback(lambda done: done.cancelled() or done.exception())
    return reading


def _why_not_rewritten(chat: Chat, draft: BaseAnswer) -> str | None:
    """Return why a draft is not rewritten; None if it is."""
    form = chat.options.get("response_format") or {}
    for applies, reason in (
        (draft.refused is not None, "the base model refused"),
        (draft.text is None, "the answer is no text"),
        (not (draft.text or "").strip(), "the answer is empty"),
        (form.get("type", "text") != "text", "the request fixes the form of the answer"),
    ):
        if applies:
            return reason
    return None


def _why_generic(profile: StoredProfile, *, known: bool) -> str | None:
    """Return why a user gets the base model's own answer; None if not. `known`: there is something to use."""
    if not profile.known:
        return UNKNOWN_USER
    if profile.settings.get("personalise") is False:
        return OFF
    return None if known else NO_HISTORY


def _read(answer: Answer, items: tuple[StoredItem, ...], trace: Trace) -> str | None:
    """Return the text of an answer, None if the draft is better; note in the trace what was used."""
    trace.rewriter_tokens = answer.tokens
    trace.prompt_cut += answer.prompt_cut
    if REWRITE in answer.trace:
        trace.left_out = answer.trace.get(LEFT_OUT, answer.degraded)
    if trace.left_out is not None and answer.degraded is not None:
        trace.degraded = "the rewrite loses or invents facts: the draft stands"
    elif answer.error is not None or answer.degraded is not None or answer.refused is not None:
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
