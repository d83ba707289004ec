"""The answer cache: completions on disk, keyed by content. No request is sent twice."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

from filelock import FileLock

from personakit.contracts import LanguageModel
from personakit.errors import RunError, UserError
from personakit.files import cache_folder
from personakit.models.fingerprint import answer_fingerprint
from personakit.models.reasoning import remove_reasoning
from personakit.models.refusal import Cut, NoAnswer, Refusal
from personakit.models.stopwatch import working_time

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS took (key BLOB PRIMARY KEY, seconds REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cut (key BLOB PRIMARY KEY) WITHOUT ROWID;
"""
_VERSION = 1  # of the file (`PRAGMA user_version`): from 1 on, answers are stored without reasoning
_KEYS_PER_QUERY = 500  # SQLite allows a bounded number of parameters in one statement


class FingerprintedModel(LanguageModel, Protocol):
    """A `LanguageModel` with a fingerprint that identifies everything that determines its answers."""

    @property
    def fingerprint(self) -> str:
        """Hash of weights, tokenizer and configuration, or of an endpoint's address and model name."""
        ...


@runtime_checkable
class StreamingModel(Protocol):
    """A model that reports each answer as soon as it arrives (an endpoint) instead of all at the end.

    It may have `temperature_rejected` (the server samples at a temperature of its own) and `settled` (whether
    that is known: after the first answer).
    """

    def generate_streaming(
        self,
        prompts: Sequence[str],
        keep: Callable[[int, int, str], None],
        *,
        samples: int = 1,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[list[str]]:
        """Like `LanguageModel.generate`, and call `keep(prompt index, sample number, text)` per answer.

        `keep` is not called for answers that must not be cached; they are only in the result.
        """
        ...


def cache_keys(
    fingerprint: str,
    prompt: str,
    *,
    samples: int,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    temperature_rejected: bool = False,
) -> list[bytes]:
    """Return the cache keys of the answers to `prompt`: one key, or one per sample if temperature > 0.

    `temperature_rejected` says that the server samples at a temperature of its own (`StreamingModel`).
    """

    def key(*stream: int) -> bytes:
        used = "the server's" if temperature_rejected else float(temperature)
        parts = [fingerprint, prompt, max_new_tokens, used, *stream]
        return hashlib.sha256(json.dumps(parts).encode()).digest()

    return [key(seed, sample) for sample in range(samples)] if temperature > 0 else [key()]


class AnswerCache:
    """A table from key to answer in one SQLite file, safe for concurrent processes.

    Each `put` is one transaction in write-ahead mode, so a killed process loses at most the current batch.
    The file contains answers, not prompts.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Open or create the file, by default `answers/answers.sqlite` in the cache folder."""
        self.path = path or cache_folder() / "answers" / "answers.sqlite"
        self._lock = threading.Lock()
        with contextlib.ExitStack() as failed:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._connection = sqlite3.connect(
                    self.path, timeout=60, isolation_level=None, check_same_thread=False
                )
                failed.callback(self._connection.close)
                # Serialised: SQLite fails if two processes change the journal mode of a new file at once.
                with FileLock(f"{self.path}.lock"):
                    self._connection.execute("PRAGMA journal_mode=WAL")
                    self._connection.execute("PRAGMA synchronous=NORMAL")
                    self._connection.executescript(_SCHEMA)
                    _upgrade(self._connection)
            except (sqlite3.DatabaseError, OSError) as error:
                raise UserError(
                    f'answer cache "{self.path}" cannot be opened: {error}',
                    hint="delete it (the answers are then requested again), or set PERSONAKIT_CACHE",
                ) from error
            failed.pop_all()

    def get(self, keys: Iterable[bytes]) -> dict[bytes, str]:
        """Return the cached answers, as `Cut` where they are. Missing keys are not in the result."""
        found: dict[bytes, str] = self._select("SELECT key, text FROM answers WHERE key IN", keys)
        for key in self._select("SELECT key, key FROM cut WHERE key IN", found):
            found[key] = Cut(found[key])
        return found

    def _select(self, query: str, keys: Iterable[bytes]) -> dict[bytes, Any]:
        distinct = list(dict.fromkeys(keys))
        found: dict[bytes, Any] = {}
        for start in range(0, len(distinct), _KEYS_PER_QUERY):
            chunk = distinct[start : start + _KEYS_PER_QUERY]
            placeholders = ",".join("?" * len(chunk))
            with self._lock:
                try:
                    found.update(self._connection.execute(f"{query} ({placeholders})", chunk))
                except sqlite3.DatabaseError as error:
                    raise self._database_error("read", error) from error
        return found

    def seconds(self, keys: Iterable[bytes]) -> float:
        """Return the total generation time of the answers of `keys` in seconds, as far as it is known."""
        return math.fsum(self._select("SELECT key, seconds FROM took WHERE key IN", keys).values())

    def put(self, answers: Mapping[bytes, str], *, seconds: float = 0.0) -> None:
        """Store `answers`, whose generation took `seconds` in total, in one transaction.

        Existing answers are not overwritten.
        """
        seconds_each = seconds / max(1, len(answers))
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                # The mark first, and only for new answers: "OR IGNORE" tells nothing about a single row.
                self._connection.executemany(
                    "INSERT OR IGNORE INTO cut SELECT ?1 WHERE NOT EXISTS "
                    "(SELECT 1 FROM answers WHERE key = ?1)",
                    ((key,) for key, text in answers.items() if isinstance(text, Cut)),
                )
                self._connection.executemany(
                    "INSERT OR IGNORE INTO answers VALUES (?, ?)",
                    ((key, str(text)) for key, text in answers.items()),
                )
                self._connection.executemany(
                    "INSERT OR IGNORE INTO took VALUES (?, ?)", ((key, seconds_each) for key in answers)
                )
                self._connection.execute("COMMIT")
            except sqlite3.DatabaseError as error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise self._database_error("written", error) from error

    def _database_error(self, verb: str, error: sqlite3.DatabaseError) -> RunError:
        return RunError(
            f'answer cache "{self.path}" cannot be {verb}: {error}',
            hint="free disk space, delete the file if it is damaged (the answers are then requested again), "
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


def _upgrade(connection: sqlite3.Connection) -> None:
    """Remove reasoning from answers of earlier versions, and those that consist of nothing else."""
    if connection.execute("PRAGMA user_version").fetchone()[0] >= _VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    rows = connection.execute(
        "SELECT key, text FROM answers WHERE "
        + " OR ".join(f"text LIKE '%{word}%'" for word in ("think", "thought", "reasoning", "channel"))
    ).fetchall()
    for key, text in rows:
        answer = remove_reasoning(text)
        if not answer:
            connection.execute("DELETE FROM answers WHERE key = ?", (key,))
        elif answer != text:
            connection.execute("UPDATE answers SET text = ? WHERE key = ?", (answer, key))
    connection.execute(f"PRAGMA user_version = {_VERSION}")
    connection.execute("COMMIT")


class CachedModel:
    """Any model with the answer cache: only missing answers are generated, and stored.

    A `StreamingModel` model has each answer stored as soon as it arrives. Other models generate in chunks,
    and each chunk is stored at once.

    Cache keys consist of the model's fingerprint and number format, the prompt and the decoding options; with
    temperature > 0 also seed and sample number. `hits` and `misses` count samples since construction.
    `seconds_saved` is the original generation time of the hits, so that reported times do not depend on the
    state of the cache.
    Answers of a server that rejects the temperature have keys of their own: they are not greedy.

    If some samples of a prompt are cached and more are requested, only the missing ones are generated, with a
    derived seed. They are independent draws, but not those of a single larger request.
    """

    def __init__(
        self,
        model: FingerprintedModel,
        cache: AnswerCache | None = None,
        *,
        chunk: int = 512,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Wrap `model`. `on_progress(done, total)` counts prompts.

        `chunk` is the number of prompts per call for models that do not report single answers, and so the
        most that an interruption loses.
        """
        self.model = model
        self.cache = AnswerCache() if cache is None else cache  # an empty cache is falsy
        self.hits = 0
        self.misses = 0
        self.seconds_saved = 0.0
        self._chunk = chunk
        self._on_progress = on_progress

    @property
    def fingerprint(self) -> str:
        """The wrapped model's fingerprint."""
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
        """Return `samples` completions per prompt in input order, like the wrapped model."""
        distinct_samples = samples if temperature > 0 else 1
        decoding: dict[str, Any] = {"max_new_tokens": max_new_tokens, "temperature": temperature}
        keys = self._keys(prompts, samples=distinct_samples, seed=seed, **decoding)
        cached = self.cache.get(key for row in keys.values() for key in row)
        made: set[bytes] = set()
        first = next((prompt for prompt, row in keys.items() if not cached.keys() >= set(row)), None)
        if first is not None and not getattr(self.model, "settled", True):
            # Its answer tells whether the server rejects the temperature, which the keys depend on.
            before, began = keys[first], working_time()
            open_keys = [key for key in before if key not in cached]
            count = len(open_keys)
            texts = cached | self._generate_missing(
                {first: open_keys},
                lambda done: None,
                samples=count,
                seed=_seed_for(seed, distinct_samples - count),
                **decoding,
            )
            seconds = working_time() - began
            keys = self._keys(prompts, samples=distinct_samples, seed=seed, **decoding)
            new_texts = {
                now: texts[then] for then, now in zip(before, keys[first], strict=True) if then in open_keys
            }
            self.cache.put(_cacheable(new_texts), seconds=seconds)  # where it is not there yet
            made = set(new_texts)
            cached = new_texts | self.cache.get(key for row in keys.values() for key in row)
        missing: dict[int, list[str]] = {}  # prompts by their number of cached samples
        for prompt, row in keys.items():
            cached_count = sum(key in cached for key in row)
            if cached_count < distinct_samples:
                missing.setdefault(cached_count, []).append(prompt)
        new = sum(
            len(incomplete_prompts) * (distinct_samples - cached_count)
            for cached_count, incomplete_prompts in missing.items()
        )
        self.misses += new + len(made)
        self.hits += len(keys) * distinct_samples - new - len(made)
        self.seconds_saved += self.cache.seconds(key for key in cached if key not in made)

        done, total = len(keys) - sum(map(len, missing.values())), len(keys)
        self._report(done, total)
        for cached_count, incomplete_prompts in missing.items():
            missing_keys = {
                prompt: [key for key in keys[prompt] if key not in cached] for prompt in incomplete_prompts
            }
            done_before = done

            def report_progress(prompts_done: int, done_before: int = done_before) -> None:
                self._report(done_before + prompts_done, total)

            cached.update(
                self._generate_missing(
                    missing_keys,
                    report_progress,
                    samples=distinct_samples - cached_count,
                    seed=_seed_for(seed, cached_count),
                    **decoding,
                )
            )
            done += len(incomplete_prompts)
        return [
            [cached[key] for key in keys[prompt]] * (1 if distinct_samples == samples else samples)
            for prompt in prompts
        ]

    def score(
        self, prompts: Sequence[str], completions: Sequence[str], *, begun: Sequence[str] | None = None
    ) -> list[float]:
        """Return the wrapped model's scores. They are not cached."""
        return self.model.score(prompts, completions, begun=begun)

    def count_tokens(self, text: str) -> int:
        """Return the wrapped model's token count."""
        return self.model.count_tokens(text)

    def _keys(self, prompts: Sequence[str], **decoding: Any) -> dict[str, list[bytes]]:
        rejected, identity = self._temperature_rejected(), answer_fingerprint(self.model)
        return {
            prompt: cache_keys(identity, prompt, temperature_rejected=rejected, **decoding)
            for prompt in prompts
        }

    def _generate_missing(
        self, missing_keys: Mapping[str, list[bytes]], report_progress: Callable[[int], None], **decoding: Any
    ) -> dict[bytes, str]:
        """Generate the answers for the missing keys of each prompt and store them; report progress."""
        prompts = list(missing_keys)
        answers: dict[bytes, str] = {}
        if isinstance(self.model, StreamingModel):
            rejected = self._temperature_rejected()
            lock = threading.Lock()
            last = working_time()

            def keep(index: int, sample: int, text: str) -> None:
                nonlocal last
                answer = {missing_keys[prompts[index]][sample]: text}
                with lock:  # concurrent requests: the time since the last answer, so that times add up
                    seconds, last = working_time() - last, working_time()
                if self._temperature_rejected() == rejected:  # else the keys are of another temperature
                    self.cache.put(answer, seconds=seconds)
                with lock:
                    answers.update(answer)
                    report_progress(len(answers) // decoding["samples"])

            rows = self.model.generate_streaming(prompts, keep, **decoding)
            for prompt, texts in zip(prompts, rows, strict=True):
                for key, text in zip(missing_keys[prompt], texts, strict=True):
                    answers.setdefault(key, text)  # an answer that must not be cached
            return answers
        for start in range(0, len(prompts), self._chunk):
            chunk = prompts[start : start + self._chunk]
            began = working_time()
            rows = self.model.generate(chunk, **decoding)
            new = {
                key: text
                for prompt, texts in zip(chunk, rows, strict=True)
                for key, text in zip(missing_keys[prompt], texts, strict=True)
            }
            self.cache.put(_cacheable(new), seconds=working_time() - began)
            answers.update(new)
            report_progress(start + len(chunk))
        return answers

    def _temperature_rejected(self) -> bool:
        return bool(getattr(self.model, "temperature_rejected", False))

    def _report(self, done: int, total: int) -> None:
        if self._on_progress is not None:
            self._on_progress(done, total)


def _cacheable(answers: Mapping[bytes, str]) -> dict[bytes, str]:
    return {key: text for key, text in answers.items() if not isinstance(text, Refusal | NoAnswer)}


def _seed_for(seed: int, cached_count: int) -> int:
    """Return the seed of a request: a derived one if some samples are already cached."""
    if cached_count == 0:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed}\0{cached_count}".encode()).digest()[:4], "big")
