"""Which prompts would give a query's answer away: they are kept out of that query's pool, and counted.

A prompt is kept out where it says what the query asks (instruction and input alike), where its answer is
like the query's, or where the query's answer stands in it word for word. Answers under `ANSWER_WORDS`
words (a label, a score, a name) turn up by chance and tell nothing: of them only the question counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from personakit.data.instructions.near_duplicates import WORDS, NearTexts, TextSketch
from personakit.data.splitting import same_text
from personakit.records import Instruction, Pool

ANSWER_WORDS = 3
"""As in `data check`: shorter answers turn up by chance."""

Excluded = frozenset[int]
"""Places in the pool that a query may not be shown."""


class Answers:
    """A pool, ready to say which of its prompts give an answer away."""

    def __init__(self, pool: Pool) -> None:
        prompts = pool.prompts
        self._asked = NearTexts(
            (place, TextSketch.of(each.instruction)) for place, each in enumerate(prompts)
        )
        self._given = NearTexts((place, TextSketch.of(each.input)) for place, each in enumerate(prompts))
        self._answers = NearTexts((place, TextSketch.of(each.output)) for place, each in enumerate(prompts))
        self._texts = [f" {same_text(f'{each.instruction} {each.input} {each.output}')} " for each in prompts]
        self._beginning: dict[str, set[int]] = defaultdict(set)
        for place, text in enumerate(self._texts):
            words = text.split()
            for start in range(len(words) - WORDS + 1):
                self._beginning[" ".join(words[start : start + WORDS])].add(place)

    def of(self, query: Instruction) -> Excluded:
        """Return the places of the prompts that `query` may not be shown."""
        given = self._given.like(TextSketch.of(query.input))
        found = given & self._asked.like(TextSketch.of(query.instruction)) if given else set()
        answer = same_text(query.output)
        words = answer.split()
        if len(words) >= ANSWER_WORDS:
            found |= self._answers.like(TextSketch.of(query.output))
            holding = self._beginning.get(" ".join(words[:WORDS]), set())
            found |= {place for place in holding if f" {answer} " in self._texts[place]}
        return frozenset(found)


def leaking_prompts(instructions: Sequence[Instruction], pool: Pool) -> list[Excluded]:
    """Return, for each instruction, the places in the pool of the prompts that would give its answer away."""
    answers = Answers(pool)
    return [answers.of(each) for each in instructions]
