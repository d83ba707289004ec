"""RL of the matching network: draw selections, let the tuned model pay them, follow the policy's gradient.

One terminal reward, gamma 1; the other selections of an instruction are the baseline (leave one out). Every
step's instructions and draws follow from the seed and the step's number alone, rewards are deterministic and
kept, and checkpoints hold network and optimizer: a run killed at any moment and resumed ends with the same
weights.

The network has some ten thousand weights and trains on the CPU; of several processes each computes its share
of the rewards, and all make the same updates.
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
from personakit.pillow.episodes import Episodes, Picks
from personakit.pillow.network import MatchingNetwork
from personakit.pillow.policy import SelectionLikelihood, draw, likelihood, policy_loss
from personakit.pillow.rewards import SelectionReward
from personakit.training.checkpoints import mark_complete, newest_complete
from personakit.training.leave_one_out import leave_one_out
from personakit.training.processes import from_first, in_shares, wait_for_all
from personakit.training.progress import Progress, Staged
from personakit.training.run import Run
from personakit.training.stage import TENSORBOARD, check_report_to

COLLAPSED = 0.5
"""One prompt in more than this share of the latest selections is called a collapse (our choice)."""
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
    """Train `network` in place; return facts of the training, which end up in run.json.

    Goes on from the newest checkpoint of `stage`. Metrics: what selections earned, how sure the policy is of
    a choice (entropy in nats), the share of all prompts shown lately and that of the most shown one, and the
    share of rewards that had been paid before; on `held_out` instructions what the best selection earns.
    """
    steps = settings.planned_steps(len(episodes))
    optimizer = torch.optim.Adam(network.parameters(), settings.learning_rate)
    checkpoint = from_first(lambda: newest_complete(run.checkpoints(stage)))
    began = checkpoint[1] if checkpoint else 0
    watch = _Watch(len(episodes.prompts), network.shape.m)
    if checkpoint:
        _restore(checkpoint[0], network, optimizer, watch)
    run.rewind_metrics(stage, began)
    wait_for_all()
    with Staged(progress, stage, steps, began) as reporter, _logger(run, stage, settings.report_to) as log:
        for step in range(began + 1, steps + 1):
            told = _step(network, optimizer, episodes, reward, settings, run.seed, step, watch)
            if step % settings.logging_steps == 0 or step == steps:
                log(step, **watch.metrics(), **_hit_rate(reward))
            every = settings.eval_steps or settings.save_steps
            if held_out is not None and (step % every == 0 or step == steps):
                earned, shown = evaluate(network, held_out, reward)
                log(step, eval_reward=earned, eval_coverage=shown)
            if step % settings.save_steps == 0 and step < steps and run.writes:
                _save(run.checkpoints(stage), step, network, optimizer, watch)
            reporter.update(step, **told)
    facts = watch.facts()
    if facts["collapsed"] and run.writes:
        print(
            f"warning: the matching network has collapsed: one prompt stands in {facts['most_shown']:.0%} of "
            f"its latest selections; raise rl.entropy_bonus, or lower rl.learning_rate",
            file=sys.stderr,
        )
    return facts


@contextlib.contextmanager
def _logger(run: Run, stage: str, report_to: str) -> Iterator[Callable[..., None]]:
    """Give what logs metrics, into metrics.jsonl and where else the settings say."""
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
    """Return the mean reward of the best selections, and the share of all prompts that they show."""
    picks: list[Picks] = []
    places = list(range(len(episodes)))
    for start in range(0, len(places), 64):
        batch = episodes.batch(places[start : start + 64])
        picks += batch.picked(draw(network, batch.asked, network.pool(batch.vectors), batch.allowed))
    paid = in_shares(episodes.shown(places, picks), lambda rows: reward(rows))
    shown = {place for each in picks for place in each}
    return float(np.mean(paid)), len(shown) / len(episodes.prompts)


def _step(
    network: MatchingNetwork,
    optimizer: torch.optim.Optimizer,
    episodes: Episodes,
    reward: SelectionReward,
    settings: MatchRlSettings,
    seed: int,
    step: int,
    watch: _Watch,
) -> dict[str, float]:
    """Draw, pay, update; return what to show."""
    which = _instructions_of(seed, step, len(episodes), settings.batch_size)
    batch = episodes.batch(which, settings.num_selections)
    uniforms = _uniforms(seed, step, len(batch.asked), network.shape.m, len(batch.places) + 1)
    picks = draw(network, batch.asked, network.pool(batch.vectors), batch.allowed, uniforms=uniforms)
    picked = batch.picked(picks)
    paid = in_shares(episodes.shown(which, picked), lambda rows: reward(rows))
    rewards = torch.tensor(paid, dtype=torch.float32)
    advantages = leave_one_out(rewards.view(len(which), settings.num_selections)).flatten()

    def now() -> SelectionLikelihood:
        return likelihood(network, batch.asked, network.pool(batch.vectors), batch.allowed, picks)

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
        optimizer.step()
    watch.add(picked, float(rewards.mean()), entropy, float(loss.detach()), float(norm))
    return {"reward": float(rewards.mean()), "entropy": entropy}


class _Watch:
    """What is told of the latest steps: means since the last line, and which prompts were shown."""

    def __init__(self, prompts: int, m: int) -> None:
        self._prompts, self._m = prompts, m
        self._latest: deque[Counter[int]] = deque(maxlen=_WINDOW)
        self._since: list[tuple[float, float, float, float]] = []

    def add(self, picked: Sequence[Picks], *values: float) -> None:
        counts = Counter(place for each in picked for place in each)
        counts[-1] = len(picked)
        self._latest.append(counts)
        self._since.append((values[0], values[1], values[2], values[3]))

    def metrics(self) -> dict[str, float | int]:
        """The means since this was last asked, and coverage."""
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
        """Coverage, the share of selections that the most shown prompt is in, whether that is too much."""
        counts: Counter[int] = sum(self._latest, Counter())
        selections = counts.pop(-1, 0)
        most = max(counts.values(), default=0) / max(1, selections)
        # With as few prompts as are picked, all of them stand everywhere.
        few = self._m / self._prompts
        return {
            "coverage": len(counts) / self._prompts,
            "most_shown": most,
            "collapsed": most > max(COLLAPSED, 2 * few),
        }

    def state(self) -> dict[str, Any]:
        return {"latest": [dict(each) for each in self._latest], "since": self._since}

    def load(self, state: dict[str, Any]) -> None:
        self._latest.extend(Counter(each) for each in state["latest"])
        self._since = list(state["since"])


def _instructions_of(seed: int, step: int, count: int, batch_size: int) -> list[int]:
    """The instructions of a step: pass after pass, each in an order of its own."""
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
    """The share of rewards that were there already since training began, where the reward counts them."""
    hits, misses = getattr(reward, "hits", 0), getattr(reward, "misses", 0)
    return {"cache_hits": hits / (hits + misses)} if hits + misses else {}


def _save(
    folder: Path, step: int, network: MatchingNetwork, optimizer: torch.optim.Optimizer, watch: _Watch
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
    checkpoint: Path, network: MatchingNetwork, optimizer: torch.optim.Optimizer, watch: _Watch
) -> None:
    state = torch.load(checkpoint / "state.pt", weights_only=True)
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    watch.load(state["watch"])
