"""Generates lamp-mini: seven LaMP tasks in LaMP's format, preference pairs, and an instruction pool.

All random choices derive from one seed through named streams, one per user and task, so that extending one
part does not change another. The folder name contains version, seed and a hash of the knobs and
of the generator.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from functools import cache
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from personakit.data.lamp_formats import FORMATS
from personakit.data.lamp_mini.instructions import NoticeStyles
from personakit.data.lamp_mini.preferences import make_preferences
from personakit.data.lamp_mini.traits import Knobs, Traits, draw_traits
from personakit.data.lamp_mini.users import TASKS, GeneratedExample, make_example
from personakit.data.lamp_mini.words import Split
from personakit.files import atomic_folder, cache_folder, write_json
from personakit.records import Instruction

VERSION = 2
"""Incremented whenever the standard files change by a byte. Scores of different versions do not compare."""

STANDARD_SEED = 2026
USERS: dict[Split, int] = {"train": 1000, "dev": 300, "test": 400}
INSTRUCTIONS = {"lora": 600, "train": 600, "dev": 300, "test": 400}


def folder(seed: int = STANDARD_SEED, knobs: Knobs | None = None) -> Path:
    """Return the benchmark's folder in the cache. It is generated if missing."""
    knobs = knobs or Knobs()
    key = hashlib.sha256(f"{json.dumps(asdict(knobs), sort_keys=True)}{_sources()}".encode()).hexdigest()[:8]
    path = cache_folder() / "lamp-mini" / f"v{VERSION}-seed{seed}-{key}"
    if not path.is_dir():
        write_benchmark(path, seed=seed, knobs=knobs)
    return path


def write_benchmark(path: Path, *, seed: int = STANDARD_SEED, knobs: Knobs | None = None) -> None:
    """Generate the benchmark with `seed` in the new folder `path`, atomically."""
    knobs = knobs or Knobs()
    inputs: dict[str, set[str]] = {task: set() for task in TASKS}
    with atomic_folder(path) as temporary:
        for split, users in USERS.items():
            traits = {
                f"{split}-{number:04d}": draw_traits(_stream(seed, split, number), split, knobs)
                for number in range(users)
            }
            for task in TASKS:
                _write_task(temporary / task, task, split, seed, traits, knobs, inputs[task])
            _write_lines(
                temporary / "preferences" / f"{split}.jsonl",
                (
                    make_preferences(_stream(seed, "pairs", user), user, user_traits, split, knobs)
                    for user, user_traits in traits.items()
                ),
            )
        _write_instructions(temporary / "instructions", seed)
        write_json(
            temporary / "dataset.json",
            {"name": "lamp-mini", "version": VERSION, "seed": seed, "knobs": asdict(knobs), "users": USERS},
        )


@cache
def _sources() -> str:
    """Return a digest of the generator and its contents: the cache holds no data of another generator."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*")):
        if path.suffix in (".py", ".yaml"):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _stream(*names: object) -> Random:
    return Random("/".join(map(str, ("lamp-mini", VERSION, *names))))


def _write_task(
    path: Path,
    task: str,
    split: Split,
    seed: int,
    users: dict[str, Traits],
    knobs: Knobs,
    inputs: set[str],
) -> None:
    """Write one task's files of a split. `inputs` are those of the splits before, which must not recur."""
    questions, golds, sidecar = [], [], {}
    for number, (user, traits) in enumerate(users.items()):
        made = _new_example(task, seed, user, traits, split, knobs, inputs)
        inputs.add(made.input)
        identity = f"{task[-1]}{list(USERS).index(split)}{number:04d}"
        questions.append({"id": identity, "input": made.input, "profile": made.profile})
        golds.append({"id": identity, "output": made.gold})
        sidecar[identity] = {
            "user_id": user,
            "traits": traits.relevant(task),
            "oracle": made.oracle,
            "generic": made.generic,
        }
    path.mkdir(parents=True, exist_ok=True)
    _write_json(path / f"{split}_questions.json", questions)
    _write_json(path / f"{split}_outputs.json", {"task": task, "golds": golds})
    _write_json(path / f"{split}_traits.json", sidecar)


def _new_example(
    task: str, seed: int, user: str, traits: Traits, split: Split, knobs: Knobs, inputs: set[str]
) -> GeneratedExample:
    """Draw the user's query, again while its answer is in the profile or its input in `inputs`.

    An answer in the profile could be copied instead of generated. Labels and scores are exempt.
    """
    form = FORMATS[task]
    for attempt in count():
        stream = _stream(seed, task, user, attempt) if attempt else _stream(seed, task, user)
        made = make_example(task, stream, traits, split, knobs)
        profile_outputs = {item[form.output_key] for item in made.profile}
        if made.input not in inputs and (form.labels or not profile_outputs & {made.oracle, made.gold}):
            return made
    raise AssertionError("unreachable: attempts do not end")


def _write_instructions(path: Path, seed: int) -> None:
    styles = NoticeStyles(_stream(seed, "notices"))
    pool = styles.pool(_stream(seed, "pool"))
    pool_answers = {example.output for example in pool}
    for split, count_ in INSTRUCTIONS.items():
        random = _stream(seed, "instructions", split)
        departments = styles.lora_departments if split == "lora" else styles.departments
        _write_lines(
            path / f"{split}.jsonl",
            (
                _line(_instruction_not_in_pool(styles, random, number, departments, pool_answers))
                for number in range(count_)
            ),
        )
    _write_lines(path / "pool.jsonl", map(_line, pool))


def _line(instruction: Instruction) -> dict[str, Any]:
    """Return an instruction as stored in this version: Alpaca's three fields and an id."""
    return {name: value for name, value in asdict(instruction).items() if name != "kind"}


def _instruction_not_in_pool(
    styles: NoticeStyles, random: Random, number: int, departments: tuple[str, ...], pool_answers: set[str]
) -> Instruction:
    """Return an instruction whose answer does not occur in the pool."""
    while (made := styles.instruction(random, number, departments)).output in pool_answers:
        pass
    return made


def _write_json(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")


def _write_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
