"""Finds the pool prompts that reveal a query's answer. They are excluded for that query, and counted.

A prompt is excluded if its instruction and its input are near duplicates of the query's, if its answer is a
near duplicate of the query's answer, or if it contains the query's answer verbatim. Answers shorter than
`ANSWER_WORDS` words (a label, a score, a name) match by chance, so only the question is compared for them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from personakit.data.near_duplicates import NearDuplicates, normalized
from personakit.records import Instruction, Pool

ANSWER_WORDS = 3
"""Shorter answers match by chance (the same limit as in `data check`)."""


Excluded = frozenset[int]
"""Indices of the pool prompts that must not be shown for a query."""


def question(row: Instruction) -> str:
    """Return an instruction and its input as one text."""
    return f"{row.instruction} {row.input}"


def has_comparable_answer(row: Instruction) -> bool:
    """Return whether the answer has at least `ANSWER_WORDS` words."""
    return len(normalized(row.output).split()) >= ANSWER_WORDS


class LeakDetector:
    """An index over a pool that finds the prompts revealing an answer."""

    def __init__(self, pool: Pool) -> None:
        prompts = pool.prompts
        self._instructions = NearDuplicates([prompt.instruction for prompt in prompts])
        self._inputs = NearDuplicates([prompt.input for prompt in prompts])
        self._answers = NearDuplicates([prompt.output for prompt in prompts])
        self._texts = [
            f" {normalized(f'{prompt.instruction} {prompt.input} {prompt.output}')} " for prompt in prompts
        ]
        self._by_first_words: dict[str, set[int]] = defaultdict(set)
        for index, text in enumerate(self._texts):
            words = text.split()
            for start in range(len(words) - ANSWER_WORDS + 1):
                self._by_first_words[" ".join(words[start : start + ANSWER_WORDS])].add(index)

    def of(self, query: Instruction) -> Excluded:
        """Return the indices of the prompts that must not be shown for `query`."""
        same_input = self._inputs.of(query.input)
        leaking = same_input & self._instructions.of(query.instruction) if same_input else set()
        answer = normalized(query.output)
        words = answer.split()
        if len(words) >= ANSWER_WORDS:
            leaking |= self._answers.of(query.output)
            candidates = self._by_first_words.get(" ".join(words[:ANSWER_WORDS]), set())
            leaking |= {index for index in candidates if f" {answer} " in self._texts[index]}
        return frozenset(leaking)


def leaking_prompts(instructions: Sequence[Instruction], pool: Pool) -> list[Excluded]:
    """Return, for each instruction, the indices of the pool prompts that reveal its answer."""
    detector = LeakDetector(pool)
    return [detector.of(instruction) for instruction in instructions]
