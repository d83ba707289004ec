"""Sampled selections and the policy gradient, against enumeration."""

from __future__ import annotations

import itertools
import statistics
import time

import pytest
import torch

from personakit.pillow.network import STOPPED, MatcherShape, MatchingNetwork
from personakit.pillow.policy import Algorithm, draw, likelihood, policy_loss
from personakit.training.leave_one_out import leave_one_out

WIDTH, POOL = 6, 4


def network(*, m: int = 2, stop: bool = False) -> MatchingNetwork:
    made = MatchingNetwork(MatcherShape(width=WIDTH, m=m, size=5, hidden=7, stop=stop), seed=1)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(
                0.5 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel()))
            )
    return made.double()


def vectors(rows: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, WIDTH, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


def gradient(loss: torch.Tensor, made: MatchingNetwork) -> torch.Tensor:
    made.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    return torch.cat(
        [(w.grad if w.grad is not None else torch.zeros_like(w)).flatten() for w in made.parameters()]
    )


def probabilities(made: MatchingNetwork, picks: torch.Tensor) -> torch.Tensor:
    asked = vectors(1, 7).expand(len(picks), -1)
    allowed = torch.ones(len(picks), POOL, dtype=torch.bool)
    return likelihood(made, asked, made.pool(vectors(POOL, 8)), allowed, picks).log_probabilities.sum(1).exp()


EVERY_PAIR = torch.tensor(list(itertools.permutations(range(POOL), 2)))
REWARDS = torch.rand(len(EVERY_PAIR), dtype=torch.double, generator=torch.Generator().manual_seed(3))


def test_the_probabilities_of_all_selections_sum_to_one() -> None:
    assert probabilities(network(), EVERY_PAIR).sum().item() == pytest.approx(1.0)


@pytest.mark.parametrize("algorithm", ["reinforce", "ppo"])
def test_the_expected_gradient_is_that_of_the_expected_reward(algorithm: Algorithm) -> None:
    """Sums over all pairs of selections, each the other's baseline, weighted by their joint probability."""
    made = network()
    exact = gradient(-(probabilities(made, EVERY_PAIR) * REWARDS).sum(), made)
    chance = probabilities(made, EVERY_PAIR).detach()

    expected = torch.zeros_like(exact)
    for one, other in itertools.product(range(len(EVERY_PAIR)), repeat=2):
        both = torch.tensor([one, other])
        asked = vectors(1, 7).expand(2, -1)
        allowed = torch.ones(2, POOL, dtype=torch.bool)
        now = likelihood(made, asked, made.pool(vectors(POOL, 8)), allowed, EVERY_PAIR[both])
        advantages = leave_one_out(REWARDS[both][None]).flatten()
        before = now.log_probabilities.sum(1).detach()
        loss = policy_loss(now, advantages, entropy_bonus=0.0, algorithm=algorithm, before=before)
        expected += chance[one] * chance[other] * gradient(loss, made)
    torch.testing.assert_close(expected, exact, rtol=1e-9, atol=1e-12)
    assert exact.norm() > 1e-3


def test_the_entropy_bonus_is_the_mean_entropy_of_the_choices() -> None:
    made = network(m=1)
    now = likelihood(
        made,
        vectors(1, 7),
        made.pool(vectors(POOL, 8)),
        torch.ones(1, POOL, dtype=torch.bool),
        EVERY_PAIR[:1, :1],
    )
    p = probabilities(made, torch.arange(POOL)[:, None])
    assert now.entropies.item() == pytest.approx(-(p * p.log()).sum().item())
    loss = policy_loss(now, torch.zeros(1, dtype=torch.double), entropy_bonus=0.5)
    assert loss.item() == pytest.approx(0.5 * (p * p.log()).sum().item())


def test_ppo_clips_the_probability_ratio() -> None:
    made = network()
    asked, allowed = vectors(1, 7), torch.ones(1, POOL, dtype=torch.bool)
    now = likelihood(made, asked, made.pool(vectors(POOL, 8)), allowed, EVERY_PAIR[:1])
    before = now.log_probabilities.sum(1).detach() - 1.0  # e times as likely as when it was sampled
    moved = [
        gradient(
            policy_loss(now, torch.tensor([a]), entropy_bonus=0, algorithm="ppo", before=before), made
        ).norm()
        for a in (1.0,)
    ]
    assert moved == [0.0]


def test_sampling_frequencies_match_the_probabilities() -> None:
    made, many = network(), 20_000
    uniforms = torch.rand(many, 2, POOL + 1, generator=torch.Generator().manual_seed(0))
    asked, allowed = vectors(1, 7).expand(many, -1), torch.ones(many, POOL, dtype=torch.bool)
    picks = draw(made, asked, made.pool(vectors(POOL, 8)), allowed, uniforms=uniforms)
    counts = torch.tensor([(picks == pair).all(1).double().mean() for pair in EVERY_PAIR])
    assert (counts - probabilities(made, EVERY_PAIR).detach()).abs().max() < 0.012


def test_selections_have_no_repeated_or_excluded_prompts_and_end_with_the_pool() -> None:
    made = network(m=3)
    allowed = torch.tensor([[True, False, True, True], [False, True, False, True]])
    picks = draw(made, vectors(2, 7), made.pool(vectors(POOL, 8)), allowed).tolist()
    assert sorted(picks[0]) == [0, 2, 3]
    assert sorted(picks[1][:2]) == [1, 3]
    assert picks[1][2] == STOPPED
    # Steps without a choice have log-probability and entropy 0.
    now = likelihood(made, vectors(2, 7), made.pool(vectors(POOL, 8)), allowed, torch.tensor(picks))
    assert now.chose.tolist() == [[True, True, True], [True, True, False]]
    assert now.log_probabilities[1, 2] == now.entropies[1, 2] == 0


def test_with_stop_the_probabilities_of_selections_of_all_lengths_sum_to_one() -> None:
    made = network(stop=True)
    short = torch.tensor([[STOPPED, STOPPED], *([one, STOPPED] for one in range(POOL))])
    assert probabilities(made, torch.cat([EVERY_PAIR, short])).sum().item() == pytest.approx(1.0)


def test_an_untrained_network_selects_by_cosine() -> None:
    made = MatchingNetwork(MatcherShape(width=WIDTH, m=2, size=16, hidden=8)).double()
    asked, pool = vectors(50, 1), vectors(20, 2)
    made.set_centre(pool)
    normal = torch.nn.functional.normalize
    nearest = (normal(asked - pool.mean(0), dim=1) @ normal(pool - pool.mean(0), dim=1).T).topk(2).indices
    allowed = torch.ones(50, 20, dtype=torch.bool)
    assert draw(made, asked, made.pool(pool), allowed).tolist() == nearest.tolist()


def test_a_query_costs_much_less_than_embedding_the_pool() -> None:
    """The pool is embedded once. Measures processor time, because tests share the cores."""
    made = MatchingNetwork(MatcherShape(width=512, m=2)).eval()
    prompts, allowed = torch.randn(10_000, 512), torch.ones(1, 10_000, dtype=torch.bool)
    per_query, per_pool = [], []
    for _ in range(9):
        began = time.process_time()
        with torch.inference_mode():
            pool = made.pool(prompts)
        per_pool.append(time.process_time() - began)
        began = time.process_time()
        draw(made, torch.randn(1, 512), pool, allowed)
        per_query.append(time.process_time() - began)
    assert statistics.median(per_query) < statistics.median(per_pool) / 5
