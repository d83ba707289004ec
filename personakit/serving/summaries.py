"""POPI runs as the service uses them: a summary of a user, and an answer from it.

The summary is inferred from the user's items, kept in the profile store, and inferred again when the items
have changed. The run's generator answers if its base model is the service's own; else the service's base
model does, whichever it is: a summary is text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar

from fastapi.concurrency import run_in_threadpool

from personakit.contracts import LanguageModel
from personakit.data.preferences.profiles import as_signals
from personakit.popi.inferring import InferredSummary, Summariser
from personakit.records import Profile, ProfileItem
from personakit.serving.base import BaseModelClient, Chat, text_of
from personakit.serving.batching import Batcher
from personakit.serving.local_base import plain_text
from personakit.serving.store import StoredItem, StoredProfile, TenantStore, basis_of
from personakit.tasks.signals import prompt_with_summary


@dataclass(frozen=True)
class SummaryRun:
    """A finished POPI run by the name that clients use. Without `generator`, the service's base answers."""

    name: str
    summariser: Summariser
    generator: BaseModelClient | None
    batcher: Batcher
    step: ClassVar[str] = "summary"
    _inferring: dict[Hashable, asyncio.Task[str]] = field(default_factory=dict, init=False)

    async def summary(self, users: TenantStore, user: str, profile: StoredProfile) -> tuple[str, str]:
        """Return a user's summary, and where it is from: `edited` by the user, `stored` or `inferred` now.

        Requests that need the same summary wait for it together. Inferring goes on if they no longer wait:
        the next request finds the summary in the store.
        """
        stored = profile.summary
        if stored is not None and stored.edited:
            return stored.text, "edited"
        basis = await run_in_threadpool(basis_of, profile.items, self.summariser.fingerprint)
        if stored is not None and stored.basis == basis:
            return stored.text, "stored"
        key = (users.id, user, basis)
        if key not in self._inferring:
            self._inferring[key] = asyncio.create_task(self._infer(users, user, profile.items, basis))
            self._inferring[key].add_done_callback(partial(self._inferred, key))
        return await asyncio.shield(self._inferring[key]), "inferred"

    def conversation(self, chat: Chat, summary: str) -> Chat:
        """Return the request with the summary before the last message of the user."""
        messages = [dict(message) for message in chat.messages]
        last = next((each for each in reversed(messages) if each["role"] == "user"), messages[-1])
        wording, request = self.summariser.wording, text_of(last.get("content"))
        if request is None:  # a part is no text
            before = {"type": "text", "text": prompt_with_summary("", summary, wording=wording)}
            last["content"] = [before, *last["content"]]
        else:
            last["content"] = prompt_with_summary(request, summary, wording=wording)
        return replace(chat, messages=messages)

    def _inferred(self, key: Hashable, task: asyncio.Task[str]) -> None:
        del self._inferring[key]
        if not task.cancelled():
            task.exception()  # else asyncio logs it, with its message, where nobody waits any more

    async def _infer(self, users: TenantStore, user: str, items: Sequence[StoredItem], basis: str) -> str:
        inferred = await self.batcher.run(("summary", self.name), self._infer_all, items)
        if inferred.error is not None:
            raise RuntimeError(inferred.error)
        if inferred.text:
            version = self.summariser.fingerprint
            keep = partial(users.keep_summary, basis=basis, version=version)
            # Not on the threads that read: a change may wait for the database.
            await asyncio.to_thread(keep, user, self.name, inferred.text)
        return inferred.text

    def _infer_all(self, histories: list[Sequence[StoredItem]]) -> list[InferredSummary]:
        return self.summariser.infer(
            [as_signals(Profile("", tuple(map(self._profile_item, items)))) for items in histories]
        )

    def _profile_item(self, item: StoredItem) -> ProfileItem:
        model: LanguageModel = self.summariser.model
        fields = {name: plain_text(model, text) for name, text in item.fields.items()}
        # Of an edited answer, only what the user made of it is the user's.
        document = fields.get("text") or "\n".join(fields.values())
        return ProfileItem(str(item.number), fields, document, item.date)
