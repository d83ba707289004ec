"""Which prompts would give a query's answer away: they are kept out of that query's pool, and counted.

A prompt is kept out where its instruction and its input are near-duplicates of the query's, where its answer
is one of the query's, or where the query's answer stands in it word for word. Answers under `ANSWER_WORDS`
words (a label, a score, a name) turn up by chance and tell nothing: of them only the question counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from personakit.data.near_duplicates import NearDuplicates, normalized
from personakit.records import Instruction, Pool

ANSWER_WORDS = 3
"""As in `data check`: shorter answers turn up by chance."""


KeptOut = frozenset[int]
"""Places in the pool that a query may not be shown."""


def question(row: Instruction) -> str:
    """Return an instruction and its input as one text."""
    return f"{row.instruction} {row.input}"


def telling_answer(row: Instruction) -> bool:
    """Tell whether an answer has `ANSWER_WORDS` words."""
    return len(normalized(row.output).split()) >= ANSWER_WORDS


class Answers:
    """A pool, ready to say which of its prompts give an answer away."""

    def __init__(self, pool: Pool) -> None:
        prompts = pool.prompts
        self._instructions = NearDuplicates([each.instruction for each in prompts])
        self._inputs = NearDuplicates([each.input for each in prompts])
        self._answers = NearDuplicates([each.output for each in prompts])
        self._texts = [
            f" {normalized(f'{each.instruction} {each.input} {each.output}')} " for each in prompts
        ]
        self._beginning: dict[str, set[int]] = defaultdict(set)
        for place, text in enumerate(self._texts):
            words = text.split()
            for start in range(len(words) - ANSWER_WORDS + 1):
                self._beginning[" ".join(words[start : start + ANSWER_WORDS])].add(place)

    def of(self, query: Instruction) -> KeptOut:
        """Return the places of the prompts that `query` may not be shown."""
        same_input = self._inputs.of(query.input)
        found = same_input & self._instructions.of(query.instruction) if same_input else set()
        answer = normalized(query.output)
        words = answer.split()
        if len(words) >= ANSWER_WORDS:
            found |= self._answers.of(query.output)
            holding = self._beginning.get(" ".join(words[:ANSWER_WORDS]), set())
            found |= {place for place in holding if f" {answer} " in self._texts[place]}
        return frozenset(found)


def kept_out(instructions: Sequence[Instruction], pool: Pool) -> list[KeptOut]:
    """Return, for each instruction, the places in the pool of the prompts that would give its answer away."""
    answers = Answers(pool)
    return [answers.of(each) for each in instructions]
