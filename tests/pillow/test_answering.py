"""Answers with selected prompts: context, tokens and refusals."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from personakit.models.refusal import Refusal
from personakit.pillow.answering import PromptedPersonalizer, SelectionInput
from personakit.pillow.wording import Templated
from personakit.records import Instruction, Pool, Profile, Query

POOL = Pool.of([Instruction("1", "Name it.", "a", "ant"), Instruction("2", "Name it.", "c", "cat")])


class Words:
    """A model whose tokens are words; it refuses prompts that mention a wasp."""

    name = fingerprint = "words"

    def generate(self, prompts: Sequence[str], *, max_new_tokens: int) -> list[list[str]]:
        return [[Refusal("", "no wasps") if "wasp" in prompt else "bee"] for prompt in prompts]

    def count_tokens(self, text: str) -> int:
        return len(text.split())


class Second:
    """Selects the second prompt of the pool."""

    def select(
        self, instructions: Sequence[Instruction], pool: Pool, m: int, **_: object
    ) -> list[tuple[int]]:
        return [(1,)] * len(instructions)


@pytest.mark.parametrize("shown", [True, False])
def test_an_answer_has_its_selection_token_counts_and_refusal(shown: bool) -> None:
    def offer(query: Query, profile: Profile) -> SelectionInput:
        return SelectionInput(Instruction(query.id, query.text, "", ""), POOL)

    selector = Second() if shown else None
    prompted = PromptedPersonalizer(
        Words(), Templated("plain"), offer, selector=selector, m=1, max_new_tokens=4
    )
    queries = [Query(name, "instruction", f"Name a {name}.", "", "u") for name in ("fly", "wasp")]
    answer, refusal = prompted.respond(queries, [Profile("u", ())] * 2)
    assert answer.text == "bee"
    assert answer.context.prompts == (("Name it. c => cat",) if shown else ())
    assert answer.trace == ({"picks": "1"} if shown else {})
    assert answer.context_tokens == (5 if shown else 0)  # Name it. c => "cat"
    assert answer.refused is None
    assert (refusal.text, refusal.refused) == ("", "no wasps")
