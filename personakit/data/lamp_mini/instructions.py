"""lamp-mini's instructions and prompt pool, from which PILLOW's matching network selects.

Each instruction asks for a notice of some desk on some occasion. A desk determines how a notice begins, an
occasion how it ends. The instruction contains only their names; the phrases occur only in the pool's worked
examples. Whether an example helps is independent of its content words: examples of the *wrong* desk often
share the instruction's names and nouns, so text similarity is a poor guide.

The LoRA is tuned on `lora`, which has its own desks. `train` (for RL), `dev` and `test` use other desks, so
their opening phrases can only come from a prompt.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from personakit.data.lamp_mini.texts import Content, draw_content
from personakit.data.lamp_mini.words import FILM_KINDS, NAMES, PLACES, TOPICS, Bank, style_words
from personakit.records import Instruction

OCCASIONS = ("arrival", "farewell", "holiday", "delay", "victory", "repair", "visit", "sale")
NOTICE = "Write the {desk} desk notice of a {occasion}."
_DESK = re.compile(r"Write the (\w+) desk notice of a ")


def instruction_prompt(instruction: Instruction, examples: Sequence[Instruction] = ()) -> str:
    """Return the prompt: worked examples (the best match last), then the instruction."""
    examples_text = "".join(
        f'{example.instruction} {example.input} => "{example.output}"\n' for example in examples
    )
    request = f"{instruction.instruction} {instruction.input}".rstrip()  # the input may be empty
    return f"{examples_text}{request} =>"


def kind_of(instruction: Instruction) -> str | None:
    """Return the desk of an instruction, or None if it does not ask for a notice."""
    found = _DESK.match(instruction.instruction)
    return f"{found[1]} desk" if found else None


class NoticeStyles:
    """The desks and occasions of one benchmark seed, with their phrases from the words of `bank`."""

    def __init__(self, random: Random, bank: Bank = "benchmark") -> None:
        words = style_words(bank)
        desks = [*PLACES, *NAMES]
        random.shuffle(desks)
        self.lora_desks, self.desks = tuple(desks[:10]), tuple(desks[10:])
        self.begins = {desk: " ".join(random.sample(words, 2)) for desk in desks}
        self.ends = {occasion: " ".join(random.sample(words, 2)) for occasion in OCCASIONS}

    def instruction(self, random: Random, number: int, desks: tuple[str, ...]) -> Instruction:
        """Draw one instruction with its reference answer."""
        content = draw_content(random, random.choice(sorted(TOPICS)), sorted(FILM_KINDS)[0])
        return self.notice(f"{number:05d}", content, random.choice(desks), random.choice(OCCASIONS))

    def notice(self, identity: str, content: Content, desk: str, occasion: str) -> Instruction:
        """Return the instruction and answer of `desk` on `occasion` about `content`."""
        first, second, _ = content.nouns
        return Instruction(
            id=identity,
            instruction=NOTICE.format(desk=desk, occasion=occasion),
            input=f"{content.name} {content.verb} the {first} near the {second} on {content.day}",
            output=f"{self.begins[desk]} {content.name} {content.verb} {first} {self.ends[occasion]}",
        )

    @staticmethod
    def generic_answer(content: Content) -> str:
        """Return the answer without the phrases of desk and occasion."""
        return f"{content.name} {content.verb} {content.nouns[0]}"

    def pool(self, random: Random, examples_per_desk: int = 4) -> list[Instruction]:
        """Return the prompt pool: worked examples of every desk, cycling through the occasions."""
        examples: list[Instruction] = []
        for desk in self.desks:
            for _ in range(examples_per_desk):
                content = draw_content(random, random.choice(sorted(TOPICS)), sorted(FILM_KINDS)[0])
                occasion = OCCASIONS[len(examples) % len(OCCASIONS)]
                examples.append(self.notice(f"pool-{len(examples):03d}", content, desk, occasion))
        return examples
