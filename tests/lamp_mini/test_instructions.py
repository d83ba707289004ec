"""lamp-mini's instructions and the pool of worked examples."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import pytest

from personakit.data.instructions import leaking_prompts, open_instructions, open_pool
from personakit.data.lamp_mini.instructions import NOTICE, OCCASIONS, instruction_prompt
from personakit.records import Instruction

from .conftest import lines

SPLITS = ("lora", "train", "dev", "test")
_NOTICE = re.compile(NOTICE.format(desk=r"(\w+)", occasion=r"(\w+)"))


def read(folder: Path, name: str) -> list[Instruction]:
    return [Instruction(**record) for record in lines(folder / "instructions" / f"{name}.jsonl")]


def desk_and_occasion(one: Instruction) -> tuple[str, str]:
    found = _NOTICE.fullmatch(one.instruction)
    assert found is not None
    return found[1], found[2]


def test_no_answer_is_in_the_pool(benchmark_folder: Path) -> None:
    pool = {one.output for one in read(benchmark_folder, "pool")}
    for split in SPLITS:
        assert not pool & {one.output for one in read(benchmark_folder, split)}


def test_the_lora_split_has_its_own_desks(benchmark_folder: Path) -> None:
    desks = {
        name: {desk_and_occasion(one)[0] for one in read(benchmark_folder, name)}
        for name in (*SPLITS, "pool")
    }
    for split in ("train", "dev", "test"):
        assert desks[split] == desks["pool"]
    assert not desks["lora"] & desks["pool"]


def test_the_pool_shows_every_desk_and_every_occasion_equally_often(benchmark_folder: Path) -> None:
    pool = [desk_and_occasion(one) for one in read(benchmark_folder, "pool")]
    desks, occasions = ([pair[place] for pair in pool] for place in (0, 1))
    assert {desks.count(desk) for desk in desks} == {4}
    assert {occasions.count(occasion) for occasion in OCCASIONS} == {len(pool) // len(OCCASIONS)}
    assert len(set(pool)) == len(pool)


@pytest.mark.parametrize("split", SPLITS)
def test_desk_and_occasion_determine_the_phrases_of_a_notice(split: str, benchmark_folder: Path) -> None:
    known = read(benchmark_folder, split) + (read(benchmark_folder, "pool") if split != "lora" else [])
    begins: dict[str, set[str]] = {}
    ends: dict[str, set[str]] = {}
    for one in known:
        desk, occasion = desk_and_occasion(one)
        words = one.output.split()
        begins.setdefault(desk, set()).add(" ".join(words[:2]))
        ends.setdefault(occasion, set()).add(" ".join(words[-2:]))
        # What the notice is about is said in the instruction, how it is worded is not.
        assert set(words[2:-2]) <= set(one.input.split())
        assert not set(words[:2] + words[-2:]) & set(one.input.split())
    for ways in (begins, ends):
        assert {len(way) for way in ways.values()} == {1}
    assert all(one != other for one, other in combinations(begins.values(), 2))


def test_the_prompt_has_worked_examples_and_no_answer(
    benchmark_folder: Path,
) -> None:
    asked, *shown = read(benchmark_folder, "pool")[:3]
    prompt = instruction_prompt(asked, shown)
    assert prompt.endswith(instruction_prompt(asked))
    assert asked.output not in prompt
    assert prompt.index(shown[0].output) < prompt.index(shown[1].output) < prompt.index(asked.input)


def test_built_in_instructions_open_with_the_desk_as_kind(benchmark_folder: Path) -> None:
    store, pool = open_instructions(benchmark_folder, "dev"), open_pool("pool", benchmark_folder).pool
    assert [one.id for one in store] == [one.id for one in read(benchmark_folder, "dev")]
    assert len(store[:5]) == 5
    assert {one.kind for one in store} == {one.kind for one in pool.prompts}
    assert all(one.kind == f"{desk_and_occasion(one)[0]} desk" for one in store)
    assert not any(leaking_prompts(store, pool))
