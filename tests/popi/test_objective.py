"""The unified objective's gradient, and its split, against enumeration of all summaries."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from personakit.popi.objective import (
    generator_loss,
    inference_loss,
    kl_estimates,
    leave_one_out,
    margins,
    rewards,
)
from personakit.popi.split import split_objective

USERS, SUMMARIES, PAIRS, ANSWERS, BETA = 2, 4, 3, 5, 0.7


class Toy:
    """Users whose summaries, pairs and answers are all known: the models are tables of logits."""

    def __init__(self) -> None:
        drawn = torch.Generator().manual_seed(0)

        def table(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=drawn, dtype=torch.double)

        self.theta = table(USERS, SUMMARIES).requires_grad_()  # of q(z|s)
        self.phi = table(PAIRS, SUMMARIES, ANSWERS).requires_grad_()  # of pi(y|x,z)
        self.reference = table(PAIRS, ANSWERS).log_softmax(-1)  # ref(y|x)
        self.chosen = torch.tensor([[0, 1, 2], [3, 0, 4]])  # of each user and prompt
        self.rejected = torch.tensor([[1, 2, 4], [0, 4, 1]])

    def margins(self, user: int, summaries: tuple[int, ...]) -> torch.Tensor:
        """(1, G, K)."""
        x = torch.arange(PAIRS)
        said = self.phi.log_softmax(-1)[x[None], torch.tensor(summaries)[:, None]]  # (G, K, answers)

        def of(answers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            own = said.gather(-1, answers[None, :, None].expand(len(summaries), -1, 1))[..., 0]
            return own[None], self.reference[x, answers][None, None]

        (better, reference_better), (worse, reference_worse) = of(self.chosen[user]), of(self.rejected[user])
        return margins(better, worse, reference_better, reference_worse, BETA)

    def log_q(self, user: int) -> torch.Tensor:
        return self.theta[user].log_softmax(-1)

    def groups(self, size: int) -> list[tuple[int, tuple[int, ...], torch.Tensor]]:
        """Every user with every group of summaries, and its probability (not differentiated)."""
        return [
            (user, group, self.log_q(user).detach()[list(group)].sum().exp() / USERS)
            for user in range(USERS)
            for group in itertools.product(range(SUMMARIES), repeat=size)
        ]

    def objective(self, kl: float = 0.0, start: torch.Tensor | None = None) -> torch.Tensor:
        """sum_z q(z) loss(z), every log-probability written out."""
        total = torch.zeros((), dtype=torch.double)
        for user in range(USERS):
            for z in range(SUMMARIES):
                q = self.log_q(user)[z].exp()
                said = self.phi[:, z].log_softmax(-1)
                loss = torch.zeros((), dtype=torch.double)
                for x in range(PAIRS):
                    better, worse = int(self.chosen[user, x]), int(self.rejected[user, x])
                    m = BETA * (said[x, better] - self.reference[x, better])
                    m = m - BETA * (said[x, worse] - self.reference[x, worse])
                    loss = loss + torch.log1p(torch.exp(-m)) / PAIRS
                if start is not None:
                    loss = loss + kl * (self.log_q(user)[z] - start[user, z])
                total = total + q * loss / USERS
        return total

    def gradients(self, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        theta, phi = torch.autograd.grad(value, [self.theta, self.phi])
        return theta, phi


@pytest.mark.parametrize("size", [2, 3])
def test_the_expected_gradient_equals_that_of_the_enumerated_objective(size: int) -> None:
    toy = Toy()
    expected = torch.zeros((), dtype=torch.double)
    for user, group, probability in toy.groups(size):
        m = toy.margins(user, group)
        log_q = toy.log_q(user)[list(group)][None]
        step = generator_loss(m) + inference_loss(log_q, leave_one_out(rewards(m)))
        expected = expected + probability * step
    for ours, brute in zip(toy.gradients(expected), toy.gradients(toy.objective()), strict=True):
        assert brute.abs().max() > 1e-3
        torch.testing.assert_close(ours, brute, rtol=0, atol=1e-9)


def test_the_expected_gradient_includes_the_kl_penalty() -> None:
    toy, weight = Toy(), 0.3
    start = torch.randn(USERS, SUMMARIES, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    start = start.log_softmax(-1)
    expected = torch.zeros((), dtype=torch.double)
    for user, group, probability in toy.groups(2):
        m = toy.margins(user, group)
        log_q = toy.log_q(user)[list(group)][None]
        paid = rewards(m) - weight * kl_estimates(log_q, start[user, list(group)][None])
        expected = expected + probability * (generator_loss(m) + inference_loss(log_q, leave_one_out(paid)))
    for ours, brute in zip(toy.gradients(expected), toy.gradients(toy.objective(weight, start)), strict=True):
        torch.testing.assert_close(ours, brute, rtol=0, atol=1e-9)


def test_the_baseline_is_unbiased_and_reduces_the_variance() -> None:
    toy, size = Toy(), 3
    means, squares = {}, {}
    for name in ("without", "leave one out", "group mean"):
        mean, square = torch.zeros(USERS, SUMMARIES, dtype=torch.double), 0.0
        for user, group, probability in toy.groups(size):
            paid = rewards(toy.margins(user, group)).detach()
            advantages = {
                "without": paid,
                "leave one out": leave_one_out(paid),
                "group mean": paid - paid.mean(-1, keepdim=True),
            }[name]
            log_q = toy.log_q(user)[list(group)][None]
            (gradient,) = torch.autograd.grad(inference_loss(log_q, advantages), [toy.theta])
            mean += probability * gradient
            square += float(probability * gradient.square().sum())
        means[name], squares[name] = mean, square - float(mean.square().sum())
    torch.testing.assert_close(means["leave one out"], means["without"], rtol=0, atol=1e-12)
    torch.testing.assert_close(means["group mean"], means["without"] * (size - 1) / size, rtol=0, atol=1e-12)
    assert squares["leave one out"] < 0.5 * squares["without"]


def test_missing_pairs_do_not_affect_the_reward() -> None:
    m = torch.tensor([[[0.5, -1.0, 9.0]], [[0.5, -1.0, 2.0]]])
    present = torch.tensor([[[1.0, 1.0, 0.0]], [[1.0, 1.0, 1.0]]])
    torch.testing.assert_close(rewards(m, present)[0], rewards(m[:1, :, :2])[0])
    torch.testing.assert_close(rewards(m, present)[1], rewards(m[1:])[0])
    assert leave_one_out(torch.tensor([[1.0, 2.0, 6.0]])).tolist() == [[-3.0, -1.5, 4.5]]


class Enumerated:
    """A random world in which every user, summary, pair and label can be counted."""

    def __init__(self, seed: int = 0) -> None:
        drawn = torch.Generator().manual_seed(seed)

        def random(*shape: int) -> torch.Tensor:
            return torch.rand(*shape, generator=drawn, dtype=torch.double)

        self.users = random(3).softmax(-1)
        self.summaries = (3 * random(3, 4)).softmax(-1)
        self.pairs = random(3, 5).softmax(-1)
        self.labels = random(3, 5)
        self.margins = 4 * random(4, 5) - 2

    def counted(self) -> list[tuple[float, int, int, int]]:
        """(probability, label, summary, pair) of every case."""
        cases = []
        for u, z, n in itertools.product(range(3), range(4), range(5)):
            p = float(self.users[u] * self.summaries[u, z] * self.pairs[u, n])
            like = float(self.labels[u, n])
            cases += [(p * like, 1, z, n), (p * (1 - like), 0, z, n)]
        return cases


def test_the_split_is_exact() -> None:
    world = Enumerated()
    split = split_objective(world.users, world.summaries, world.pairs, world.labels, world.margins)
    cases = world.counted()

    def share(label: int, z: int | None, n: int) -> float:
        """p(c|z, n), or p(c|n) where z is None."""
        of = [(p, c) for p, c, one, other in cases if other == n and z in (None, one)]
        return sum(p for p, c in of if c == label) / sum(p for p, _ in of)

    def believed(label: int, z: int, n: int) -> float:
        m = float(world.margins[z, n])
        return 1 / (1 + math.exp(-m if label else m))

    cross = -sum(p * math.log(believed(c, z, n)) for p, c, z, n in cases)
    error = sum(p * math.log(share(c, z, n) / believed(c, z, n)) for p, c, z, n in cases)
    entropy = -sum(p * math.log(share(c, None, n)) for p, c, _, n in cases)
    information = sum(p * math.log(share(c, z, n) / share(c, None, n)) for p, c, z, n in cases)
    assert split.cross_entropy == pytest.approx(cross, abs=1e-12)
    assert split.generator_error == pytest.approx(error, abs=1e-12)
    assert split.label_entropy == pytest.approx(entropy, abs=1e-12)
    assert split.informativeness == pytest.approx(information, abs=1e-12)
    assert cross == pytest.approx(error + entropy - information, abs=1e-12)
    assert min(split.generator_error, split.informativeness, split.label_entropy) > 1e-3


def test_the_split_does_not_depend_on_the_order_of_a_pair() -> None:
    world = Enumerated(1)
    once = split_objective(world.users, world.summaries, world.pairs, world.labels, world.margins)
    both = split_objective(
        world.users,
        world.summaries,
        torch.cat([world.pairs, world.pairs], 1) / 2,
        torch.cat([world.labels, 1 - world.labels], 1),
        torch.cat([world.margins, -world.margins], 1),
    )
    for name in ("cross_entropy", "generator_error", "label_entropy", "informativeness"):
        assert getattr(both, name) == pytest.approx(getattr(once, name), abs=1e-12)


def test_a_user_type_summary_is_fully_informative_and_a_constant_one_is_not() -> None:
    users = torch.tensor([0.5, 0.5], dtype=torch.double)
    pairs = torch.full((2, 3), 1 / 3, dtype=torch.double)
    labels = torch.tensor([[0.9, 0.9, 0.2], [0.1, 0.1, 0.8]], dtype=torch.double)
    best = torch.logit(labels)
    told = split_objective(users, torch.eye(2, dtype=torch.double), pairs, labels, best)
    assert told.generator_error == pytest.approx(0, abs=1e-12)
    assert told.label_entropy == pytest.approx(math.log(2), abs=1e-12)
    constant = split_objective(users, torch.tensor([[1.0, 0], [1.0, 0]]).double(), pairs, labels, 0 * best)
    assert constant.informativeness == pytest.approx(0, abs=1e-12)
    assert constant.generator_error == pytest.approx(0, abs=1e-12)
    assert constant.cross_entropy - told.cross_entropy == pytest.approx(told.informativeness, abs=1e-12)
    deaf = split_objective(users, torch.eye(2, dtype=torch.double), pairs, labels, 0 * best)
    assert deaf.informativeness == pytest.approx(told.informativeness, abs=1e-12)
    assert deaf.generator_error == pytest.approx(told.informativeness, abs=1e-12)
