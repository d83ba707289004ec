"""What a run was trained on, as digests: enough to tell whether a question was among it, and no more.

`trained_on.txt` holds one digest of 16 hex digits a line, sorted: of each text that the run learnt to
answer (an input, a prompt, an instruction) with the answer it learnt and, where the data knows it, the
user, all without case, space and punctuation. The texts themselves are not in it.
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


def seen_digest(text: str, answer: str = "", user_id: str = "") -> str:
    """Return what an item of training is known by; items of the same words have the same."""
    words = "\0".join((normalized(text), normalized(answer), user_id))
    return hashlib.blake2b(words.encode(errors="replace"), digest_size=8).hexdigest()


def store_digests(store: ExampleStore) -> Iterator[str]:
    """Yield the digest of each example; ids that the reader made name nobody in another split."""
    users = [""] * len(store) if store.has_derived_user_ids else store.user_ids
    for text, gold, user_id in zip(store.inputs, store.golds, users, strict=True):
        yield seen_digest(text, gold or "", user_id)


def record_trained_on(run: Run, digests: Iterable[str]) -> None:
    """Write down in the run what it is trained on; call it once, with all of it."""
    if run.writes:
        lines = sorted(set(digests))
        write_text(run.folder / TRAINED_ON_FILE, "".join(f"{digest}\n" for digest in lines))


def read_trained_on(folder: Path) -> frozenset[str] | None:
    """Return the digests of what a run was trained on, None where it has not written them down."""
    path = folder / TRAINED_ON_FILE
    try:
        return frozenset(path.read_text(encoding="ascii").split())
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: cannot be read: {error}, expected one digest a line", hint="train the run again"
        ) from error
