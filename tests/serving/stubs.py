"""A service with stub models: the real rewriter's prompts, scripted answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

from rpo.fakes import Scripted

from personakit.popi.inferring import Summariser
from personakit.retrieval import open_retriever
from personakit.rpo.rewriter import Rewriter
from personakit.serving.answering import Answering
from personakit.serving.base import BaseAnswer, Chat
from personakit.serving.batching import Batcher
from personakit.serving.errors import ApiError
from personakit.serving.metrics import Metrics
from personakit.serving.rewriters import RewritingRun
from personakit.serving.service import Service
from personakit.serving.store import ProfileStore
from personakit.serving.summaries import SummaryRun
from personakit.tasks.signals import PLAIN

BASE, RUN, SUMMARISED = "stub-base", "voice", "popi"


@dataclass
class StubBase:
    """Answers `Draft: <the last message>` after `seconds`, and remembers what it was asked."""

    name: str = BASE
    seconds: float = 0.0
    chats: list[Chat] = field(default_factory=list)
    answer: Callable[[Chat], BaseAnswer] | None = None
    error: ApiError | None = None

    async def draft(self, chat: Chat) -> BaseAnswer:
        self.chats.append(chat)
        await asyncio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        if self.answer is not None:
            return self.answer(chat)
        text = f"Draft: {chat.messages[-1]['content']}"
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
        return BaseAnswer({"role": "assistant", "content": text}, text, usage=usage)

    async def close(self) -> None:
        pass


def shown_prompt(prompt: str, max_new_tokens: int) -> str:
    """A rewriter that answers with its prompt, so that an answer shows all that it was given."""
    return f"[{' '.join(prompt.split())}]"


@dataclass
class Stubs:
    """The parts of a stub service that tests look at or change."""

    base: StubBase
    rewriter: Scripted
    summariser: Scripted
    service: Service


def stub_service(store: ProfileStore, *, rewrite_seconds: float = 20.0, **settings: Any) -> Stubs:
    """Return a service over `store` with stubs of RPO (`voice`), POPI (`popi`) and a base, open to all."""
    base, rewriter, metrics = StubBase(), Scripted(shown_prompt), Metrics()
    summariser = Scripted(lambda prompt, limit: f"({' '.join(prompt.split())})")
    store.tenant(create=True)
    batcher = Batcher(on_batch=metrics.batch_sizes.observe)
    runs = {
        RUN: served_run(rewriter, given_text=True),
        SUMMARISED: SummaryRun(SUMMARISED, Summariser(summariser, PLAIN, 400, 50), None, batcher),
    }
    answering = Answering(base, runs, batcher, rewrite_seconds)
    service = Service(store, answering, metrics, **{"open_to_all": True, **settings})
    return Stubs(base, rewriter, summariser, service)


def served_run(rewriter: Scripted, *, given_text: bool, retriever: str = "recency") -> RewritingRun:
    """Return a run like voice, or like one that was trained on drafts of a base model."""
    personalizer = Rewriter(
        None,
        rewriter,
        open_retriever(retriever, 6),
        max_length=400,
        traced=False,
        draft="input" if given_text else "base",
    )
    return RewritingRun(RUN, personalizer, "LaMP_7", given_text)


@contextmanager
def listening(service: Service) -> Iterator[str]:
    """Run the service on a free port of loopback; yield its address."""
    import uvicorn

    from personakit.serving.app import create_app
    from personakit.serving.start import listen

    socket = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(create_app(service), log_config=None, access_log=False))
    thread = Thread(target=server.run, kwargs={"sockets": [socket]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=20)
