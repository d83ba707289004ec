"""Finds the pool prompts that reveal a query's answer. They are excluded for that query, and counted.

A prompt is excluded if it asks the same question (instruction and input both match), if its answer is a near
duplicate of the query's answer, or if it contains the query's answer verbatim. Answers shorter than
`ANSWER_WORDS` words (a label, a score, a name) match by chance, so only the question is compared for them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from personakit.data.instructions.near_duplicates import WORDS, NearTexts, TextSketch
from personakit.data.splitting import same_text
from personakit.records import Instruction, Pool

ANSWER_WORDS = 3
"""Shorter answers match by chance (the same limit as in `data check`)."""

Excluded = frozenset[int]
"""Indices of the pool prompts that must not be shown for a query."""


class LeakDetector:
    """An index over a pool that finds the prompts revealing an answer."""

    def __init__(self, pool: Pool) -> None:
        prompts = pool.prompts
        self._instructions = NearTexts(
            (index, TextSketch.of(each.instruction)) for index, each in enumerate(prompts)
        )
        self._inputs = NearTexts((index, TextSketch.of(each.input)) for index, each in enumerate(prompts))
        self._answers = NearTexts((index, TextSketch.of(each.output)) for index, each in enumerate(prompts))
        self._texts = [f" {same_text(f'{each.instruction} {each.input} {each.output}')} " for each in prompts]
        self._by_first_words: dict[str, set[int]] = defaultdict(set)
        for index, text in enumerate(self._texts):
            words = text.split()
            for start in range(len(words) - WORDS + 1):
                self._by_first_words[" ".join(words[start : start + WORDS])].add(index)

    def of(self, query: Instruction) -> Excluded:
        """Return the indices of the prompts that must not be shown for `query`."""
        same_input = self._inputs.like(TextSketch.of(query.input))
        leaking = (
            same_input & self._instructions.like(TextSketch.of(query.instruction)) if same_input else set()
        )
        answer = same_text(query.output)
        words = answer.split()
        if len(words) >= ANSWER_WORDS:
            leaking |= self._answers.like(TextSketch.of(query.output))
            candidates = self._by_first_words.get(" ".join(words[:WORDS]), set())
            leaking |= {index for index in candidates if f" {answer} " in self._texts[index]}
        return frozenset(leaking)


def leaking_prompts(instructions: Sequence[Instruction], pool: Pool) -> list[Excluded]:
    """Return, for each instruction, the indices of the pool prompts that reveal its answer."""
    answers = LeakDetector(pool)
    return [answers.of(each) for each in instructions]
