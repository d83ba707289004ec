from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from personakit.errors import RunError, UserError
from personakit.models.cache import AnswerCache, CachedModel
from personakit.models.clock import GenerationTimer


class Counting:
    """Answers with what it was asked, and remembers every request."""

    fingerprint = "counting"

    def __init__(self, fail_at: str | None = None) -> None:
        self.asked: list[tuple[str, int, int]] = []
        self.fail_at = fail_at

    def generate(
        self,
        prompts: Sequence[str],
        *,
        samples: int = 1,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[list[str]]:
        if self.fail_at in prompts:
            raise ConnectionError("gone")
        self.asked += [(prompt, samples, seed) for prompt in prompts]
        return [
            [f"{prompt}/{max_new_tokens}/{temperature}/{seed}/{n}" for n in range(samples)]
            for prompt in prompts
        ]

    def score(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        return [0.0] * len(prompts)

    def count_tokens(self, text: str) -> int:
        return len(text)


@pytest.fixture
def cache(tmp_path: Path) -> AnswerCache:
    return AnswerCache(tmp_path / "answers.sqlite")


def test_cached_answers_are_not_requested_again(cache: AnswerCache) -> None:
    model = Counting()
    first = CachedModel(model, cache)
    answers = first.generate(["a", "b", "a"], max_new_tokens=5)
    assert answers == [["a/5/0.0/0/0"], ["b/5/0.0/0/0"], ["a/5/0.0/0/0"]]
    assert [prompt for prompt, _, _ in model.asked] == ["a", "b"]
    again = CachedModel(model, cache)
    assert again.generate(["b", "c", "a"], max_new_tokens=5)[1] == ["c/5/0.0/0/0"]
    assert (again.hits, again.misses) == (2, 1)
    assert [prompt for prompt, _, _ in model.asked] == ["a", "b", "c"]


def test_the_cache_key_includes_model_length_temperature_and_seed(cache: AnswerCache) -> None:
    model = Counting()
    cached = CachedModel(model, cache)
    cached.generate(["a"], max_new_tokens=5)
    cached.generate(["a"], max_new_tokens=6)
    cached.generate(["a"], max_new_tokens=5, temperature=1.0)
    cached.generate(["a"], max_new_tokens=5, temperature=1.0, seed=1)
    other = Counting()
    other.fingerprint = "other"
    CachedModel(other, cache).generate(["a"], max_new_tokens=5)
    assert len(model.asked) == 4
    assert len(other.asked) == 1


def test_greedy_answers_do_not_depend_on_the_seed(cache: AnswerCache) -> None:
    model = Counting()
    cached = CachedModel(model, cache)
    assert cached.generate(["a"], max_new_tokens=5, seed=1) == cached.generate(
        ["a"], max_new_tokens=5, seed=2
    )
    assert cached.generate(["a"], samples=3, max_new_tokens=5)[0] == ["a/5/0.0/1/0"] * 3
    assert len(model.asked) == 1


def test_only_missing_samples_are_requested(cache: AnswerCache) -> None:
    model = Counting()
    cached = CachedModel(model, cache)
    two = cached.generate(["a"], samples=2, max_new_tokens=5, temperature=1.0)[0]
    five = cached.generate(["a"], samples=5, max_new_tokens=5, temperature=1.0)[0]
    assert five[:2] == two
    assert len(set(five)) == 5  # the later ones are other draws
    assert [samples for _, samples, _ in model.asked] == [2, 3]
    assert cached.generate(["a"], samples=5, max_new_tokens=5, temperature=1.0)[0] == five


def test_an_interrupted_job_keeps_its_finished_chunks(cache: AnswerCache) -> None:
    prompts = [f"p{n}" for n in range(10)]
    seen: list[tuple[int, int]] = []
    broken = CachedModel(
        Counting(fail_at="p7"), cache, chunk=3, on_progress=lambda done, of: seen.append((done, of))
    )
    with pytest.raises(ConnectionError):
        broken.generate(prompts, max_new_tokens=5)
    assert seen == [(0, 10), (3, 10), (6, 10)]
    model = Counting()
    rest = CachedModel(model, cache)
    assert len(rest.generate(prompts, max_new_tokens=5)) == 10
    assert [prompt for prompt, _, _ in model.asked] == ["p6", "p7", "p8", "p9"]


def test_a_cached_answer_is_not_overwritten(cache: AnswerCache) -> None:
    cache.put({b"k": "first"})
    cache.put({b"k": "second", b"l": "other"})
    assert cache.get([b"k", b"l", b"m"]) == {b"k": "first", b"l": "other"}
    assert len(cache) == 2


def test_many_keys_and_any_text(cache: AnswerCache) -> None:
    answers = {str(n).encode(): f"line\n\0 é {n}" for n in range(1700)}
    cache.put(answers)
    assert cache.get(answers) == answers


def test_concurrent_processes_and_a_killed_one_lose_at_most_a_batch(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    code = (
        "import sys, pathlib; from personakit.models.cache import AnswerCache\n"
        "cache = AnswerCache(pathlib.Path(sys.argv[1])); n = 0\n"
        "while True:\n"
        "    cache.put({f'{sys.argv[2]}/{n}/{i}'.encode(): 'x' * 50 for i in range(20)}); n += 1\n"
        "    print(n, flush=True)\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(path), name], stdout=subprocess.PIPE, text=True)
        for name in "ab"
    ]
    said = []
    for writer in writers:
        assert writer.stdout is not None
        said.append([int(writer.stdout.readline()) for _ in range(20)][-1])
    for writer in writers:
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        assert writer.stdout is not None
        writer.stdout.close()
    cache = AnswerCache(path)
    for name, batches in zip("ab", said, strict=True):
        assert (
            len(cache.get(f"{name}/{n}/{i}".encode() for n in range(batches) for i in range(20)))
            == batches * 20
        )
    assert len(cache) % 20 == 0  # no batch is half there
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_threads_share_one_cache(cache: AnswerCache) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: cache.put({f"{n}".encode(): "x"}), range(100)))
    assert len(cache) == 100


def test_a_damaged_cache_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(UserError, match=r"answers\.sqlite.*cannot be opened"):
        AnswerCache(path)


@pytest.mark.parametrize("place", ["answers.sqlite", "file/answers.sqlite"])
def test_an_unwritable_cache_path_is_reported(tmp_path: Path, place: str) -> None:
    (tmp_path / "answers.sqlite").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"answers\.sqlite.*cannot be opened") as caught:
        AnswerCache(tmp_path / place)
    assert "PERSONAKIT_CACHE" in caught.value.hint


def test_later_damage_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    answers = {f"{n:04}".encode(): "x" * 100 for n in range(1000)}
    with AnswerCache(path) as cache:
        cache.put(answers)
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))  # the first page holds the schema
    damaged = AnswerCache(path)
    with pytest.raises(RunError, match=r"answers\.sqlite.*cannot be read: .*malformed") as read:
        damaged.get(answers)
    with pytest.raises(RunError, match=r"answers\.sqlite.*cannot be written: .*malformed"):
        damaged.put({b"new": "text"})
    assert "delete the file" in read.value.hint


def test_streamed_answers_are_cached_at_once(cache: AnswerCache) -> None:
    class Paid(Counting):
        def generate_streaming(
            self, prompts: Sequence[str], keep: Callable[[int, int, str], None], **decoding: Any
        ) -> list[list[str]]:
            rows = self.generate(prompts, **decoding)
            for index, row in reversed(list(enumerate(rows))):  # they come in any order
                for sample, text in enumerate(row):
                    keep(index, sample, text)
                    if len(cache) == 5:
                        raise ConnectionError("gone")
            return rows

    prompts, seen = ["a", "b", "c", "d"], list[tuple[int, int]]()
    model = CachedModel(Paid(), cache, on_progress=lambda done, of: seen.append((done, of)))
    with pytest.raises(ConnectionError):
        model.generate(prompts, samples=2, max_new_tokens=5, temperature=1.0)
    assert len(cache) == 5
    assert seen[-1] == (2, 4)
    rest = Counting()
    rows = CachedModel(rest, cache).generate(prompts, samples=2, max_new_tokens=5, temperature=1.0)
    assert rows[3] == ["d/5/1.0/0/0", "d/5/1.0/0/1"]
    assert [(prompt, samples) for prompt, samples, _ in rest.asked] == [("a", 2), ("b", 1)]


def test_generation_time_of_cached_answers_is_counted(cache: AnswerCache) -> None:
    class Slow(Counting):
        def generate(self, prompts: Sequence[str], **how: Any) -> list[list[str]]:
            time.sleep(0.05 * len(prompts))
            return super().generate(prompts, **how)

    asked = CachedModel(Slow(), cache)
    clock = GenerationTimer(asked)
    asked.generate(["a", "b"], max_new_tokens=5)
    assert asked.seconds_saved == 0
    took = clock.seconds()
    assert took >= 0.1

    found = CachedModel(Slow(), cache)
    clock = GenerationTimer(found)
    found.generate(["a"], max_new_tokens=5)
    assert 0.05 <= found.seconds_saved <= took / 2
    assert clock.seconds() >= found.seconds_saved
    found.generate(["c"], max_new_tokens=5)
    assert found.seconds_saved <= took / 2  # what is asked for now is not saved


def test_reasoning_in_answers_of_earlier_versions_is_removed_once(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    before = {
        b"reasoned": "<think>\nhm\n</think>\n\nyes",
        b"unfinished": "<think>\nhm",
        b"plain": "a think tank",
        b"empty": "",
    }
    with sqlite3.connect(path) as old:
        old.execute("CREATE TABLE answers (key BLOB PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID")
        old.executemany("INSERT INTO answers VALUES (?, ?)", before.items())
    old.close()
    after = {b"reasoned": "yes", b"plain": "a think tank", b"empty": ""}
    for _ in range(2):
        with AnswerCache(path) as cache:
            assert cache.get(before) == after
            cache.put({b"unfinished": "no", b"reasoned": "overwritten"})
        after[b"unfinished"] = "no"
