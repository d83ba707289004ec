"""The answer cache: content-addressed, on disk. An API is never paid twice, a stopped job goes on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

from filelock import FileLock

from personakit.contracts import LanguageModel
from personakit.errors import RunError, UserError
from personakit.files import cache_folder
from personakit.models.refusal import Refusal

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS took (key BLOB PRIMARY KEY, seconds REAL NOT NULL) WITHOUT ROWID;
"""
_KEYS_PER_QUERY = 500  # SQLite allows a bounded number of parameters in one statement


class KnownModel(LanguageModel, Protocol):
    """A `LanguageModel` that can say in one string what decides its answers."""

    @property
    def fingerprint(self) -> str:
        """Digest of weights, tokenizer and configuration, or of an endpoint's address and model."""
        ...


@runtime_checkable
class OneByOne(Protocol):
    """A model that hands over each answer the moment it is there (an endpoint), not all at the end."""

    def generate_and_keep(
        self,
        prompts: Sequence[str],
        keep: Callable[[int, int, str], None],
        *,
        samples: int = 1,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[list[str]]:
        """As `LanguageModel.generate`; `keep` is given the prompt's index, the sample's number, the text.

        An answer that should not be kept is in the result alone.
        """
        ...


def answer_keys(
    fingerprint: str, prompt: str, *, samples: int, max_new_tokens: int, temperature: float, seed: int
) -> list[bytes]:
    """Return what the cache knows the answers to `prompt` by: one key, with temperature one a sample."""

    def key(*stream: int) -> bytes:
        parts = [fingerprint, prompt, max_new_tokens, float(temperature), *stream]
        return hashlib.sha256(json.dumps(parts).encode()).digest()

    return [key(seed, sample) for sample in range(samples)] if temperature > 0 else [key()]


class AnswerCache:
    """A table from key to answer text in one SQLite file, safe for several processes at once.

    Each `put` is one transaction in write-ahead mode: a process killed at any moment loses at most
    the batch in flight. The file holds answers, not prompts; deleting it deletes them.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Open or make the file; by default `answers/answers.sqlite` in the cache folder."""
        self.path = path or cache_folder() / "answers" / "answers.sqlite"
        self._lock = threading.Lock()
        with contextlib.ExitStack() as failed:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._connection = sqlite3.connect(
                    self.path, timeout=60, isolation_level=None, check_same_thread=False
                )
                failed.callback(self._connection.close)
                # One at a time: of two that change a new file's journal at once SQLite refuses one, unwaited.
                with FileLock(f"{self.path}.lock"):
                    self._connection.execute("PRAGMA journal_mode=WAL")
                    self._connection.execute("PRAGMA synchronous=NORMAL")
                    self._connection.executescript(_SCHEMA)
            except (sqlite3.DatabaseError, OSError) as error:
                raise UserError(
                    f'answer cache "{self.path}" cannot be opened: {error}',
                    hint="delete it (answers are then asked for again), or set PERSONAKIT_CACHE elsewhere",
                ) from error
            failed.pop_all()

    def get(self, keys: Iterable[bytes]) -> dict[bytes, str]:
        """Return the answers that are there; a key that is not there is not in the result."""
        return self._select("SELECT key, text FROM answers WHERE key IN", keys)

    def _select(self, query: str, keys: Iterable[bytes]) -> dict[bytes, Any]:
        wanted = list(dict.fromkeys(keys))
        found: dict[bytes, Any] = {}
        for start in range(0, len(wanted), _KEYS_PER_QUERY):
            some = wanted[start : start + _KEYS_PER_QUERY]
            marks = ",".join("?" * len(some))
            with self._lock:
                try:
                    found.update(self._connection.execute(f"{query} ({marks})", some))
                except sqlite3.DatabaseError as error:
                    raise self._broken("read", error) from error
        return found

    def seconds(self, keys: Iterable[bytes]) -> float:
        """Return what the answers of `keys` took when they were made, together, as far as that is known."""
        return math.fsum(self._select("SELECT key, seconds FROM took WHERE key IN", keys).values())

    def put(self, answers: Mapping[bytes, str], *, seconds: float = 0.0) -> None:
        """Store `answers`, which took `seconds` together, in one transaction.

        An answer that is already there stays as it is.
        """
        each = seconds / max(1, len(answers))
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?)", answers.items())
                self._connection.executemany(
                    "INSERT OR IGNORE INTO took VALUES (?, ?)", ((key, each) for key in answers)
                )
                self._connection.execute("COMMIT")
            except sqlite3.DatabaseError as error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise self._broken("written", error) from error

    def _broken(self, verb: str, error: sqlite3.DatabaseError) -> RunError:
        return RunError(
            f'answer cache "{self.path}" cannot be {verb}: {error}',
            hint="free space on its disk, delete it where it is damaged (answers are then asked for again), "
            "or set PERSONAKIT_CACHE to another folder",
        )

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
    """Any model behind the cache: only what is not there is asked for, and stored.

    A model that hands its answers over `OneByOne` has each stored the moment it arrives; others are asked
    in chunks, each stored at once.

    Keys are the model's fingerprint, the prompt and the decoding options; with temperature above 0
    also seed and sample number. `hits` and `misses` count samples since construction, `seconds_saved` what
    the hits took when they were made: an answer's price in time does not depend on what was asked before.

    When a prompt's first samples are there and more are wanted, only the rest is asked for, under a
    seed derived from the given one: nothing is paid twice, the draws are independent, but they are not
    the ones a single larger request would have brought.
    """

    def __init__(
        self,
        model: KnownModel,
        cache: AnswerCache | None = None,
        *,
        chunk: int = 512,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Wrap `model`. `on_progress(done, total)` counts prompts.

        `chunk` prompts are asked at a time where the model cannot hand over answers one by one: what a
        kill or a failure loses at most.
        """
        self.model = model
        self.cache = AnswerCache() if cache is None else cache  # an empty one is false
        self.hits = 0
        self.misses = 0
        self.seconds_saved = 0.0
        self._chunk = chunk
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
        decoding: dict[str, Any] = {"max_new_tokens": max_new_tokens, "temperature": temperature}
        keys = {
            prompt: answer_keys(self.fingerprint, prompt, samples=drawn, seed=seed, **decoding)
            for prompt in prompts
        }
        known = self.cache.get(key for row in keys.values() for key in row)
        missing: dict[int, list[str]] = {}  # by the number of samples that are there
        for prompt, row in keys.items():
            there = sum(key in known for key in row)
            if there < drawn:
                missing.setdefault(there, []).append(prompt)
        new = sum(len(some) * (drawn - there) for there, some in missing.items())
        self.misses += new
        self.hits += len(keys) * drawn - new
        self.seconds_saved += self.cache.seconds(known)

        done, total = len(keys) - sum(map(len, missing.values())), len(keys)
        self._report(done, total)
        for there, some in missing.items():
            absent = {prompt: [key for key in keys[prompt] if key not in known] for prompt in some}
            before = done

            def tell(prompts_done: int, before: int = before) -> None:
                self._report(before + prompts_done, total)

            known.update(
                self._ask(absent, tell, samples=drawn - there, seed=_later_seed(seed, there), **decoding)
            )
            done += len(some)
        return [
            [known[key] for key in keys[prompt]] * (1 if drawn == samples else samples) for prompt in prompts
        ]

    def score(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """Return the wrapped model's scores; they are not cached."""
        return self.model.score(prompts, completions)

    def count_tokens(self, text: str) -> int:
        """Return the wrapped model's count."""
        return self.model.count_tokens(text)

    def _ask(
        self, absent: Mapping[str, list[bytes]], tell: Callable[[int], None], **decoding: Any
    ) -> dict[bytes, str]:
        """Ask for the answers to the keys of each prompt, store them, and `tell` of prompts answered."""
        prompts = list(absent)
        answers: dict[bytes, str] = {}
        if isinstance(self.model, OneByOne):
            lock = threading.Lock()
            last = time.perf_counter()

            def keep(index: int, sample: int, text: str) -> None:
                nonlocal last
                answer = {absent[prompts[index]][sample]: text}
                with lock:  # several are in flight: from one to the next, so that all add up to the whole
                    seconds, last = time.perf_counter() - last, time.perf_counter()
                self.cache.put(answer, seconds=seconds)
                with lock:
                    answers.update(answer)
                    tell(len(answers) // decoding["samples"])

            rows = self.model.generate_and_keep(prompts, keep, **decoding)
            for prompt, texts in zip(prompts, rows, strict=True):
                for key, text in zip(absent[prompt], texts, strict=True):
                    answers.setdefault(key, text)  # one that was not to be kept
            return answers
        for start in range(0, len(prompts), self._chunk):
            chunk = prompts[start : start + self._chunk]
            began = time.perf_counter()
            rows = self.model.generate(chunk, **decoding)
            new = {
                key: text
                for prompt, texts in zip(chunk, rows, strict=True)
                for key, text in zip(absent[prompt], texts, strict=True)
            }
            answered = {key: text for key, text in new.items() if not isinstance(text, Refusal)}
            self.cache.put(answered, seconds=time.perf_counter() - began)
            answers.update(new)
            tell(start + len(chunk))
        return answers

    def _report(self, done: int, total: int) -> None:
        if self._on_progress is not None:
            self._on_progress(done, total)


def _later_seed(seed: int, there: int) -> int:
    """The given seed for a first request; another, far from it, for samples beyond those that are there."""
    if there == 0:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed}\0{there}".encode()).digest()[:4], "big")
