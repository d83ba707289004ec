from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
from hypothesis import settings

from personakit.data.lamp_mini.words import vocabulary
from personakit.recipes import nano
from personakit.recipes.pretraining import ModelShape, train_tokenizer

settings.register_profile("unhurried", deadline=None, max_examples=50)
settings.load_profile("unhurried")

SMALL = ModelShape(width=16, layers=2, heads=2, vocabulary=1100, positions=1024)


@pytest.fixture(scope="session")
def pairs() -> list[tuple[str, str]]:
    """Some of what nano is taught."""
    return list(nano.samples(120, 5))


@pytest.fixture(scope="session")
def tokenizer(pairs: list[tuple[str, str]]) -> Any:
    """Nano's tokenizer, but learnt from less text and with fewer tokens."""
    words = [" ".join(vocabulary())] * 3
    lines = [f"{prompt} {answer}" for prompt, answer in islice(pairs, 30)]
    return train_tokenizer([*words, *lines], SMALL, nano.fixed_literals())
