"""lamp-mini's instructions and prompt pool: what PILLOW's matching network picks from.

Notices are written by desks, on occasions. A desk has a way to begin, an occasion a way to end; both
are shown by prompts of the pool (worked examples) and by nothing in the instruction but a name. The
words of an example have nothing to do with whether it pays: examples of the *wrong* desk often share
the instruction's names and nouns, so similarity of text is a poor guide.

The LoRA is tuned on `lora` (desks of its own); `train` (for RL), `dev` and `test` are about other
desks, so their beginnings can only come from a prompt.
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
    """The instruction as a model is asked it, after worked examples (the best match stands last)."""
    shown = "".join(f'{each.instruction} {each.input} => "{each.output}"\n' for each in examples)
    asked = f"{instruction.instruction} {instruction.input}".rstrip()  # a request may be all in one
    return f"{shown}{asked} =>"


def kind_of(instruction: Instruction) -> str | None:
    """The desk that writes an instruction's notice, None where it is no notice."""
    found = _DESK.match(instruction.instruction)
    return f"{found[1]} desk" if found else None


class House:
    """The desks and occasions of one benchmark seed, with how each writes in the words of `bank`."""

    def __init__(self, random: Random, bank: Bank = "town") -> None:
        words = style_words(bank)
        desks = [*PLACES, *NAMES]
        random.shuffle(desks)
        self.lora_desks, self.desks = tuple(desks[:10]), tuple(desks[10:])
        self.begins = {desk: " ".join(random.sample(words, 2)) for desk in desks}
        self.ends = {occasion: " ".join(random.sample(words, 2)) for occasion in OCCASIONS}

    def instruction(self, random: Random, number: int, desks: tuple[str, ...]) -> Instruction:
        """Draw one instruction with its reference answer."""
        content = draw_content(random, random.choice(sorted(TOPICS)), sorted(FILM_KINDS)[0])
        return self.worded(f"{number:05d}", content, random.choice(desks), random.choice(OCCASIONS))

    def worded(self, identity: str, content: Content, desk: str, occasion: str) -> Instruction:
        """The instruction and answer of `desk` on `occasion` about `content`."""
        first, second, _ = content.nouns
        return Instruction(
            id=identity,
            instruction=NOTICE.format(desk=desk, occasion=occasion),
            input=f"{content.name} {content.verb} the {first} near the {second} on {content.day}",
            output=f"{self.begins[desk]} {content.name} {content.verb} {first} {self.ends[occasion]}",
        )

    @staticmethod
    def plain(content: Content) -> str:
        """What anyone would answer."""
        return f"{content.name} {content.verb} {content.nouns[0]}"

    def pool(self, random: Random, each: int = 4) -> list[Instruction]:
        """The prompts to pick from: `each` worked examples a desk, occasions in turn."""
        examples: list[Instruction] = []
        for desk in self.desks:
            for _ in range(each):
                content = draw_content(random, random.choice(sorted(TOPICS)), sorted(FILM_KINDS)[0])
                occasion = OCCASIONS[len(examples) % len(OCCASIONS)]
                examples.append(self.worded(f"pool-{len(examples):03d}", content, desk, occasion))
        return examples
