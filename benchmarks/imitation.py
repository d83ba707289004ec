"""Does PILLOW need RL? The matching network trained by RL, and by imitation of the greedy oracle, on dev.

    python benchmarks/imitation.py RUN    # a finished run of `train pillow` with one prompt (matcher.m=1)

Computes the reward of every prompt of the pool for the run's instructions and for 60 of dev, one prompt at a
time, so that it is read once; the run's own rewards are cached. Then it trains networks of the run's shape
from scratch on the same rewards, for as many steps, with three seeds each:

- RL, with the run's settings, and with less entropy bonus;
- imitation: cross-entropy to the prompt with the highest reward, the greedy oracle's choice;
- soft imitation: cross-entropy to the softmax of the rewards over the entropy bonus. It is what RL with this
  bonus converges to, without sampling, and needs all rewards.

Every network's selections are scored by the mean reward on dev. Differences are of the means over seeds, with
intervals over dev instructions. Writes benchmarks/results/imitation.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.stats import bootstrap
from torch.nn.functional import cross_entropy

from personakit.config import TrainPILLOW
from personakit.data.folders import take_evenly
from personakit.data.instructions import open_instructions
from personakit.files import write_text
from personakit.methods import FinishedRun, read_run
from personakit.models.loading import open_weights
from personakit.models.local import LocalModel
from personakit.pillow.data import open_data
from personakit.pillow.encoding import instruction_text
from personakit.pillow.network import MatcherShape, MatchingNetwork
from personakit.pillow.opening import load_encoder, load_reward, model_folder, pool_of
from personakit.pillow.policy import draw, likelihood, policy_loss
from personakit.pillow.rewards import ShownPrompts
from personakit.pillow.wording import Templated
from personakit.records import Instruction, Pool
from personakit.training.leave_one_out import leave_one_out

RESULTS = Path(__file__).parent / "results" / "imitation.md"
DEV, SEEDS = 60, (0, 1, 2)


def main() -> None:
    run = read_run(Path(sys.argv[1]), "pillow")
    rewards = Rewards(run)
    settings, bonus = run.settings, run.settings.rl.entropy_bonus
    train = rewards.of(open_data(settings).matching, "train")
    dev = rewards.of(list(take_evenly(open_instructions(settings.data.path, "dev"), DEV)), "dev")
    rows = {
        f"RL, entropy bonus {bonus:g}": rewards.trained(train, dev, settings),
        f"RL, entropy bonus {bonus / 30:.2g}": rewards.trained(train, dev, with_bonus(settings, bonus / 30)),
        "imitation of the greedy oracle": rewards.trained(train, dev, settings, best_of(train.rewards)),
        f"soft imitation, {bonus:g}": rewards.trained(
            train, dev, settings, torch.softmax(train.rewards / bonus, -1)
        ),
        "random prompt": [dev.rewards.mean(1)],
        "cosine": [dev.earned(rewards.cosine(dev.vectors))],
        "greedy oracle": [dev.rewards.max(1).values],
    }
    rl = next(iter(rows.values()))
    lines = [
        f"`python benchmarks/imitation.py RUN` wrote this: {len(train.vectors)} training instructions, "
        f"{len(dev.vectors)} of dev, {len(rewards.pool)} prompts, {steps_of(settings, train)} steps.\n",
        "| selection | mean reward on dev, by seed | mean | RL - selection |",
        "|---|---|---|---|",
        *(
            f"| {name} | {', '.join(f'{each.mean():.3f}' for each in found)} "
            f"| {torch.stack(found).mean():.3f} | {'' if found is rl else difference(rl, found)} |"
            for name, found in rows.items()
        ),
    ]
    print("\n".join(lines))
    write_text(RESULTS, "\n".join(["# RL against imitation", "", *lines]) + "\n")


def difference(one: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> str:
    """Return the mean difference of rewards, with its 95 % interval over instructions."""
    each = (torch.stack(list(one)).mean(0) - torch.stack(list(other)).mean(0)).numpy()
    ends = bootstrap((each,), np.mean, rng=np.random.default_rng(0)).confidence_interval
    return f"{each.mean():+.3f} [{ends.low:+.3f}, {ends.high:+.3f}]"


class Measured:
    """Encoded instructions, (N, width), and the reward of every prompt for each, (N, U)."""

    def __init__(self, vectors: torch.Tensor, rewards: torch.Tensor) -> None:
        self.vectors, self.rewards = vectors, rewards

    def earned(self, places: torch.Tensor) -> torch.Tensor:
        """Return the reward, (N,), of one prompt for each instruction, `places` (N,)."""
        return self.rewards.gather(1, places[:, None])[:, 0]


class Rewards:
    """The rewards of a run's pool, and networks trained on them."""

    def __init__(self, run: FinishedRun) -> None:
        model = open_weights(Path(str(model_folder(run))))
        assert isinstance(model, LocalModel)
        self._run, self._encoder = run, load_encoder(run, model)
        self._reward = load_reward(run, model, Templated(run.settings.data.template))
        pool = pool_of(run)
        assert isinstance(pool, Pool), "expected a run with one pool for all"
        self.pool = pool.prompts
        self._prompts = self._encoded(self.pool)

    def of(self, instructions: Sequence[Instruction], split: str) -> Measured:
        """Measure every prompt for instructions of a split."""
        columns = []
        for number, prompt in enumerate(self.pool, 1):
            columns.append(self._reward([ShownPrompts(each, (prompt,)) for each in instructions]))
            print(f"{split}: prompt {number} of {len(self.pool)}", file=sys.stderr)
        return Measured(self._encoded(instructions), torch.tensor(columns).T)

    def cosine(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return the nearest prompt of each instruction."""
        return (_unit(vectors) @ _unit(self._prompts).T).argmax(1)

    def trained(
        self, train: Measured, dev: Measured, settings: TrainPILLOW, targets: torch.Tensor | None = None
    ) -> list[torch.Tensor]:
        """Train a network for each seed, by RL or to `targets`, (N, U); return its rewards on dev, (N,)."""
        found = []
        for seed in SEEDS:
            network = self._network(train, settings, seed, targets)
            found.append(dev.earned(self._drawn(network, dev.vectors)[:, 0]))
        return found

    def _network(
        self, train: Measured, settings: TrainPILLOW, seed: int, targets: torch.Tensor | None
    ) -> MatchingNetwork:
        matcher, rl, count = settings.matcher, settings.rl, len(train.vectors)
        shape = MatcherShape(self._prompts.shape[1], 1, matcher.embedding_size, matcher.hidden_size)
        network = MatchingNetwork(shape, seed=seed)
        network.set_centre(self._prompts)
        optimizer = torch.optim.Adam(network.parameters(), rl.learning_rate)
        draws = torch.Generator().manual_seed(seed)
        steps = steps_of(settings, train)
        for step in range(steps):
            which = torch.randperm(count, generator=draws)[: rl.batch_size]
            if targets is None:
                bonus = rl.entropy_bonus * (1 - step / steps)
                loss = self._policy_loss(
                    network, train, which.repeat_interleave(rl.num_selections), draws, bonus
                )
            else:
                pool, vectors = network.pool(self._prompts), network.normalized(train.vectors[which])
                logits = network.logits(vectors, torch.zeros_like(vectors), 0, pool.embeddings)
                loss = cross_entropy(logits, targets[which])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), rl.max_grad_norm)
            optimizer.step()
        return network

    def _policy_loss(
        self,
        network: MatchingNetwork,
        train: Measured,
        which: torch.Tensor,
        draws: torch.Generator,
        bonus: float,
    ) -> torch.Tensor:
        vectors, rewards = train.vectors[which], train.rewards[which]
        uniforms = torch.rand(len(which), 1, len(self.pool) + 1, generator=draws)
        selections = self._drawn(network, vectors, uniforms)
        earned = rewards.gather(1, selections).view(-1, self._run.settings.rl.num_selections)
        allowed = torch.ones(len(which), len(self.pool), dtype=torch.bool)
        now = likelihood(network, vectors, network.pool(self._prompts), allowed, selections)
        return policy_loss(now, leave_one_out(earned).flatten(), entropy_bonus=bonus)

    def _drawn(
        self, network: MatchingNetwork, vectors: torch.Tensor, uniforms: torch.Tensor | None = None
    ) -> torch.Tensor:
        allowed = torch.ones(len(vectors), len(self.pool), dtype=torch.bool)
        with torch.no_grad():
            return draw(network, vectors, network.pool(self._prompts), allowed, uniforms=uniforms)

    def _encoded(self, texts: Sequence[Instruction]) -> torch.Tensor:
        return torch.from_numpy(self._encoder.encode([instruction_text(each) for each in texts])).float()


def steps_of(settings: TrainPILLOW, train: Measured) -> int:
    return settings.rl.planned_steps(len(train.vectors))


def with_bonus(settings: TrainPILLOW, bonus: float) -> TrainPILLOW:
    return replace(settings, rl=replace(settings.rl, entropy_bonus=bonus))


def best_of(rewards: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(rewards.argmax(1), rewards.shape[1]).float()


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(vectors, dim=-1)


if __name__ == "__main__":
    main()
