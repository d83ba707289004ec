"""The pool as a part of a run: saved with it, and read again only as it was."""

from __future__ import annotations

from pathlib import Path

from personakit.data.instructions import write_instructions
from personakit.data.instructions.pools import read_pool
from personakit.errors import UserError
from personakit.records import Pool

FILE = "pool.jsonl"


def save_pool(pool: Pool, folder: Path) -> None:
    """Write the pool into a run's folder, one prompt a line."""
    write_instructions(folder / FILE, pool.prompts)


def load_pool(folder: Path, fingerprint: str) -> Pool:
    """Read a run's pool; raises `UserError` where it is not there, or not the one known by `fingerprint`."""
    path = folder / FILE
    if not path.is_file():
        raise UserError(f"{path}: the run's pool is missing", hint="put it back, or train the run again")
    pool = read_pool(path).pool
    if pool.fingerprint != fingerprint:
        raise changed(str(path), len(pool))
    return pool


def changed(name: str, size: int) -> UserError:
    """What is said of a pool that is not the one a matching network was trained on."""
    return UserError(
        f"{name}: the pool ({size} prompts) has changed since the matching network was trained on it",
        hint="pick from the run's own pool.jsonl as it was, or train again on the new pool",
    )
