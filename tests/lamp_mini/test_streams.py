"""What a seed determines, and what it does not affect."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from personakit.data.lamp_mini import USERS, Knobs, folder, generate, write_benchmark
from personakit.files import cache_folder

from .conftest import files

pytestmark = pytest.mark.usefixtures("small")


def made(path: Path, seed: int = 1, knobs: Knobs | None = None) -> dict[str, bytes]:
    write_benchmark(path, seed=seed, knobs=knobs)
    return files(path)


def test_the_files_depend_only_on_the_seed(tmp_path: Path) -> None:
    one = made(tmp_path / "one")
    assert made(tmp_path / "again") == one
    other = made(tmp_path / "other", seed=2)
    assert set(other) == set(one)
    # Two users may well have the same label twice.
    assert [name for name in one if one[name] == other[name] and "_outputs" not in name] == []


@pytest.mark.parametrize("longer", ["train", "dev", "test"])
def test_a_longer_split_does_not_change_other_users(
    longer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = made(tmp_path / "before")
    monkeypatch.setitem(generate.USERS, longer, 5)
    monkeypatch.setitem(generate.INSTRUCTIONS, longer, 9)
    after = made(tmp_path / "after")
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"dataset.json"} | {
        name for name in before if Path(name).name.startswith((f"{longer}_", f"{longer}."))
    }
    for name in changed - {"dataset.json"}:
        if name.endswith("_questions.json"):
            short, long = json.loads(before[name]), json.loads(after[name])
            assert (len(long), long[: len(short)]) == (5, short)
        elif name.endswith(".jsonl"):
            assert after[name].startswith(before[name])


def test_a_task_does_not_depend_on_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = made(tmp_path / "all")
    monkeypatch.setattr(generate, "TASKS", ("LaMP_5", "LaMP_2"))
    two = made(tmp_path / "two")
    assert {name.partition("/")[0] for name in two} >= {"LaMP_2", "LaMP_5", "preferences", "instructions"}
    assert len(two) < len(everything)
    assert {name: everything[name] for name in two} == two


def test_the_cached_folder_is_generated_once_per_seed_and_knobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERSONAKIT_CACHE", str(tmp_path / "cache"))
    first = folder(3)
    assert first.is_relative_to(cache_folder())
    assert files(first) == made(tmp_path / "same", seed=3)
    assert len({first, folder(4), folder(3, Knobs(noise=0.5))}) == 3
    monkeypatch.setattr(generate, "write_benchmark", None)  # generating again would call this
    assert folder(3) == first
    assert folder(3, Knobs()) == first


def test_an_unfinished_folder_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "write_json", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_benchmark(tmp_path / "half")
    assert list(tmp_path.iterdir()) == []


def test_there_are_enough_users_to_compare_methods() -> None:
    assert USERS["test"] >= 300
    assert min(USERS.values()) >= 300
