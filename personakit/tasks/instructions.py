"""How an instruction is worded with worked examples before it, and how its answer is read.

`plain` is the built-in benchmark's (one line an example); `alpaca` is Stanford Alpaca's prompt
(tatsu-lab/stanford_alpaca, `PROMPT_DICT`), its block repeated for each example.
"""

from __future__ import annotations

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
_PAIRED = ", paired with an input that provides further context"
_NEXT = "\n### "


def instruction_prompt(
    template: Template, instruction: Instruction, pool: Pool | None = None, picks: Sequence[int] = ()
) -> str:
    """Return the prompt for `instruction` with the picked examples of `pool` before it.

    `picks` are in the order they were made (`Selector.select`): the first, the best match, stands last.
    """
    examples = [pool.prompts[place] for place in reversed(picks)] if pool is not None else []
    if template == "plain":
        return plain_prompt(instruction, examples)
    shown = "".join(f"{_block(each)}{each.output}\n\n" for each in examples)
    task = _TASK.format(input=_PAIRED if instruction.input else "")
    return f"{task}\n\n{shown}{_block(instruction)}"


def read_answer(template: Template, text: str) -> str:
    """Return the answer in what a model wrote; empty where there is none.

    `plain`: the first line. `alpaca`: all of it, up to a further block that the model went on to make up.
    """
    if template == "plain":
        text = text.strip()
        return text.splitlines()[0].strip() if text else ""
    return text.split(_NEXT, 1)[0].strip()


def _block(instruction: Instruction) -> str:
    given = f"### Input:\n{instruction.input}\n\n" if instruction.input else ""
    return f"### Instruction:\n{instruction.instruction}\n\n{given}### Response:\n"
