"""RPO's progressive multi-context curriculum: how many history items the RL prompts show in each stage.

A third-party summary of the paper (arXiv 2511.05286) mentions the curriculum; its form is our choice. The
number of retrieved items grows (1, 2, 4, ... up to the number used at test time). Distractors, the items with
the lowest retrieval rank, can be mixed in so that the rewriter learns to ignore irrelevant items.
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
    """One stage of the curriculum."""

    items: int
    """Retrieved items per prompt."""
    distractors: int = 0
    """Lowest-ranked items added to each prompt."""
    until_reward: float | None = None
    """Mean task reward at which the stage ends early; None: the stage runs all its steps."""


def curriculum_stages(settings: CurriculumSettings, k: int) -> list[ContextStage]:
    """Return the stages. Without a curriculum there is one stage with `k` items, as at test time.

    Raises `UserError` for a schedule that does not increase up to `k` and for values out of range.
    """
    if not settings.enabled:
        return [ContextStage(k)]
    shown = settings.items or _doubling(settings.first, k)
    if shown != sorted(set(shown)) or shown[0] < 1 or shown[-1] != k:
        raise UserError(
            f"{_GROUP}.items is {shown}, expected increasing numbers from 1 to retrieval.k, which is {k}",
            hint=f"for example {_doubling(1, k)}, which [] gives too",
        )
    if any(count < 0 for count in settings.distractors):
        raise UserError(
            f"{_GROUP}.distractors is {settings.distractors}, expected 0 or more in each stage",
            hint="0 adds no distractors",
        )
    if any(not 0 < reward <= 1 for reward in settings.until_reward):
        raise UserError(
            f"{_GROUP}.until_reward is {settings.until_reward}, expected rewards above 0 and at most 1",
            hint="stages beyond the end of the list run all their steps",
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
    """Return the context of one stage: the first items of `context`, with distractors at random positions.

    `ranking` is the user's whole profile, best first; it is unused if the stage has no distractors. Items
    keep their order, and no item is also a distractor. Short histories give fewer items and distractors.
    """
    shown = list(context.items[: stage.items])
    taken = {item.id for item in shown}
    others = [item for item in ranking if item.id not in taken] if stage.distractors else []
    generator = random.Random(seed)
    for item in others[-stage.distractors :] if stage.distractors else []:
        shown.insert(generator.randint(0, len(shown)), item)
    return replace(context, items=tuple(shown))


def _doubling(first: int, k: int) -> list[int]:
    """Return `first`, 2 * `first`, 4 * `first`, ... and finally `k`."""
    counts = []
    count = first
    while count < k:
        counts.append(count)
        count *= 2
    return [*counts, k]
