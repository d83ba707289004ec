"""Prompt templates for instructions with worked examples."""

import pytest

from personakit.records import Instruction, Pool
from personakit.tasks.instructions import Template, instruction_prompt, read_answer

ASKED = Instruction("a", "Add.", "1 and 2", "3")
POOL = Pool.of([Instruction("x", "Add.", "2 and 2", "4"), Instruction("y", "Say hello.", "", "hello")])


@pytest.mark.parametrize("template", ["plain", "alpaca"])
def test_the_first_pick_comes_last_in_the_prompt(template: Template) -> None:
    prompt = instruction_prompt(template, ASKED, POOL, (1, 0))
    assert prompt.index("2 and 2") < prompt.index("hello.") < prompt.index("1 and 2")
    assert "3" not in prompt.replace("###", "")


def test_alpaca_template_without_input() -> None:
    prompt = instruction_prompt("alpaca", POOL.prompts[1])
    assert prompt == (
        "Below is an instruction that describes a task. Write a response that appropriately completes the "
        "request.\n\n### Instruction:\nSay hello.\n\n### Response:\n"
    )
    assert "### Input:\n1 and 2\n\n### Response:\n" in instruction_prompt("alpaca", ASKED)


def test_further_generated_blocks_are_not_part_of_the_answer() -> None:
    assert read_answer("plain", " 3\nAdd. 4 and 4 =>") == "3"
    assert read_answer("alpaca", "3\n\nfor sure\n\n### Instruction:\nMore") == "3\n\nfor sure"
    assert read_answer("plain", "  ") == ""


@pytest.mark.parametrize(
    "answer",
    ["Steps:\n\n### Install\nRun it.\n\n### Use\nCall it.", "### Response times\nare low", "C\n### sharp"],
)
def test_headings_in_an_answer_are_part_of_it(answer: str) -> None:
    assert read_answer("alpaca", f"{answer}\n\n### Input:\nmore\n\n### Response:\nno") == answer
    assert read_answer("alpaca", f"### Response:\n{answer}") == answer


def test_a_pools_fingerprint_depends_on_texts_and_order() -> None:
    renamed = Pool.of([Instruction("z", *_texts(POOL.prompts[0])), POOL.prompts[1]])
    assert renamed.fingerprint == POOL.fingerprint
    assert Pool.of(reversed(POOL.prompts)).fingerprint != POOL.fingerprint
    assert Pool.of([Instruction("x", "Add.", "2 and", "24"), POOL.prompts[1]]).fingerprint != POOL.fingerprint


def _texts(one: Instruction) -> tuple[str, str, str]:
    return one.instruction, one.input, one.output
