"""Verifies one rewrite of a draft: words changed, content kept, and its style between floor and ceiling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from personakit.evaluation.bootstrap import Estimate, mean_of_units
from personakit.evaluation.style import OWN_TEXTS
from personakit.tasks.content_check import ContentCheck, ContentChecker
from personakit.tasks.edits import edit_share
from personakit.tasks.style import LEAST_TEXTS, LEAST_WRITERS, StyleScorer

#: Words of a text whose style is judged; shorter ones are mostly chance.
LEAST_WORDS = 10
#: Largest p-value with which floor and ceiling count as apart.
LEVEL = 0.05
#: Texts of each other writer that the floor is measured with.
_FLOOR_TEXTS = 3


@dataclass(frozen=True, slots=True)
class StylePlace:
    """The style scores of draft and candidate, between those of other writers and of the writer.

    `floor` is the mean over other writers of their texts' scores as if the writer had written them,
    `ceiling` the mean over the writer's own texts, each scored against the others. `p` is that of
    the one-sided Mann-Whitney test between the two, which needs few texts.
    """

    draft: float
    candidate: float
    floor: Estimate
    ceiling: Estimate
    p: float
    writers: int
    texts: int

    @property
    def apart(self) -> bool:
        """Whether the writer's own texts score higher than those of others: else style shows nothing here."""
        return self.p < LEVEL

    @property
    def share(self) -> float:
        """Where the candidate is on the way from floor (0) to ceiling (1)."""
        return (self.candidate - self.floor.value) / (self.ceiling.value - self.floor.value)

    @property
    def passed(self) -> bool:
        """Whether the candidate is above the floor, or at least no less like the writer than the draft."""
        return not self.apart or self.candidate > self.floor.value or self.candidate >= self.draft


@dataclass(frozen=True, slots=True)
class Verification:
    """What the checks found; `style` is None where it cannot be judged, for the reason in `no_style`."""

    edit_share: float
    max_edit: float | None
    content: ContentCheck
    style: StylePlace | None
    no_style: str = ""

    @property
    def failed(self) -> list[str]:
        """The checks that failed, a sentence each without a full stop."""
        found = []
        if self.max_edit is not None and self.edit_share > self.max_edit + 1e-9:
            found.append(
                f"changes {self.edit_share:.0%} of the draft's words, at most {self.max_edit:.0%} allowed"
            )
        if not self.content.passed:
            found.append(self.content.reason)
        if self.style is not None and not self.style.passed:
            found.append("reads less like the writer than the draft, and less than texts of others")
        return found


def verify(
    draft: str,
    candidate: str,
    own: Sequence[str],
    others: Mapping[str, Sequence[str]],
    *,
    request: str = "",
    max_edit: float | None = None,
) -> Verification:
    """Verify `candidate`, a rewrite of `draft` for the writer of `own`; `others` are texts of others.

    Without `own`, style is not judged.
    """
    style, reason = _style(draft, candidate, own, others)
    content = ContentChecker(draft, request=request, history=own).check(candidate)
    return Verification(edit_share(draft, candidate), max_edit, content, style, reason)


def _style(
    draft: str, candidate: str, own: Sequence[str], others: Mapping[str, Sequence[str]]
) -> tuple[StylePlace | None, str]:
    from scipy.stats import mannwhitneyu  # type: ignore[import-untyped]

    if not own:
        return None, "no texts by the writer were given (--profile)"
    enough = {writer: texts for writer, texts in others.items() if len(texts) >= LEAST_TEXTS}
    if len(enough) < LEAST_WRITERS:
        return None, (
            f"there are {len(enough)} other writers with {LEAST_TEXTS} texts or more, "
            f"expected at least {LEAST_WRITERS}"
        )
    if len(own) <= LEAST_TEXTS:
        return None, f"{len(own)} texts by the writer, expected at least {LEAST_TEXTS + 1}"
    if len(candidate.split()) < LEAST_WORDS:
        return None, f"the candidate has {len(candidate.split())} words, expected at least {LEAST_WORDS}"
    own = own[-OWN_TEXTS:]  # the newest: each is scored against all others
    scorer = StyleScorer(enough)
    drafted, written = scorer.scores([draft, candidate], [own] * 2, [""] * 2)
    ceiling = {
        str(place): [scorer.score(text, [*own[:place], *own[place + 1 :]])] for place, text in enumerate(own)
    }
    floor = {
        writer: [scorer.score(text, own) for text in texts[:_FLOOR_TEXTS]] for writer, texts in enough.items()
    }
    test = mannwhitneyu(
        [score for scores in ceiling.values() for score in scores],
        [float(np.mean(scores)) for scores in floor.values()],
        alternative="greater",
    )
    ends = mean_of_units(floor), mean_of_units(ceiling)
    return StylePlace(drafted, written, *ends, float(test.pvalue), scorer.writers, len(own)), ""
