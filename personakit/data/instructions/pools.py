"""Opens prompt pools: a file of prompts, a split of the instructions, or a user's profile.

A pool is part of a trained run: the matching network has learned the rewards of *these* prompts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from personakit.data.folders import LAMP_MINI, data_folder
from personakit.data.instructions import native
from personakit.data.instructions.store import instruction_files, open_instructions, with_kind
from personakit.data.lamp_mini.facts import is_lamp_mini
from personakit.data.near_duplicates import normalized
from personakit.errors import UserError
from personakit.records import Instruction, Pool

POOL = "pool"


@dataclass(frozen=True, slots=True)
class OpenedPool:
    """A pool, its name for messages, and the number of repeated prompts that were left out."""

    name: str
    pool: Pool
    repeated: int = 0


def open_pool(
    source: str | Path = POOL, data: str | Path = LAMP_MINI, *, limit: int | None = None
) -> OpenedPool:
    """Open the prompts that `source` names: `pool` (the data folder's own), a split, or a file.

    `limit` keeps only the first prompts. Raises `UserError` if there are none, or if a file contains a prompt
    twice. Repeated prompts of a split are left out and counted.
    """
    if str(source) == POOL:
        path = data_folder(data) / native.FOLDER / f"{POOL}.jsonl"
        if not path.is_file():
            raise UserError(
                f"{data} has no pool of prompts ({native.FOLDER}/{POOL}.jsonl)",
                hint="give a split to take prompts from, such as lora, or a file of prompts",
            )
        pool = read_pool(path, lamp_mini=is_lamp_mini(data_folder(data)))
    elif str(source) in instruction_files(data_folder(data)):
        pool = _pool_of_split(data, str(source))
    else:
        path = Path(source).expanduser()
        if not path.is_file():
            raise UserError(
                f"{source} is neither a file of prompts nor a split of {data}",
                hint=f"use {POOL}, a split ({', '.join(instruction_files(data_folder(data))) or 'none'}), "
                "or a JSONL file",
            )
        pool = read_pool(path)
    return pool if limit is None else OpenedPool(pool.name, Pool.of(pool.pool.prompts[:limit]), pool.repeated)


def read_pool(path: Path, *, lamp_mini: bool = False) -> OpenedPool:
    """Open a file of prompts. Raises `UserError` if it is empty or contains a prompt twice."""
    prompts = [with_kind(prompt, lamp_mini=lamp_mini) for prompt in native.read_instructions(path)]
    seen: dict[str, Instruction] = {}
    for prompt in prompts:
        first = seen.setdefault(_key(prompt), prompt)
        if first is not prompt:
            raise UserError(
                f'{path}: prompt "{prompt.id}" repeats prompt "{first.id}" ({prompt.output[:60]!r})',
                hint="prompts of a pool must be distinct: remove one of the two",
            )
    return OpenedPool(str(path), Pool.of(prompts))


def _pool_of_split(data: str | Path, split: str) -> OpenedPool:
    store = open_instructions(data, split)
    kept = _distinct(store)
    return OpenedPool(f"{data}, {split}", Pool.of(kept), len(store) - len(kept))


def _distinct(prompts: Iterable[Instruction]) -> tuple[Instruction, ...]:
    """Return the prompts without repetitions, keeping the first of each."""
    kept: dict[str, Instruction] = {}
    for prompt in prompts:
        kept.setdefault(_key(prompt), prompt)
    return tuple(kept.values())


def _key(prompt: Instruction) -> str:
    return "\n".join(map(normalized, (prompt.instruction, prompt.input, prompt.output)))


def check_pool(pool: Pool, name: str, m: int) -> None:
    """Raise `UserError` if the pool is empty or has fewer prompts than are to be selected."""
    if not len(pool):
        raise UserError(f"{name}: the pool has no prompts, expected at least {m}", hint="add prompts")
    if m > len(pool):
        raise UserError(
            f"{name}: cannot select {m} prompts from a pool of {len(pool)}",
            hint=f"select at most {len(pool)}, or add prompts",
        )
