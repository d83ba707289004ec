from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from personakit.training.schedule import Schedule, make_schedule

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=90)


def batches(schedule: Schedule) -> list[list[int]]:
    size = schedule.batch_size
    return [schedule.order[at : at + size] for at in range(0, len(schedule.order), size)]


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.integers(1, 7), st.integers(1, 3), st.booleans(), st.integers(0, 5))
def test_every_epoch_sees_every_example_once(
    lengths: list[int], batch_size: int, epochs: int, grouped: bool, seed: int
) -> None:
    schedule = make_schedule(
        lengths, batch_size=batch_size, seed=seed, epochs=epochs, group_by_length=grouped
    )
    assert sorted(schedule.order) == sorted(list(range(len(lengths))) * epochs)
    assert schedule.tokens == sum(lengths) * epochs
    assert schedule.steps == len(batches(schedule))
    seen = 0
    for batch, tokens in zip(batches(schedule), schedule.tokens_by_step, strict=True):
        seen += sum(lengths[index] for index in batch)
        assert tokens == seen


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.integers(1, 7), st.integers(1, 5000), st.integers(0, 5))
def test_a_token_budget_ends_at_the_step_that_reaches_it(
    lengths: list[int], batch_size: int, budget: int, seed: int
) -> None:
    schedule = make_schedule(lengths, batch_size=batch_size, seed=seed, epochs=1, max_tokens=budget)
    assert schedule.tokens >= budget
    assert schedule.steps == 1 or schedule.tokens_by_step[-2] < budget


def test_max_steps_repeats_epochs_as_needed() -> None:
    schedule = make_schedule([5] * 10, batch_size=4, seed=0, epochs=1, max_steps=8)
    assert schedule.steps == 8
    assert schedule.tokens == 8 * 4 * 5
    both = make_schedule([5] * 10, batch_size=4, seed=0, epochs=1, max_steps=8, max_tokens=10**6)
    assert both.steps == 8
    assert make_schedule([5] * 10, batch_size=2, seed=0, epochs=0.6).steps == 3


def test_batches_have_similar_lengths() -> None:
    drawn = random.Random(0)
    lengths = [drawn.randint(10, 400) for _ in range(2000)]

    def padded(grouped: bool) -> int:
        schedule = make_schedule(lengths, batch_size=16, seed=0, epochs=1, group_by_length=grouped)
        return sum(max(lengths[i] for i in batch) * len(batch) for batch in batches(schedule))

    assert padded(True) < 1.1 * sum(lengths) < 1.5 * sum(lengths) < padded(False)


def test_order_depends_on_the_seed() -> None:
    first, again, other = (
        make_schedule([3, 1, 2] * 20, batch_size=4, seed=seed, epochs=2).order for seed in (1, 1, 2)
    )
    assert first == again != other
