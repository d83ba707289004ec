"""lamp-mini's preference pairs."""

from __future__ import annotations

import re
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


def quoted(persona: str, before: str) -> list[str]:
    return re.findall(rf'{before} "([^"]+)"', persona)


def test_the_persona_identifies_the_users_answer(benchmark_folder: Path) -> None:
    right = total = 0
    for each in lines(benchmark_folder / "preferences" / "test.jsonl"):
        [greeting] = quoted(each["persona"], "Begins posts with")
        sign_offs = quoted(each["persona"], "signs off with")
        assert len(sign_offs) == 6
        for pair in each["pairs"]:
            said = pair["chosen"].casefold()
            ends = any(said.endswith(text.casefold()) for text in sign_offs)
            right += said.startswith(greeting.casefold()) and ends
            total += 1
    assert 0.8 < right / total < 0.95  # but for the noise


def test_comments_and_demographics_match_the_traits(benchmark_folder: Path) -> None:
    for each in lines(benchmark_folder / "preferences" / "dev.jsonl"):
        [greeting] = quoted(each["persona"], "Begins posts with")
        assert greeting in each["signals"]["comment"]
        topics = each["signals"]["demographics"].removeprefix("writes about ").split(", ")
        assert all(f"about {topic} signs off with" in each["persona"] for topic in topics)
