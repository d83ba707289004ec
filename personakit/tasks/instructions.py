"""Prompt templates for instructions with worked examples, and parsing of the answers.

`plain` is the built-in benchmark's template (one line per example). `alpaca` is Stanford Alpaca's
(tatsu-lab/stanford_alpaca, `PROMPT_DICT`), with its block repeated for each example.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, get_args

from personakit.data.lamp_mini.instructions import instruction_prompt as plain_prompt
from personakit.records import Instruction, Pool

Template = Literal["plain", "alpaca"]
TEMPLATES: tuple[str, ...] = get_args(Template)

_TASK = (
    "Below is an instruction that describes a task{input}. Write a response that appropriately completes the "
    "request."
)
_WITH_INPUT = ", paired with an input that provides further context"
_RESPONSE = "### Response:"
#: The template's own headings: an answer may have others.
_NEXT_BLOCK = re.compile(r"^### (?:Instruction|Input|Response):", re.MULTILINE)


def instruction_prompt(
    template: Template, instruction: Instruction, pool: Pool | None = None, picks: Sequence[int] = ()
) -> str:
    """Return the prompt for `instruction` with the selected examples of `pool`.

    `picks` are indices in selection order (`Selector.select`). The first, the best match, comes last.
    """
    examples = [pool.prompts[place] for place in reversed(picks)] if pool is not None else []
    if template == "plain":
        return plain_prompt(instruction, examples)
    examples_text = "".join(f"{_block(example)}{example.output}\n\n" for example in examples)
    task = _TASK.format(input=_WITH_INPUT if instruction.input else "")
    return f"{task}\n\n{examples_text}{_block(instruction)}"


def read_answer(template: Template, text: str) -> str:
    """Return the answer in a model's text, or "" if there is none.

    `plain`: the first line. `alpaca`: everything before another block of the template that the model
    generated; without the heading `### Response:` if the text begins with it.
    """
    if template == "plain":
        text = text.strip()
        return text.splitlines()[0].strip() if text else ""
    return _NEXT_BLOCK.split(text.strip().removeprefix(_RESPONSE), maxsplit=1)[0].strip()


def _block(instruction: Instruction) -> str:
    input_block = f"### Input:\n{instruction.input}\n\n" if instruction.input else ""
    return f"### Instruction:\n{instruction.instruction}\n\n{input_block}{_RESPONSE}\n"
