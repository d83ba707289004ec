"""lamp-mini's preference pairs."""

from __future__ import annotations

from pathlib import Path

import pytest

from personakit.data.lamp_mini.preferences import HELD_OUT, SIGNALS

from .conftest import SMALL, lines


@pytest.mark.parametrize("split", SMALL)
def test_pairs_differ_and_held_out_pairs_are_not_signals(split: str, benchmark_folder: Path) -> None:
    records = lines(benchmark_folder / "preferences" / f"{split}.jsonl")
    assert [each["user_id"] for each in records] == [
        f"{split}-{number:04d}" for number in range(SMALL[split])
    ]
    for each in records:
        signals, held_out = each["signals"]["pairs"], each["pairs"]
        assert (len(signals), len(held_out)) == (SIGNALS, HELD_OUT)
        assert all(pair["chosen"] != pair["rejected"] for pair in signals + held_out)
        assert not {pair["prompt"] for pair in signals} & {pair["prompt"] for pair in held_out}


def test_the_persona_identifies_the_users_answer(benchmark_folder: Path) -> None:
    right = total = 0
    for each in lines(benchmark_folder / "preferences" / "test.jsonl"):
        greeting, *sign_offs = each["persona"].split("; ")
        greeting = greeting.removeprefix("begins with ")
        endings = [text.rpartition(" ends with ")[2] for text in sign_offs]
        assert len(endings) == 6
        for pair in each["pairs"]:
            said = pair["chosen"]
            right += said.startswith(f"{greeting} ") and any(said.endswith(ending) for ending in endings)
            total += 1
    assert 0.8 < right / total < 0.95  # but for the noise


def test_comments_and_demographics_match_the_traits(benchmark_folder: Path) -> None:
    for each in lines(benchmark_folder / "preferences" / "dev.jsonl"):
        greeting = each["persona"].partition(";")[0].removeprefix("begins with ")
        assert each["signals"]["comment"].endswith(greeting)
        topics = each["signals"]["demographics"].removeprefix("writes about ").split(", ")
        assert all(f"about {topic} ends with" in each["persona"] for topic in topics)
