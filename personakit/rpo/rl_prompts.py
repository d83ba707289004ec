"""RL prompts: the rewriter's prompts as at test time, with the number of items of the curriculum stage."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from personakit.config import TrainRPO
from personakit.records import Context, ProfileItem
from personakit.retrieval import open_retriever
from personakit.rpo.curriculum import ContextStage, staged_context
from personakit.rpo.dataset import DraftedQuery
from personakit.rpo.prompts import rewriter_prompt
from personakit.tasks.answers import own_texts
from personakit.training.group_rl import Prompt

BUILT = "prompts"
WITHOUT_HISTORY = "of them without history"
TOO_LONG = "too long"
NO_REWARD = "no reward is defined"


@dataclass
class RLPromptBuilder:
    """Builds RL prompts from drafted queries and counts them.

    As in SFT, a share of the prompts (`trajectories.no_history_share`) has no history; the reward compares
    with the draft. Prompts that exceed `sft.max_length` together with a rewrite are skipped (SFT truncates
    them in the middle).
    """

    config: TrainRPO
    tokenizer: Any
    count_tokens: Callable[[str], int]
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def max_prompt_tokens(self) -> int:
        """Maximum prompt length in tokens."""
        return self.config.sft.max_length - rewrite_tokens(self.config)

    def build(
        self, drafted: Sequence[DraftedQuery], stage: ContextStage, *, drop_history: bool = True
    ) -> list[Prompt]:
        """Return the prompts of one stage; with `drop_history` a share of them has no history."""
        from personakit.models.tokens import encode_prompts

        built = [
            prompt
            for each, ranking in zip(drafted, self._rankings(drafted, stage), strict=True)
            if (prompt := self._prompt(each, stage, ranking, drop_history)) is not None
        ]
        lengths = map(len, encode_prompts(self.tokenizer, [prompt.text for prompt in built]))
        kept = [
            prompt for prompt, length in zip(built, lengths, strict=True) if length <= self.max_prompt_tokens
        ]
        self.counts[TOO_LONG] += len(built) - len(kept)
        self.counts[BUILT] += len(kept)
        self.counts[WITHOUT_HISTORY] += sum(prompt.columns["items"] == 0 for prompt in kept)
        return kept

    def _prompt(
        self, each: DraftedQuery, stage: ContextStage, ranking: Sequence[ProfileItem], drop_history: bool
    ) -> Prompt | None:
        query = each.example.query
        key = f"{self.config.seed}/rl/{query.task}/{query.id}"
        dropped = drop_history and random.Random(key).random() < self.config.trajectories.no_history_share
        context = Context() if dropped else staged_context(stage, each.context, ranking, seed=key)
        gold = each.draft if dropped else query.gold
        if gold is None or not each.task.valid_gold(gold):
            self.counts[NO_REWARD] += 1
            return None
        text = rewriter_prompt(
            each.task,
            query,
            each.draft,
            context,
            count_tokens=self.count_tokens,
            max_length=self.config.prompt_tokens,
            given=each.given,
        )
        items = len(context.items)
        relevant = min(items, stage.items)
        history = () if dropped else each.example.profile.items
        columns = {
            "task": each.task,
            "gold": gold,
            "items": relevant,
            "distractors": items - relevant,
            "own_texts": tuple(own_texts(each.task, query, history, each.draft)),
        }
        return Prompt(text, columns)

    def _rankings(
        self, drafted: Sequence[DraftedQuery], stage: ContextStage
    ) -> Sequence[Sequence[ProfileItem]]:
        """Rank each query's whole profile, best first; empty if the stage has no distractors."""
        if not stage.distractors or not drafted:
            return [()] * len(drafted)
        longest = max(len(each.example.profile.items) for each in drafted)
        ranker = open_retriever(self.config.retrieval.name, max(1, longest))
        contexts = ranker.context(
            [each.example.query for each in drafted], [each.example.profile for each in drafted]
        )
        return [context.items for context in contexts]


def open_tokenizer(folder: Path) -> Any:
    """Load the tokenizer that a stage saved with its model."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def rewrite_tokens(config: TrainRPO) -> int:
    """Return the maximum length of a rewrite in RL, in tokens."""
    return config.rl.max_completion_length or config.trajectories.max_tokens
