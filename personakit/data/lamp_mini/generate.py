"""Writes lamp-mini: seven LaMP tasks in LaMP's files, preference pairs and an instruction pool.

Everything comes from a seed through named random streams, one a user and task, so that no part moves
when another is made longer. The folder is keyed by version, seed and knobs, and written whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from personakit.data.lamp_formats import FORMATS
from personakit.data.lamp_mini.instructions import House
from personakit.data.lamp_mini.preferences import make_preferences
from personakit.data.lamp_mini.traits import Knobs, Traits, draw_traits
from personakit.data.lamp_mini.users import TASKS, MadeExample, make_example
from personakit.data.lamp_mini.words import Bank
from personakit.files import atomic_folder, cache_folder, write_json
from personakit.records import Instruction

VERSION = 1
"""Raised whenever one byte of the standard files changes. Scores of two versions do not compare."""

STANDARD_SEED = 2026
USERS = {"train": 1000, "dev": 300, "test": 400}
INSTRUCTIONS = {"lora": 600, "train": 600, "dev": 300, "test": 400}
_BANK: Bank = "town"


def folder(seed: int = STANDARD_SEED, knobs: Knobs | None = None) -> Path:
    """The benchmark's folder in the cache; made first where it is not there."""
    knobs = knobs or Knobs()
    key = hashlib.sha256(json.dumps(asdict(knobs), sort_keys=True).encode()).hexdigest()[:8]
    path = cache_folder() / "lamp-mini" / f"v{VERSION}-seed{seed}-{key}"
    if not path.is_dir():
        make(path, seed=seed, knobs=knobs)
    return path


def make(path: Path, *, seed: int = STANDARD_SEED, knobs: Knobs | None = None) -> None:
    """Write the benchmark of `seed` into the new folder `path`, whole or not at all."""
    knobs = knobs or Knobs()
    with atomic_folder(path) as temporary:
        for split, users in USERS.items():
            traits = {
                f"{split}-{number:04d}": draw_traits(_stream(seed, split, number), _BANK, knobs)
                for number in range(users)
            }
            for task in TASKS:
                _write_task(temporary / task, task, split, seed, traits, knobs)
            _write_lines(
                temporary / "preferences" / f"{split}.jsonl",
                (
                    make_preferences(_stream(seed, "pairs", user), user, of, _BANK, knobs)
                    for user, of in traits.items()
                ),
            )
        _write_instructions(temporary / "instructions", seed)
        write_json(
            temporary / "dataset.json",
            {"name": "lamp-mini", "version": VERSION, "seed": seed, "knobs": asdict(knobs), "users": USERS},
        )


def _stream(*names: object) -> Random:
    return Random("/".join(map(str, ("lamp-mini", VERSION, *names))))


def _write_task(path: Path, task: str, split: str, seed: int, users: dict[str, Traits], knobs: Knobs) -> None:
    questions, golds, sidecar = [], [], {}
    for number, (user, traits) in enumerate(users.items()):
        made = _unwritten_example(task, seed, user, traits, knobs)
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
    _write_plain(path / f"{split}_questions.json", questions)
    _write_plain(path / f"{split}_outputs.json", {"task": task, "golds": golds})
    _write_plain(path / f"{split}_traits.json", sidecar)


def _unwritten_example(task: str, seed: int, user: str, traits: Traits, knobs: Knobs) -> MadeExample:
    """The user's query, drawn anew while its answer stands word for word in the user's own history.

    Labels and scores repeat by nature; a text that does could be copied instead of written.
    """
    form = FORMATS[task]
    for attempt in count():
        stream = _stream(seed, task, user, attempt) if attempt else _stream(seed, task, user)
        made = make_example(task, stream, traits, _BANK, knobs)
        written = {item[form.output_key] for item in made.profile}
        if form.labels or not written & {made.oracle, made.gold}:
            return made
    raise AssertionError("unreachable: attempts do not end")


def _write_instructions(path: Path, seed: int) -> None:
    house = House(_stream(seed, "house"))
    pool = house.pool(_stream(seed, "pool"))
    shown = {example.output for example in pool}
    for split, number_of in INSTRUCTIONS.items():
        random = _stream(seed, "instructions", split)
        desks = house.lora_desks if split == "lora" else house.desks
        _write_lines(
            path / f"{split}.jsonl",
            (_line(_unshown(house, random, number, desks, shown)) for number in range(number_of)),
        )
    _write_lines(path / "pool.jsonl", map(_line, pool))


def _line(instruction: Instruction) -> dict[str, Any]:
    """An instruction as the files of this version hold it: Alpaca's three fields and an id."""
    return {name: value for name, value in asdict(instruction).items() if name != "kind"}


def _unshown(
    house: House, random: Random, number: int, desks: tuple[str, ...], shown: set[str]
) -> Instruction:
    """An instruction whose answer no example of the pool gives away."""
    while (made := house.instruction(random, number, desks)).output in shown:
        pass
    return made


def _write_plain(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")


def _write_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
