"""Leaves a draft alone where its rewrite is too much: at most a share of words changed, content kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from personakit.contracts import Personalizer
from personakit.records import Answer, Profile, Query
from personakit.rpo.choices import uses_given_text
from personakit.tasks.base import Task
from personakit.tasks.content_check import ContentCheck, ContentChecker
from personakit.tasks.edits import edit_share, limit_edits, undo_edits
from personakit.tasks.registry import get_task

#: Name in an answer's trace of the whole rewrite, where it was limited or not used.
REWRITE = "rewrite"
#: Name in an answer's trace of the reason why edits of the whole rewrite were left out.
LEFT_OUT = "left_out"


@dataclass
class LightEdits:
    """Answers with those edits of a rewrite that pass, or with the draft, marked as degraded with the reason.

    `max_edit` is the largest share of the draft's words that may change; further edits are left out
    (`limit_edits`). With `check_content` those that lose or invent facts are undone (`undo_edits`); None
    checks with a limit, and where the draft is the given text (`draft`). Tasks with labels or ratings are
    left as they are.
    """

    rewriter: Personalizer
    max_edit: float | None = None
    check_content: bool | None = None
    draft: str = "auto"

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Return one answer per query; where it differs from the whole rewrite, that is in its trace."""
        answers = self.rewriter.respond(queries, profiles)
        return [self.limited(*three) for three in zip(answers, queries, profiles, strict=True)]

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        """Return the rewriter's scores: what is left out has no probability of its own."""
        return self.rewriter.score(queries, profiles, texts)

    def limited(self, answer: Answer, query: Query, profile: Profile) -> Answer:
        """Return what passes of an answer of the rewriter."""
        task, draft = get_task(query.task), answer.generic
        untouched = answer.error or answer.degraded or answer.refused or task.kind != "generation"
        if untouched or draft is None or answer.text == draft:
            return answer
        checker = self._checker(draft, query, profile, task)
        text, reason = self._passing(draft, answer.text, checker)
        if text == answer.text:
            return answer
        trace = {**answer.trace, REWRITE: answer.text}
        if text == draft:
            return replace(answer, text=draft, degraded=f"{reason}: the draft stands", cut=False, trace=trace)
        return replace(answer, text=text, trace={**trace, LEFT_OUT: reason})

    def _passing(self, draft: str, rewrite: str, checker: ContentChecker | None) -> tuple[str, str]:
        """Return what remains of a rewrite, and why it is not all of it."""
        check = checker.check if checker is not None else lambda text: ContentCheck()
        reasons = [check(rewrite).reason]
        if self.max_edit is None:
            text = undo_edits(draft, rewrite, lambda text: check(text).problems)
        else:
            text = limit_edits(draft, rewrite, self.max_edit, lambda text: check(text).passed)
            if (share := edit_share(draft, rewrite)) > self.max_edit:
                reasons.append(f"changes {share:.0%} of the words, at most {self.max_edit:.0%} are allowed")
        return text, f"the rewrite {' and '.join(filter(None, reasons))}"

    def _checker(self, draft: str, query: Query, profile: Profile, task: Task) -> ContentChecker | None:
        by_default = self.max_edit is not None or uses_given_text(self.draft, task)
        if not (by_default if self.check_content is None else self.check_content):
            return None
        history = [task.item_parts(item)[1] for item in profile.items]
        return ContentChecker(draft, request=query.text, history=history)
