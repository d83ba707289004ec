"""The pool as part of a run: saved with it, and verified when it is read."""

from __future__ import annotations

from pathlib import Path

from personakit.data.instructions import write_instructions
from personakit.data.instructions.pools import read_pool
from personakit.errors import UserError
from personakit.records import Pool

FILE = "pool.jsonl"


def save_pool(pool: Pool, folder: Path) -> None:
    """Write the pool into a run's folder, one prompt per line."""
    write_instructions(folder / FILE, pool.prompts)


def load_pool(folder: Path, fingerprint: str) -> Pool:
    """Read a run's pool; raises `UserError` if it is missing or differs from `fingerprint`."""
    path = folder / FILE
    if not path.is_file():
        raise UserError(f"{path}: the run's pool is missing", hint="restore the file, or train again")
    pool = read_pool(path).pool
    if pool.fingerprint != fingerprint:
        raise pool_changed_error(str(path), len(pool))
    return pool


def pool_changed_error(name: str, size: int) -> UserError:
    """Return the error for a pool that differs from the one a matching network was trained on."""
    return UserError(
        f"{name}: the pool ({size} prompts) has changed since the matching network was trained on it",
        hint="restore the run's pool.jsonl, or train again on the new pool",
    )
