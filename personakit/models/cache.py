"""The answer cache: content-addressed, on disk. An API is never paid twice, a stopped job goes on."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol

from personakit.contracts import LanguageModel
from personakit.errors import RunError, UserError
from personakit.files import cache_folder

_SCHEMA = "CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID"
_KEYS_PER_QUERY = 500  # SQLite allows a bounded number of parameters in one statement


class KnownModel(LanguageModel, Protocol):
    """A `LanguageModel` that can say in one string what decides its answers."""

    @property
    def fingerprint(self) -> str:
        """Digest of weights, tokenizer and configuration, or of an endpoint's address and model."""
        ...


class AnswerCache:
    """A table from key to answer text in one SQLite file, safe for several processes at once.

    Each `put` is one transaction in write-ahead mode: a process killed at any moment loses at most
    the batch in flight. The file holds answers, not prompts; deleting it deletes them.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Open or make the file; by default `answers/answers.sqlite` in the cache folder."""
        self.path = path or cache_folder() / "answers" / "answers.sqlite"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            self.path, timeout=60, isolation_level=None, check_same_thread=False
        )
        try:
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute(_SCHEMA)
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise UserError(
                f'answer cache "{self.path}" cannot be opened: {error}',
                hint="delete the file (answers are then asked for again), or set PERSONAKIT_CACHE elsewhere",
            ) from error

    def get(self, keys: Iterable[bytes]) -> dict[bytes, str]:
        """Return the answers that are there; a key that is not there is not in the result."""
        wanted = list(dict.fromkeys(keys))
        found: dict[bytes, str] = {}
        for start in range(0, len(wanted), _KEYS_PER_QUERY):
            some = wanted[start : start + _KEYS_PER_QUERY]
            marks = ",".join("?" * len(some))
            with self._lock:
                found.update(
                    self._connection.execute(f"SELECT key, text FROM answers WHERE key IN ({marks})", some)
                )
        return found

    def put(self, answers: Mapping[bytes, str]) -> None:
        """Store `answers` in one transaction. An answer that is already there stays as it is."""
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?)", answers.items())
                self._connection.execute("COMMIT")
            except sqlite3.OperationalError as error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise RunError(
                    f'answer cache "{self.path}" cannot be written: {error}',
                    hint="free space on its disk, or set PERSONAKIT_CACHE to another folder",
                ) from error

    def __len__(self) -> int:
        with self._lock:
            return int(self._connection.execute("SELECT COUNT(*) FROM answers").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> AnswerCache:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class CachedModel:
    """Any model behind the cache: only what is not there is asked for, in chunks, each stored at once.

    Keys are the model's fingerprint, the prompt and the decoding options; with temperature above 0
    also seed and sample number. `hits` and `misses` count samples since construction.

    When a prompt's first samples are there and more are wanted, only the rest is asked for, under a
    seed derived from the given one: nothing is paid twice, the draws are independent, but they are not
    the ones a single larger request would have brought.
    """

    def __init__(
        self,
        model: KnownModel,
        cache: AnswerCache | None = None,
        *,
        chunk: int | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Wrap `model`. `on_progress(done, total)` counts prompts.

        `chunk` prompts are asked at a time, and where one of them fails the answers to all are lost:
        by default the model's own `chunk` (small for an endpoint), else 512.
        """
        self.model = model
        self.cache = AnswerCache() if cache is None else cache  # an empty one is false
        self.hits = 0
        self.misses = 0
        self._chunk = chunk or int(getattr(model, "chunk", 512))
        self._on_progress = on_progress

    @property
    def fingerprint(self) -> str:
        """The wrapped model's."""
        return self.model.fingerprint

    def generate(
        self,
        prompts: Sequence[str],
        *,
        samples: int = 1,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[list[str]]:
        """Return `samples` completions per prompt, as the wrapped model would, in input order."""
        drawn = samples if temperature > 0 else 1

        def key(prompt: str, sample: int) -> bytes:
            stream = [seed, sample] if temperature > 0 else []
            parts = [self.fingerprint, prompt, max_new_tokens, float(temperature), *stream]
            return hashlib.sha256(json.dumps(parts).encode()).digest()

        keys = {prompt: [key(prompt, sample) for sample in range(drawn)] for prompt in prompts}
        known = self.cache.get(key for row in keys.values() for key in row)
        missing: dict[int, list[str]] = {}  # by the number of samples that are there
        for prompt, row in keys.items():
            there = sum(key in known for key in row)
            if there < drawn:
                missing.setdefault(there, []).append(prompt)
        new = sum(len(some) * (drawn - there) for there, some in missing.items())
        self.misses += new
        self.hits += len(keys) * drawn - new

        total = len(keys)
        done = total - sum(map(len, missing.values()))
        self._report(done, total)
        for there, some in missing.items():
            for start in range(0, len(some), self._chunk):
                chunk = some[start : start + self._chunk]
                rows = self.model.generate(
                    chunk,
                    samples=drawn - there,
                    max_new_tokens=max_new_tokens,
                    temperature=temperature,
                    seed=_later_seed(seed, there),
                )
                answers: dict[bytes, str] = {}
                for prompt, texts in zip(chunk, rows, strict=True):
                    absent = [key for key in keys[prompt] if key not in known]
                    answers.update(zip(absent, texts, strict=True))
                self.cache.put(answers)
                known.update(answers)
                done += len(chunk)
                self._report(done, total)
        return [
            [known[key] for key in keys[prompt]] * (1 if drawn == samples else samples) for prompt in prompts
        ]

    def score(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """Return the wrapped model's scores; they are not cached."""
        return self.model.score(prompts, completions)

    def count_tokens(self, text: str) -> int:
        """Return the wrapped model's count."""
        return self.model.count_tokens(text)

    def _report(self, done: int, total: int) -> None:
        if self._on_progress is not None:
            self._on_progress(done, total)


def _later_seed(seed: int, there: int) -> int:
    """The given seed for a first request; another, far from it, for samples beyond those that are there."""
    if there == 0:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed}\0{there}".encode()).digest()[:4], "big")
