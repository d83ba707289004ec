"""Instruction files of every format become splits without overlap, and pools without leaks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from personakit.data.check import check_data
from personakit.data.imports import ImportReport, detect_format, import_data
from personakit.data.instructions import (
    InstructionReport,
    InstructionStore,
    check_pool,
    leaking_prompts,
    open_instructions,
    open_pool,
    write_instructions,
)
from personakit.data.instructions.splitting import SPLITS
from personakit.data.lamp import write_split
from personakit.data.splitting import SplitPlan
from personakit.errors import UserError
from personakit.records import Instruction, Pool
from tests.data.made import user_split

Rows = list[dict[str, Any]]


def long_text(number: int) -> str:
    return " ".join(f"word{number}x{place}" for place in range(20))


def alpaca(count: int = 40) -> Rows:
    return [
        {"instruction": f"Explain {long_text(n)}", "input": "", "output": f"Answer {n} to that question."}
        for n in range(count)
    ]


def dolly(count: int = 40) -> Rows:
    return [
        {
            "instruction": f"Sum up {n}.",
            "context": long_text(n),
            "response": f"In short it is {n} and no more.",
            "category": ["summarization", "open_qa"][n % 2],
        }
        for n in range(count)
    ]


def self_instruct(count: int = 20) -> Rows:
    return [
        {
            "id": f"seed_task_{n}",
            "instruction": f"Name the capital of {long_text(n)}.",
            "instances": [
                {"input": f"the {side} one of {n}", "output": f"City number {n} in the {side}"}
                for side in ("north", "south")
            ],
        }
        for n in range(count)
    ]


FORMATS = {"alpaca": alpaca, "dolly": dolly, "self-instruct": self_instruct}


def write(path: Path, rows: Rows) -> Path:
    lines = "\n".join(map(json.dumps, rows))
    path.write_text(json.dumps(rows) if path.suffix == ".json" else lines, encoding="utf-8")
    return path


def imported(tmp_path: Path, rows: Rows, name: str = "i.jsonl") -> InstructionReport:
    report: ImportReport = import_data(write(tmp_path / name, rows), tmp_path / "out")
    assert report.instructions is not None
    return report.instructions


def opened(tmp_path: Path) -> dict[str, InstructionStore]:
    return {split: open_instructions(tmp_path / "out", split) for split in SPLITS}


@pytest.mark.parametrize("name", ["i.json", "i.jsonl"])
@pytest.mark.parametrize("format", FORMATS)
def test_every_format_is_detected_by_its_columns_and_every_row_is_kept_or_counted(
    format: str, name: str, tmp_path: Path
) -> None:
    rows = FORMATS[format]()
    assert detect_format(write(tmp_path / name, rows)) == format
    report = imported(tmp_path, rows, name)
    stores = opened(tmp_path)
    assert report.format == format
    assert report.read == report.kept == sum(map(len, stores.values())) == 40
    assert all(len(store) == report.splits[split] > 0 for split, store in stores.items())
    texts = {(one.instruction, one.input, one.output) for store in stores.values() for one in store}
    assert len(texts) == 40
    if format == "dolly":
        assert {one.kind for one in stores["lora"]} == {"summarization", "open_qa"}
    if format == "alpaca":
        assert {one.kind for one in stores["lora"]} == {"explain"}


def test_near_duplicates_are_in_one_split(tmp_path: Path) -> None:
    rows = alpaca(30)
    again = [row | {"instruction": row["instruction"].replace("x3 ", "x3, ").upper() + "!"} for row in rows]
    answers = [row | {"instruction": f"Quite another thing: {n}?"} for n, row in enumerate(rows)]
    report = imported(tmp_path, rows + again + answers)
    where = {one.output: split for split, store in opened(tmp_path).items() for one in store}
    for split, store in opened(tmp_path).items():
        assert all(where[one.output] == split for one in store)
    assert report.kept == 60  # `again` says the very same
    assert report.near_duplicates == 30
    assert report.skipped["instructions given again with the same answer"].count == 30
    assert check_data(tmp_path / "out").warnings == []


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    source = write(tmp_path / "i.json", alpaca())
    prints = [
        import_data(source, tmp_path / f"out{n}", plan=SplitPlan(seed)).fingerprint
        for n, seed in enumerate((1, 1, 2))
    ]
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"instruction": "Say", "output": 7.5, "input": {"a": 1}}, ['line 2: "input" is', "expected a text"]),
        ({"instruction": ["a"], "output": "b"}, ['line 2: "instruction" is [', "expected a text"]),
        ({"instruction": "a", "response": "b"}, ["line 2", "in the format dolly", "expected alpaca"]),
        ({"question": "a"}, ["line 2 (question)", "in no instruction format"]),
    ],
)
def test_an_invalid_row_gives_one_sentence_with_its_place(
    row: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        imported(tmp_path, [alpaca(1)[0], row])
    assert all(word in error.value.message for word in words), error.value.message
    assert not (tmp_path / "out").exists()


def test_empty_rows_are_counted_with_their_first_place(tmp_path: Path) -> None:
    rows = [*alpaca(), {"instruction": "Say", "input": "", "output": " "}, {"instruction": "", "output": "x"}]
    skip = imported(tmp_path, rows).skipped["rows without an instruction or without an answer"]
    assert skip.count == 2
    assert skip.first.endswith("line 41")


def test_too_few_rows_for_four_splits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="3 instructions leave none for"):
        imported(tmp_path, alpaca(3))


def make(id: str, instruction: str, given: str, answer: str) -> Instruction:
    return Instruction(id, instruction, given, answer)


def test_exactly_the_prompts_that_reveal_the_answer_are_excluded() -> None:
    asked = make("q", "Translate to French.", "the small cat sat there", "le petit chat était assis là")
    pool = Pool.of(
        [
            make("same", "translate to french", "The small cat sat there!", "some other answer altogether"),
            make("answer", "Quote something.", "", "Le petit chat était assis là."),
            make("holds", "Quote more.", "", "they said: Le petit chat était assis là, and left"),
            make(
                "other input",
                "Translate to French.",
                "the big dog sat there",
                "le grand chien était assis là",
            ),
            make("other request", "Count the words.", "the small cat sat there", "five"),
        ]
    )
    assert leaking_prompts([asked], pool) == [frozenset({0, 1, 2})]


def test_short_answers_do_not_count_as_leaks() -> None:
    asked = make("q", "Rate it.", long_text(1), "5")
    pool = Pool.of([make("a", "Rate it.", long_text(2), "5"), make("b", "Rate it.", long_text(1), "4")])
    assert leaking_prompts([asked], pool) == [frozenset({1})]


def test_a_task_becomes_instructions_with_the_profile_as_pool(tmp_path: Path) -> None:
    examples = user_split("LaMP_4", users=2, per_user=2)
    write_split(tmp_path / "LaMP_4", "dev", examples)
    store = open_instructions(tmp_path, "dev", task="LaMP_4")
    assert store.pools is not None
    for example, one, pool in zip(examples, store, store.pools, strict=True):
        assert f"{one.instruction} {one.input}" == example.query.text
        assert one.output == example.query.gold
        assert [each.output for each in pool.prompts] == [
            item.fields["title"] for item in example.profile.items
        ]
        assert {each.instruction for each in pool.prompts} == {one.instruction}
    write_split(tmp_path / "LaMP_4", "test", user_split("LaMP_4", golds=False))
    with pytest.raises(UserError, match="no gold answer"):
        open_instructions(tmp_path, "test", task="LaMP_4")


def test_pools_from_files_and_splits_report_repeated_prompts(tmp_path: Path) -> None:
    imported(tmp_path, alpaca())
    out = tmp_path / "out"
    assert len(open_pool("lora", out).pool) == len(open_instructions(out, "lora"))
    one = make("a", "Say it.", "", "it")
    file = tmp_path / "mine.jsonl"
    write_instructions(file, [one, make("b", "say it", "", "It.")])
    with pytest.raises(UserError, match='prompt "b" repeats prompt "a"'):
        open_pool(file, out)
    write_instructions(file, [one])
    assert open_pool(file, out).pool.prompts[0].output == "it"
    with pytest.raises(UserError, match="has no pool of prompts"):
        open_pool("pool", out)
    with pytest.raises(UserError, match="neither a file of prompts nor a split"):
        open_pool("elsewhere", out)
    file.write_text("")
    with pytest.raises(UserError, match="has no instructions"):
        open_pool(file, out)
    with pytest.raises(UserError, match="cannot select 3 prompts from a pool of 1"):
        check_pool(Pool.of([one]), "mine", 3)
    with pytest.raises(UserError, match="the pool has no prompts"):
        check_pool(Pool.of([]), "mine", 1)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"id": "1", "instruction": "Say", "output": ""}', 'line 1: "output" is empty'),
        ('{"id": "1", "text": "Say"}', 'line 1 has id, text, expected "instruction" and "output"'),
        ('{"id": "1", "instruction": "a", "output": "b"}\n' * 2, 'line 2: id "1" is already used at'),
    ],
)
def test_an_invalid_line_of_a_data_folder_gives_one_sentence(line: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "instructions" / "dev.jsonl"
    path.parent.mkdir()
    path.write_text(line)
    with pytest.raises(UserError) as error:
        open_instructions(tmp_path, "dev")
    assert words in error.value.message
    with pytest.raises(UserError, match='no instructions for the split "test"'):
        open_instructions(tmp_path, "test")
