"""lamp-mini's instructions and prompt pool, from which PILLOW's matching network selects.

Each instruction asks for the notice of a department on some occasion. The department determines how a
notice begins, the occasion how it ends. The instruction names both, but their phrases occur only in the
pool's worked examples. Whether an example helps is independent of what it is about: examples of the *wrong*
department often share the instruction's names and things, so text similarity is a poor guide.

The LoRA is tuned on `lora`, which has its own departments. `train` (for RL), `dev` and `test` use other
departments, so the beginnings of their notices can only come from a prompt.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from personakit.data.lamp_mini.texts import Content, draw_content
from personakit.data.lamp_mini.words import entries, phrases, topics
from personakit.records import Instruction

NOTICE = "Write the notice of the {department} about a {occasion}."
LORA_DEPARTMENTS = 16
_DEPARTMENT = re.compile(r"Write the notice of the (.+) about a \w+\.")


def occasions() -> tuple[str, ...]:
    """Return the occasions of notices."""
    return entries("style", "occasions")


def instruction_prompt(instruction: Instruction, examples: Sequence[Instruction] = ()) -> str:
    """Return the prompt: worked examples (the best match last), then the instruction."""
    examples_text = "".join(
        f"{example.instruction}\n{example.input}\nNotice: {example.output}\n\n" for example in examples
    )
    request = f"{instruction.instruction}\n{instruction.input}".rstrip()  # the input may be empty
    return f"{examples_text}{request}\nNotice:"


def kind_of(instruction: Instruction) -> str | None:
    """Return the department of an instruction, or None if it does not ask for a notice."""
    found = _DEPARTMENT.match(instruction.instruction)
    return found[1] if found else None


class NoticeStyles:
    """The departments and occasions of one benchmark seed, with their phrases."""

    def __init__(self, random: Random) -> None:
        departments = list(entries("style", "departments"))
        random.shuffle(departments)
        self.lora_departments = tuple(departments[:LORA_DEPARTMENTS])
        self.departments = tuple(departments[LORA_DEPARTMENTS:])
        unseen = (*phrases("notice_begins", "dev"), *phrases("notice_begins", "test"))
        self.begins = dict(
            [
                *zip(
                    self.lora_departments, random.sample(phrases("notice_begins", "train"), 16), strict=True
                ),
                *zip(self.departments, random.sample(unseen, len(self.departments)), strict=True),
            ]
        )
        self.ends = dict(zip(occasions(), random.sample(phrases("notice_ends", "train"), 8), strict=True))

    def instruction(self, random: Random, number: int, departments: tuple[str, ...]) -> Instruction:
        """Draw one instruction with its reference answer."""
        content = draw_content(random, "LaMP_4", random.choice(topics()))
        return self.notice(f"{number:05d}", content, random.choice(departments), random.choice(occasions()))

    def notice(self, identity: str, content: Content, department: str, occasion: str) -> Instruction:
        """Return the instruction and answer of `department` on `occasion` about `content`."""
        return Instruction(
            id=identity,
            instruction=NOTICE.format(department=department, occasion=occasion),
            input=content["text"],
            output=f"{self.begins[department]} {self.generic_answer(content)}. {self.ends[occasion]}",
        )

    @staticmethod
    def generic_answer(content: Content) -> str:
        """Return the answer without the phrases of department and occasion."""
        return f"{content['name']} {content['surname']} {content['present']} the {content['thing']}"

    def pool(self, random: Random, examples_per_department: int = 4) -> list[Instruction]:
        """Return the prompt pool: worked examples of every department, cycling through the occasions."""
        examples: list[Instruction] = []
        for department in self.departments:
            for _ in range(examples_per_department):
                content = draw_content(random, "LaMP_4", random.choice(topics()))
                occasion = occasions()[len(examples) % len(occasions())]
                examples.append(self.notice(f"pool-{len(examples):03d}", content, department, occasion))
        return examples
