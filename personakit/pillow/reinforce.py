"""RL of the matching network: sample selections, compute rewards with the tuned model, update the policy.

One terminal reward, gamma 1, leave-one-out baseline over an instruction's selections. Each step's
instructions and samples depend only on the seed and the step, rewards are deterministic and cached, and
checkpoints have network and optimizer: a killed and resumed run ends with the same weights.

The network has about ten thousand weights and trains on the CPU. Several processes share the computation of
rewards and make the same updates.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from personakit.config.train_pillow import MatchRlSettings
from personakit.pillow.episodes import Episodes, Selection
from personakit.pillow.network import MatchingNetwork
from personakit.pillow.policy import SelectionLikelihood, draw, likelihood, policy_loss
from personakit.pillow.rewards import SelectionReward
from personakit.training.checkpoints import mark_complete, newest_complete
from personakit.training.disk import disk_errors
from personakit.training.finite import require_finite
from personakit.training.leave_one_out import leave_one_out
from personakit.training.processes import from_main_process, map_over_processes, wait_for_everyone
from personakit.training.progress import Progress, report_stage
from personakit.training.run import Run
from personakit.training.stage import TENSORBOARD, check_report_to

COLLAPSE_THRESHOLD = 0.5
"""Share of the latest selections that contain one prompt above which we report a collapse (our choice)."""
_WINDOW = 50  # steps whose selections are counted for coverage and collapse


def reinforce(
    network: MatchingNetwork,
    episodes: Episodes,
    reward: SelectionReward,
    settings: MatchRlSettings,
    run: Run,
    stage: str,
    progress: Progress,
    held_out: Episodes | None = None,
) -> dict[str, Any]:
    """Train `network` in place; return statistics for run.json.

    Resumes from the newest checkpoint of `stage`. Metrics: mean reward, policy entropy per choice in nats,
    coverage (share of prompts in recent selections), share of selections with the most frequent prompt, share
    of cached rewards; on `held_out` instructions the mean reward of the greedy selection.
    """
    steps = settings.planned_steps(len(episodes))
    optimizer = torch.optim.Adam(network.parameters(), settings.learning_rate)
    checkpoint = from_main_process(lambda: newest_complete(run.checkpoints(stage)))
    began = checkpoint[1] if checkpoint else 0
    watch = _RunningStatistics(len(episodes.prompts), network.shape.m)
    if checkpoint:
        _restore(checkpoint[0], network, optimizer, watch)
    run.rewind_metrics(stage, began)
    wait_for_everyone()
    with (
        report_stage(progress, stage, steps, began) as reporter,
        _logger(run, stage, settings.report_to) as log,
    ):
        for step in range(began + 1, steps + 1):
            metrics = _step(network, optimizer, episodes, reward, settings, run.seed, step, watch)
            if step % settings.logging_steps == 0 or step == steps:
                log(step, **watch.metrics(), **_hit_rate(reward))
            every = settings.eval_steps or settings.save_steps
            if held_out is not None and (step % every == 0 or step == steps):
                earned, shown = evaluate(network, held_out, reward)
                log(step, eval_reward=earned, eval_coverage=shown)
            if step % settings.save_steps == 0 and step < steps and run.writes:
                with disk_errors(f'stage "{stage}": a checkpoint'):
                    _save(run.checkpoints(stage), step, network, optimizer, watch)
            reporter.update(step, **metrics)
    facts = watch.facts()
    if facts["collapsed"] and run.writes:
        print(
            f"warning: the matching network has collapsed: one prompt is in {facts['most_shown']:.0%} of "
            f"its latest selections; raise rl.entropy_bonus, or lower rl.learning_rate",
            file=sys.stderr,
        )
    return facts


@contextlib.contextmanager
def _logger(run: Run, stage: str, report_to: str) -> Iterator[Callable[..., None]]:
    """Provide a function that logs metrics to metrics.jsonl and to `report_to`."""
    check_report_to(report_to, stage)
    with contextlib.ExitStack() as stack:
        writer: Any = None
        if report_to == "tensorboard" and run.writes:
            from torch.utils.tensorboard import SummaryWriter

            folder = str(run.folder / TENSORBOARD / stage)
            writer = stack.enter_context(SummaryWriter(folder))

        def log(step: int, **values: float) -> None:
            run.log_metrics(stage, step, **values)
            if writer is not None:
                for name, value in values.items():
                    writer.add_scalar(name, value, step)

        yield log


def evaluate(network: MatchingNetwork, episodes: Episodes, reward: SelectionReward) -> tuple[float, float]:
    """Return the mean reward of the greedy selections, and the share of all prompts they contain."""
    selections: list[Selection] = []
    places = list(range(len(episodes)))
    for start in range(0, len(places), 64):
        batch = episodes.batch(places[start : start + 64])
        pool = network.pool(batch.vectors)
        selections += batch.selected(draw(network, batch.query_vectors, pool, batch.allowed))
    rewards = map_over_processes(episodes.shown(places, selections), lambda rows: reward(rows))
    shown = {place for each in selections for place in each}
    return float(np.mean(rewards)), len(shown) / len(episodes.prompts)


def _step(
    network: MatchingNetwork,
    optimizer: torch.optim.Optimizer,
    episodes: Episodes,
    reward: SelectionReward,
    settings: MatchRlSettings,
    seed: int,
    step: int,
    watch: _RunningStatistics,
) -> dict[str, float]:
    """Sample selections, compute rewards, update the network; return metrics for the progress bar."""
    which = _instructions_of(seed, step, len(episodes), settings.batch_size)
    batch = episodes.batch(which, settings.num_selections)
    uniforms = _uniforms(seed, step, len(batch.query_vectors), network.shape.m, len(batch.places) + 1)
    pool = network.pool(batch.vectors)
    selections = draw(network, batch.query_vectors, pool, batch.allowed, uniforms=uniforms)
    selected = batch.selected(selections)
    values = map_over_processes(episodes.shown(which, selected), lambda rows: reward(rows))
    rewards = torch.tensor(values, dtype=torch.float32)
    advantages = leave_one_out(rewards.view(len(which), settings.num_selections)).flatten()

    def now() -> SelectionLikelihood:
        # The network changes between PPO's epochs: embed the pool again.
        pool = network.pool(batch.vectors)
        return likelihood(network, batch.query_vectors, pool, batch.allowed, selections)

    made = now()
    entropy = float((made.entropies.sum() / made.chose.sum().clamp(min=1)).detach())
    before = made.log_probabilities.sum(1).detach()
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * min(1.0, step / max(1, settings.warmup_steps))
    bonus = settings.entropy_bonus * (1 - (step - 1) / settings.planned_steps(len(episodes)))
    for epoch in range(settings.num_ppo_epochs if settings.algorithm == "ppo" else 1):
        loss = policy_loss(
            made if epoch == 0 else now(),
            advantages,
            entropy_bonus=bonus,
            algorithm=settings.algorithm,
            before=before,
            clip=settings.cliprange,
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), settings.max_grad_norm)
        for name, value in (("loss", loss), ("gradient norm", norm)):
            require_finite(
                name,
                value.detach(),
                place=f"the matching network, step {step}",
                hint=f"start a new run with a lower rl.learning_rate (now {settings.learning_rate:g})",
            )
        optimizer.step()
    watch.add(selected, float(rewards.mean()), entropy, float(loss.detach()), float(norm))
    return {"reward": float(rewards.mean()), "entropy": entropy}


class _RunningStatistics:
    """Running statistics: means since the last log, and the prompts of the latest selections."""

    def __init__(self, prompts: int, m: int) -> None:
        self._prompts, self._m = prompts, m
        self._latest: deque[Counter[int]] = deque(maxlen=_WINDOW)
        self._since: list[tuple[float, float, float, float]] = []

    def add(self, selected: Sequence[Selection], *values: float) -> None:
        counts = Counter(place for each in selected for place in each)
        counts[-1] = len(selected)
        self._latest.append(counts)
        self._since.append((values[0], values[1], values[2], values[3]))

    def metrics(self) -> dict[str, float | int]:
        """Return the means since the last call, and coverage."""
        means = np.mean(self._since, axis=0)
        self._since = []
        names = ("reward", "entropy", "loss", "grad_norm")
        facts = self.facts()
        return {
            **{name: float(value) for name, value in zip(names, means, strict=True)},
            "coverage": facts["coverage"],
            "most_shown": facts["most_shown"],
            "collapsed": int(facts["collapsed"]),
        }

    def facts(self) -> dict[str, Any]:
        """Return coverage, the share of selections with the most frequent prompt, and the collapse flag."""
        counts: Counter[int] = sum(self._latest, Counter())
        selections = counts.pop(-1, 0)
        most = max(counts.values(), default=0) / max(1, selections)
        # In small pools every prompt is in many selections: compare with twice the uniform share.
        uniform = self._m / self._prompts
        return {
            "coverage": len(counts) / self._prompts,
            "most_shown": most,
            "collapsed": most > max(COLLAPSE_THRESHOLD, 2 * uniform),
        }

    def state(self) -> dict[str, Any]:
        return {"latest": [dict(each) for each in self._latest], "since": self._since}

    def load(self, state: dict[str, Any]) -> None:
        self._latest.extend(Counter(each) for each in state["latest"])
        self._since = list(state["since"])


def _instructions_of(seed: int, step: int, count: int, batch_size: int) -> list[int]:
    """Return the instructions of a step: one epoch after the other, each in a new random order."""
    found: list[int] = []
    at = (step - 1) * batch_size
    while len(found) < min(batch_size, count):
        passed, place = divmod(at, count)
        order = np.random.default_rng(_number(seed, "order", passed)).permutation(count)
        some = order[place : place + batch_size - len(found)].tolist()
        found += [each for each in some if each not in found]
        at += len(some)
    return found


def _uniforms(seed: int, step: int, rows: int, m: int, width: int) -> torch.Tensor:
    drawn = np.random.default_rng(_number(seed, "draw", step)).random((rows, m, width), dtype=np.float32)
    return torch.from_numpy(drawn)


def _number(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:8], "big")


def _hit_rate(reward: SelectionReward) -> dict[str, float]:
    """Return the share of cached rewards since training began, if the reward counts them."""
    hits, misses = getattr(reward, "hits", 0), getattr(reward, "misses", 0)
    return {"cache_hits": hits / (hits + misses)} if hits + misses else {}


def _save(
    folder: Path,
    step: int,
    network: MatchingNetwork,
    optimizer: torch.optim.Optimizer,
    watch: _RunningStatistics,
) -> None:
    from shutil import rmtree

    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True, exist_ok=True)
    state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "watch": watch.state()}
    torch.save(state, checkpoint / "state.pt")
    mark_complete(checkpoint)
    for older in folder.glob("checkpoint-*"):
        if older != checkpoint:
            rmtree(older, ignore_errors=True)


def _restore(
    checkpoint: Path, network: MatchingNetwork, optimizer: torch.optim.Optimizer, watch: _RunningStatistics
) -> None:
    state = torch.load(checkpoint / "state.pt", weights_only=True)
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    watch.load(state["watch"])
