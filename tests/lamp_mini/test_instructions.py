"""lamp-mini's instructions and the pool of worked examples."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import pytest

from personakit.data.instructions import leaking_prompts, open_instructions, open_pool
from personakit.data.lamp_mini.instructions import NOTICE, instruction_prompt
from personakit.data.lamp_mini.words import content_words, entries, words_of
from personakit.records import Instruction

from .conftest import lines

SPLITS = ("lora", "train", "dev", "test")
BEGINS, ENDS = entries("style", "notice_begins"), entries("style", "notice_ends")
_NOTICE = re.compile(NOTICE.replace(".", r"\.").format(department="(.+)", occasion=r"(\w+)"))


def read(folder: Path, name: str) -> list[Instruction]:
    return [Instruction(**record) for record in lines(folder / "instructions" / f"{name}.jsonl")]


def department_and_occasion(one: Instruction) -> tuple[str, str]:
    found = _NOTICE.fullmatch(one.instruction)
    assert found is not None
    return found[1], found[2]


def test_no_answer_is_in_the_pool(benchmark_folder: Path) -> None:
    pool = {one.output for one in read(benchmark_folder, "pool")}
    for split in SPLITS:
        assert not pool & {one.output for one in read(benchmark_folder, split)}


def test_the_lora_split_has_its_own_departments(benchmark_folder: Path) -> None:
    departments = {
        name: {department_and_occasion(one)[0] for one in read(benchmark_folder, name)}
        for name in (*SPLITS, "pool")
    }
    for split in ("train", "dev", "test"):
        assert departments[split] == departments["pool"]
    assert not departments["lora"] & departments["pool"]


def test_the_pool_shows_every_department_and_every_occasion_equally_often(benchmark_folder: Path) -> None:
    pool = [department_and_occasion(one) for one in read(benchmark_folder, "pool")]
    departments, occasions = ([pair[place] for pair in pool] for place in (0, 1))
    assert {departments.count(department) for department in departments} == {4}
    assert {occasions.count(occasion) for occasion in set(occasions)} == {len(pool) // 8}
    assert len(set(pool)) == len(pool)


@pytest.mark.parametrize("split", SPLITS)
def test_department_and_occasion_determine_the_phrases(split: str, benchmark_folder: Path) -> None:
    known = read(benchmark_folder, split) + (read(benchmark_folder, "pool") if split != "lora" else [])
    begins: dict[str, set[str]] = {}
    ends: dict[str, set[str]] = {}
    for one in known:
        department, occasion = department_and_occasion(one)
        begin = next(text for text in BEGINS if one.output.startswith(f"{text} "))
        end = next(text for text in ENDS if one.output.endswith(f" {text}"))
        begins.setdefault(department, set()).add(begin)
        ends.setdefault(occasion, set()).add(end)
        # The instruction tells what the notice is about, but not how it is worded.
        about = one.output.removeprefix(begin).removesuffix(end)
        assert {word for word in words_of(about) if word in content_words()} <= set(words_of(one.input))
        assert begin not in one.input
        assert end not in one.input
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


def test_built_in_instructions_open_with_the_department_as_kind(benchmark_folder: Path) -> None:
    store, pool = open_instructions(benchmark_folder, "dev"), open_pool("pool", benchmark_folder).pool
    assert [one.id for one in store] == [one.id for one in read(benchmark_folder, "dev")]
    assert len(store[:5]) == 5
    assert {one.kind for one in store} == {one.kind for one in pool.prompts}
    assert all(one.kind == department_and_occasion(one)[0] for one in store)
    assert not any(leaking_prompts(store, pool))
