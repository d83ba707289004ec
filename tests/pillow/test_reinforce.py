"""RL of the matching network: it learns rewards, not noise, and resumes after a kill."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from personakit.config.train_pillow import MatchRlSettings
from personakit.errors import RunError, UserError
from personakit.pillow.episodes import Episodes
from personakit.pillow.network import MatcherShape, MatchingNetwork
from personakit.pillow.reinforce import evaluate, reinforce
from personakit.pillow.rewards import ShownPrompts
from personakit.records import Instruction
from personakit.training.progress import SilentProgress
from personakit.training.run import Run

WIDTH, KINDS, POOL = 12, 4, 16
SETTINGS = MatchRlSettings(max_steps=60, batch_size=10, num_selections=4, learning_rate=3e-3, save_steps=20)


class Marks:
    """Encodes the number in a text as a direction for its kind, plus noise."""

    fingerprint = "marks"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        rows = []
        for text in texts:
            kind, number = map(int, text.split())
            row = np.random.default_rng(number).normal(size=WIDTH) * 0.5
            row[kind] += 1.5
            rows.append(row)
        return np.array(rows, dtype=np.float32)


def made(count: int, first: int, kinds: int = KINDS) -> list[Instruction]:
    return [Instruction(str(n), f"{n % kinds} {first + n}", "", "x") for n in range(count)]


def kind(one: Instruction) -> int:
    return int(one.instruction.split()[0])


def pays_for_the_next_kind(rows: Sequence[ShownPrompts]) -> list[float]:
    """Rewards prompts of the next kind, unlike cosine similarity."""
    return [
        float(np.mean([kind(each) == (kind(row.instruction) + 1) % KINDS for each in row.prompts]))
        for row in rows
    ]


@pytest.fixture
def episodes() -> Episodes:
    return Episodes.of_one_pool(made(80, 1000), made(POOL, 0), [frozenset()] * 80, Marks())


@pytest.fixture
def held_out() -> Episodes:
    return Episodes.of_one_pool(made(40, 5000), made(POOL, 0), [frozenset()] * 40, Marks())


def trained(
    folder: Path, episodes: Episodes, reward: object, settings: MatchRlSettings = SETTINGS
) -> MatchingNetwork:
    network = MatchingNetwork(MatcherShape(width=WIDTH, m=2, size=16, hidden=16), seed=0)
    with Run.create(folder, "pillow", {}, seed=0) as run:
        reinforce(network, episodes, reward, settings, run, "matching", SilentProgress())  # type: ignore[arg-type]
    return network


@pytest.mark.parametrize("algorithm", ["reinforce", "ppo"])
def test_it_learns_rewards_that_similarity_does_not_predict(
    algorithm: str, episodes: Episodes, held_out: Episodes, tmp_path: Path
) -> None:
    untrained = MatchingNetwork(MatcherShape(width=WIDTH, m=2, size=16, hidden=16), seed=0)
    before, _ = evaluate(untrained, held_out, pays_for_the_next_kind)
    settings = MatchRlSettings(max_steps=150, batch_size=10, learning_rate=3e-3, algorithm=algorithm)  # type: ignore[arg-type]
    network = trained(tmp_path / "run", episodes, pays_for_the_next_kind, settings)
    after, coverage = evaluate(network, held_out, pays_for_the_next_kind)
    assert before < 0.2
    assert after > 0.9
    assert coverage > 0.4
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["reward"] > lines[0]["reward"]
    assert lines[-1]["entropy"] < lines[0]["entropy"]
    assert not any(line["collapsed"] for line in lines)


def test_it_does_not_learn_noise(episodes: Episodes, held_out: Episodes, tmp_path: Path) -> None:
    """Uniform rewards (mean 1/2, deviation 0.29): the mean of 40 held-out ones is within 0.15 of random."""
    stream = np.random.default_rng(0)

    def fresh(rows: Sequence[ShownPrompts]) -> list[float]:
        return stream.random(len(rows)).tolist()

    network = trained(tmp_path / "fresh", episodes, fresh)
    assert evaluate(network, held_out, fresh)[0] == pytest.approx(0.5, abs=0.15)
    lines = [json.loads(line) for line in (tmp_path / "fresh" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["reward"] == pytest.approx(0.5, abs=0.05)  # training does not seem to improve either


def test_selecting_one_prompt_for_all_is_reported_as_a_collapse(
    episodes: Episodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def first(rows: Sequence[ShownPrompts]) -> list[float]:
        return [float("0 0" in [each.instruction for each in row.prompts]) for row in rows]

    trained(
        tmp_path / "run", episodes, first, MatchRlSettings(max_steps=200, batch_size=10, learning_rate=1e-2)
    )
    assert "has collapsed: one prompt is in" in capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])["collapsed"] == 1


def test_selections_stay_within_each_instructions_pool(tmp_path: Path) -> None:
    asked = made(6, 1000)
    pools = [made(5, 10 * n) for n in range(6)]
    episodes = Episodes.of_own_pools(asked, pools, [frozenset({0})] * 6, Marks())
    seen: list[ShownPrompts] = []

    def reward(rows: Sequence[ShownPrompts]) -> list[float]:
        seen.extend(rows)
        return [0.0] * len(rows)

    trained(tmp_path / "run", episodes, reward, MatchRlSettings(max_steps=5, batch_size=4))
    allowed = {one.id: pool[1:] for one, pool in zip(asked, pools, strict=True)}
    assert seen
    assert all(each in allowed[row.instruction.id] for row in seen for each in row.prompts)


def test_resuming_after_a_failed_step_gives_the_same_weights(episodes: Episodes, tmp_path: Path) -> None:
    def until(step: int) -> object:
        asked = 0

        def reward(rows: Sequence[ShownPrompts]) -> list[float]:
            nonlocal asked
            asked += 1
            if asked > step:
                raise KeyboardInterrupt
            return pays_for_the_next_kind(rows)

        return reward

    alone = trained(tmp_path / "alone", episodes, pays_for_the_next_kind)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "stopped", episodes, until(45))
    resumed = MatchingNetwork(MatcherShape(width=WIDTH, m=2, size=16, hidden=16), seed=9)
    with Run.create(tmp_path / "stopped", "pillow", {}, seed=0, resume=True) as run:
        reinforce(resumed, episodes, pays_for_the_next_kind, SETTINGS, run, "matching", SilentProgress())
    for one, other in zip(alone.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert one.equal(other)
    lines = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("alone", "stopped")]
    assert lines[0] == lines[1]


def test_report_to_is_supported_or_rejected(episodes: Episodes, tmp_path: Path) -> None:
    from transformers.integrations import get_available_reporting_integrations

    settings = MatchRlSettings(max_steps=2, batch_size=2, num_selections=2, report_to="tensorboard")
    if "tensorboard" in get_available_reporting_integrations():
        trained(tmp_path / "run", episodes, pays_for_the_next_kind, settings)
        assert list((tmp_path / "run" / "tensorboard" / "matching").glob("events.out.tfevents.*"))
    else:
        with pytest.raises(UserError, match="report_to is tensorboard, which is not installed"):
            trained(tmp_path / "run", episodes, pays_for_the_next_kind, settings)


@pytest.mark.parametrize("algorithm", ["reinforce", "ppo"])
def test_a_step_that_is_not_finite_fails_and_is_named(
    tmp_path: Path, episodes: Episodes, algorithm: Literal["reinforce", "ppo"]
) -> None:
    settings = replace(SETTINGS, learning_rate=1e30, algorithm=algorithm)
    with pytest.raises(RunError, match=r"the matching network, step \d+: the .* finite") as caught:
        trained(tmp_path / "run", episodes, pays_for_the_next_kind, settings)
    assert "rl.learning_rate (now 1e+30)" in caught.value.hint
