"""Digests of a run's training examples, to detect whether a query was among them.

`trained_on.txt` holds one digest of 16 hex digits per line, sorted. Each is of an input, prompt or
instruction with its training answer and, if known, the user, without case, spaces and punctuation. The texts
are not stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from personakit.data.near_duplicates import normalized
from personakit.errors import UserError
from personakit.files import write_text
from personakit.training.run import Run

if TYPE_CHECKING:
    from personakit.data.store import ExampleStore

TRAINED_ON_FILE = "trained_on.txt"


def training_digest(text: str, answer: str = "", user_id: str = "") -> str:
    """Return the digest of a training example; examples with the same words have the same digest."""
    words = "\0".join((normalized(text), normalized(answer), user_id))
    return hashlib.blake2b(words.encode(errors="replace"), digest_size=8).hexdigest()


def store_digests(store: ExampleStore) -> Iterator[str]:
    """Yield the digest of each example; derived user ids, which differ between splits, are left out."""
    users = [""] * len(store) if store.has_derived_user_ids else store.user_ids
    for text, gold, user_id in zip(store.inputs, store.golds, users, strict=True):
        yield training_digest(text, gold or "", user_id)


def record_trained_on(run: Run, digests: Iterable[str]) -> None:
    """Write the digests of all training examples into the run; call it once."""
    if run.writes:
        lines = sorted(set(digests))
        write_text(run.folder / TRAINED_ON_FILE, "".join(f"{digest}\n" for digest in lines))


def read_trained_on(folder: Path) -> frozenset[str] | None:
    """Return the digests of a run's training examples, or None if the run has not recorded them."""
    path = folder / TRAINED_ON_FILE
    try:
        return frozenset(path.read_text(encoding="ascii").split())
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: cannot be read: {error}, expected one digest per line", hint="train the run again"
        ) from error
