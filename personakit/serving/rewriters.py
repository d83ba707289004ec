"""RPO runs as the service uses them: a draft and a user's items in, the user's own answer out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from personakit.contracts import LanguageModel
from personakit.data.lamp_formats import build_input, profile_item, task_format
from personakit.data.queries import DEFAULT_TASK
from personakit.errors import UserError
from personakit.method import FinishedRun
from personakit.methods import METHODS, open_run
from personakit.models import voice
from personakit.records import Answer, Profile, Query
from personakit.retrieval.bm25 import BM25
from personakit.retrieval.dense import Dense
from personakit.rpo.choices import uses_given_text
from personakit.rpo.light_edits import LightEdits
from personakit.rpo.rewriter import Rewriter
from personakit.serving.local_base import plain_text
from personakit.serving.store import StoredItem
from personakit.tasks import get_task

#: The content check takes sign-offs and ordinary words from the newest items. Our choice.
_CHECKED_ITEMS = 200


@dataclass(frozen=True, slots=True)
class RewriteRequest:
    """A draft to rewrite: the user's last message, the draft, and the user's items."""

    user: str
    request: str
    draft: str
    items: tuple[StoredItem, ...]


@dataclass(frozen=True)
class RewritingRun:
    """A finished RPO run, which rewrites drafts of any base model, by the name that clients use.

    With `given_text`, a query of its `task` is the draft itself; else it is the user's message with the draft
    (`Query.draft`). With `check_content`, edits of a draft that lose or invent facts are undone.
    """

    name: str
    rewriter: Rewriter
    task: str
    given_text: bool
    check_content: bool = False
    step: ClassVar[str] = "rewrite"

    @classmethod
    def open(cls, run: FinishedRun, model: LanguageModel, *, check_content: bool) -> RewritingRun:
        """Open a run with its rewriter, `model`; raises `UserError` if it does not write texts."""
        retriever = run.settings.retrieval.name
        if retriever.partition(":")[0] in METHODS:
            raise UserError(
                f"{run.folder}: its items are chosen by {retriever}, which keeps answers on the disk",
                hint="serve a run whose retrieval.name is bm25, dense or recency",
            )
        tasks = run.settings.data.tasks or [DEFAULT_TASK]
        fitting = [task for task in tasks if get_task(task).kind == "generation"]
        if not fitting:
            raise UserError(
                f"{run.folder}: it was trained on {', '.join(tasks)}, expected a run that writes texts",
                hint="serve voice, or train on LaMP_7 or rewriting",
            )
        task = DEFAULT_TASK if DEFAULT_TASK in fitting else fitting[0]
        given_text = uses_given_text(run.settings.draft, get_task(task))
        rewriter = open_run(run, model=model, given_drafts=True)
        assert isinstance(rewriter, Rewriter)
        return cls(name_of(run), rewriter, task, given_text, check_content)

    @property
    def _keys(self) -> tuple[str, ...]:
        return task_format(self.task).item_keys

    def usable(self, items: Sequence[StoredItem]) -> tuple[StoredItem, ...]:
        """Return the items that have the fields that this run reads."""
        return tuple(item for item in items if all(key in item.fields for key in self._keys))

    def respond(self, requests: list[RewriteRequest]) -> list[Answer]:
        """Answer a batch; each prompt has the items of one user."""
        queries = [self._query(request) for request in requests]
        profiles = [self._profile(request) for request in requests]
        answers = self.rewriter.respond(queries, profiles)
        if not self.check_content:
            return answers
        # The models wait for the checks: answers that were cut are not sent, and so not checked.
        light = LightEdits(self.rewriter, check_content=True)
        return [
            answer
            if answer.cut
            else light.limited(answer, query, replace(profile, items=profile.items[-_CHECKED_ITEMS:]))
            for answer, query, profile in zip(answers, queries, profiles, strict=True)
        ]

    def clear_caches(self) -> None:
        """Remove what indexes keep in memory of users' texts."""
        provider = self.rewriter.provider
        if isinstance(provider, BM25 | Dense):  # the others keep nothing
            provider.clear_cache()

    def _query(self, request: RewriteRequest) -> Query:
        draft = self._plain(request.draft).strip()
        about = draft if self.given_text else self._plain(request.request).strip()
        [part] = task_format(self.task).search_parts
        text = build_input(self.task, **{part: about})
        return Query("chat", self.task, text, about, request.user, draft=draft)

    def _profile(self, request: RewriteRequest) -> Profile:
        return Profile(
            request.user,
            tuple(
                profile_item(
                    self.task,
                    str(item.number),
                    {key: self._plain(item.fields[key]) for key in self._keys},
                    item.date,
                )
                for item in request.items
            ),
        )

    def _plain(self, text: str) -> str:
        return plain_text(self.rewriter.model, text)


def name_of(run: FinishedRun) -> str:
    """Return the name by which clients ask for a run."""
    return voice.NAME if run.folder == voice.FOLDER else run.folder.name
