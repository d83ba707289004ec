"""The prompts to pick from: a file of them, a split of the instructions, or a user's own history.

A pool is a part of a trained run: the matching network has learnt what *these* prompts pay.
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
    """A pool, what it is called in messages, and how many prompts were left out as they repeat another."""

    name: str
    pool: Pool
    repeated: int = 0


def open_pool(
    source: str | Path = POOL, data: str | Path = LAMP_MINI, *, limit: int | None = None
) -> OpenedPool:
    """Open the prompts that `source` names: `pool` (the data folder's own), a split, or a file's path.

    `limit` takes the first so many. Raises `UserError` where there are none, and where a file of prompts
    holds one twice; a split's repeats are left out and counted.
    """
    if str(source) == POOL:
        path = data_folder(data) / native.FOLDER / f"{POOL}.jsonl"
        if not path.is_file():
            raise UserError(
                f"{data} has no pool of prompts ({native.FOLDER}/{POOL}.jsonl)",
                hint="name a split to take prompts from, such as lora, or a file of prompts",
            )
        pool = read_pool(path, lamp_mini=is_lamp_mini(data_folder(data)))
    elif str(source) in instruction_files(data_folder(data)):
        pool = _of_split(data, str(source))
    else:
        path = Path(source).expanduser()
        if not path.is_file():
            raise UserError(
                f"{source}: no such file of prompts, and no split of {data}",
                hint=f"{POOL}, a split ({', '.join(instruction_files(data_folder(data))) or 'none here'}), "
                "or a file in JSONL",
            )
        pool = read_pool(path)
    return pool if limit is None else OpenedPool(pool.name, Pool.of(pool.pool.prompts[:limit]), pool.repeated)


def read_pool(path: Path, *, lamp_mini: bool = False) -> OpenedPool:
    """Open a file of prompts. Raises `UserError` where it holds none, or one twice."""
    prompts = [with_kind(each, lamp_mini=lamp_mini) for each in native.read_instructions(path)]
    seen: dict[str, Instruction] = {}
    for each in prompts:
        first = seen.setdefault(_key(each), each)
        if first is not each:
            raise UserError(
                f'{path}: prompt "{each.id}" repeats prompt "{first.id}" ({each.output[:60]!r})',
                hint="a pool holds every prompt once: remove one of the two",
            )
    return OpenedPool(str(path), Pool.of(prompts))


def _of_split(data: str | Path, split: str) -> OpenedPool:
    store = open_instructions(data, split)
    kept = _distinct(store)
    return OpenedPool(f"{data}, {split}", Pool.of(kept), len(store) - len(kept))


def _distinct(prompts: Iterable[Instruction]) -> tuple[Instruction, ...]:
    """Return the prompts without those that repeat an earlier one."""
    kept: dict[str, Instruction] = {}
    for each in prompts:
        kept.setdefault(_key(each), each)
    return tuple(kept.values())


def _key(prompt: Instruction) -> str:
    return "\n".join(map(normalized, (prompt.instruction, prompt.input, prompt.output)))


def check_pool(pool: Pool, name: str, m: int) -> None:
    """Raise `UserError` where the pool is empty or smaller than the number of prompts to pick."""
    if not len(pool):
        raise UserError(f"{name}: the pool has no prompts, expected at least {m}", hint="add prompts to it")
    if m > len(pool):
        raise UserError(
            f"{name}: {m} prompts are to be picked from a pool of {len(pool)}",
            hint=f"pick at most {len(pool)}, or add prompts",
        )
