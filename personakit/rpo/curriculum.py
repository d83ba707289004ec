"""RPO's progressive multi-context curriculum: how much of the history RL's prompts show, stage by stage.

That there is one is a third party's summary of the paper; what it looks like is our choice: more and more
of the retrieved items (1, 2, 4, ... up to what the rewriter sees at test), and items that the retriever
ranked lowest mixed in, so that the rewriter learns to tell what matters.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from personakit.config.train_rpo import CurriculumSettings
from personakit.errors import UserError
from personakit.records import Context, ProfileItem

_GROUP = "rl.curriculum"


@dataclass(frozen=True, slots=True)
class ContextStage:
    """A stage of the curriculum: what its prompts show, and when it ends before its steps are up."""

    items: int
    distractors: int = 0
    until_reward: float | None = None


def curriculum_stages(settings: CurriculumSettings, k: int) -> list[ContextStage]:
    """Return the stages; without a curriculum one, which shows the `k` items that are shown at test.

    Raises `UserError` for a schedule that does not grow up to `k`, and for values that mean nothing.
    """
    if not settings.enabled:
        return [ContextStage(k)]
    shown = settings.items or _doubling(settings.first, k)
    if shown != sorted(set(shown)) or shown[0] < 1 or shown[-1] != k:
        raise UserError(
            f"{_GROUP}.items is {shown}, expected numbers from 1 up that grow to retrieval.k, which is {k}",
            hint=f"for example {_doubling(1, k)}, or [] for just that",
        )
    if any(count < 0 for count in settings.distractors):
        raise UserError(
            f"{_GROUP}.distractors is {settings.distractors}, expected 0 or more in each stage",
            hint="0 mixes none in",
        )
    if any(not 0 < reward <= 1 for reward in settings.until_reward):
        raise UserError(
            f"{_GROUP}.until_reward is {settings.until_reward}, expected rewards above 0, up to 1",
            hint="a stage beyond the list runs to its last step",
        )
    return [
        ContextStage(
            items,
            settings.distractors[number] if number < len(settings.distractors) else 0,
            settings.until_reward[number] if number < len(settings.until_reward) else None,
        )
        for number, items in enumerate(shown)
    ]


def staged_context(
    stage: ContextStage, context: Context, ranking: Sequence[ProfileItem], *, seed: str
) -> Context:
    """Return what a stage shows of the history: the first items of `context`, distractors among them.

    `ranking` is the user's whole profile, best first (not read where the stage has no distractors). Items
    keep their order; a distractor is never one of them. A short history gives as many as there are.
    """
    shown = list(context.items[: stage.items])
    taken = {item.id for item in shown}
    others = [item for item in ranking if item.id not in taken] if stage.distractors else []
    generator = random.Random(seed)
    for item in others[-stage.distractors :] if stage.distractors else []:
        shown.insert(generator.randint(0, len(shown)), item)
    return replace(context, items=tuple(shown))


def _doubling(first: int, k: int) -> list[int]:
    """`first`, twice that, ... and `k`."""
    counts = []
    count = first
    while count < k:
        counts.append(count)
        count *= 2
    return [*counts, k]
