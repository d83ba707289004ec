"""The prompts of RL: what the rewriter reads at test, with as much of the history as the stage shows."""

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
from personakit.rpo.dataset import Drafted
from personakit.rpo.prompts import rewriter_prompt
from personakit.training.group_rl import Prompt

MADE = "prompts"
WITHOUT_HISTORY = "of them without history"
TOO_LONG = "too long"
NO_REWARD = "no reward is defined"


@dataclass
class PromptMaker:
    """Makes prompts of drafted queries and counts them.

    In a share of them (`trajectories.no_history_share`, as in SFT) the history is taken away, and what is
    rewarded is to give back the draft. Prompts that do not fit into `sft.max_length` beside a rewrite are
    left out (in SFT their middle is cut).
    """

    config: TrainRPO
    tokenizer: Any
    count_tokens: Callable[[str], int]
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def room(self) -> int:
        """The longest prompt, in tokens."""
        return self.config.sft.max_length - rewrite_tokens(self.config)

    def make(self, drafted: Sequence[Drafted], stage: ContextStage, *, hide: bool = True) -> list[Prompt]:
        """Return the prompts of one stage; `hide` says whether some lose their history."""
        from personakit.models.tokens import encode_prompts

        made = [
            prompt
            for each, ranking in zip(drafted, self._rankings(drafted, stage), strict=True)
            if (prompt := self._prompt(each, stage, ranking, hide)) is not None
        ]
        lengths = map(len, encode_prompts(self.tokenizer, [prompt.text for prompt in made]))
        kept = [prompt for prompt, length in zip(made, lengths, strict=True) if length <= self.room]
        self.counts[TOO_LONG] += len(made) - len(kept)
        self.counts[MADE] += len(kept)
        self.counts[WITHOUT_HISTORY] += sum(prompt.columns["items"] == 0 for prompt in kept)
        return kept

    def _prompt(
        self, each: Drafted, stage: ContextStage, ranking: Sequence[ProfileItem], hide: bool
    ) -> Prompt | None:
        query = each.example.query
        key = f"{self.config.seed}/rl/{query.task}/{query.id}"
        hidden = hide and random.Random(key).random() < self.config.trajectories.no_history_share
        context = Context() if hidden else staged_context(stage, each.context, ranking, seed=key)
        gold = each.draft if hidden else query.gold
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
        )
        items = len(context.items)
        relevant = min(items, stage.items)
        columns = {"task": each.task, "gold": gold, "items": relevant, "distractors": items - relevant}
        return Prompt(text, columns)

    def _rankings(self, drafted: Sequence[Drafted], stage: ContextStage) -> Sequence[Sequence[ProfileItem]]:
        """Each user's whole profile, best first; nothing where the stage has no distractors."""
        if not stage.distractors or not drafted:
            return [()] * len(drafted)
        longest = max(len(each.example.profile.items) for each in drafted)
        ranker = open_retriever(self.config.retrieval.name, max(1, longest))
        contexts = ranker.context(
            [each.example.query for each in drafted], [each.example.profile for each in drafted]
        )
        return [context.items for context in contexts]


def open_tokenizer(folder: Path) -> Any:
    """Open the tokenizer that a stage saved with its model."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def rewrite_tokens(config: TrainRPO) -> int:
    """Return how long a rewrite may get in RL, in tokens."""
    return config.rl.max_completion_length or config.trajectories.max_tokens
