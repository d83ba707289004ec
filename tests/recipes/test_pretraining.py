"""The recipes' training loop: batches, loss, copying task, saving."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from personakit.recipes.pretraining import (
    ModelShape,
    TrainingPlan,
    _copying_batch,
    _encode_pairs,
    _length_batches,
    _padded,
    _whole_words,
    answer_loss,
    new_model,
    save,
    train,
)

from .conftest import SMALL


@pytest.mark.parametrize("rows", [1, 7, 8, 64, 67, 130])
def test_batches_cover_every_row_once_per_epoch(rows: int) -> None:
    lengths = [random.Random(row).randint(1, 50) for row in range(rows)]
    a_pass = -(-rows // 8)
    batches = _length_batches(lengths, TrainingPlan(steps=3 * a_pass, batch_size=8), random.Random(0))
    assert len(batches) == 3 * a_pass
    for start in range(0, len(batches), a_pass):
        seen = Counter(row for batch in batches[start : start + a_pass] for row in batch)
        assert seen == Counter(range(rows))
    assert max(map(len, batches)) <= 8


def test_rows_of_a_batch_have_similar_lengths() -> None:
    lengths = list(range(256))
    batches = _length_batches(lengths, TrainingPlan(steps=32, batch_size=8), random.Random(0))
    spread = [max(batch) - min(batch) for batch in batches]  # a row's number is its length
    assert sum(spread) / len(spread) < 64
    assert batches != sorted(batches)


def test_the_loss_is_that_of_transformers_on_a_padded_batch(
    tokenizer: Any, pairs: list[tuple[str, str]]
) -> None:
    import torch

    model = new_model(tokenizer, SMALL, 0)
    rows = sorted(_encode_pairs(tokenizer, pairs[:6]), key=lambda row: len(row[0]))
    ids, labels = _padded(rows, tokenizer.pad_token_id, "cpu")
    for row, (prompt, answer) in enumerate(rows):
        kept = labels[row][labels[row] != -100].tolist()
        assert kept == answer
        assert kept[-1] == tokenizer.eos_token_id
        assert ids[row, : len(prompt) + len(answer)].tolist() == prompt + answer
    mask = (torch.arange(ids.shape[1])[None] < torch.tensor([[len(p) + len(a)] for p, a in rows])).long()
    assert not mask.all()  # some of it is padding
    theirs = model(input_ids=ids, attention_mask=mask, labels=labels).loss
    torch.testing.assert_close(answer_loss(model, ids, labels), theirs, rtol=1e-4, atol=1e-5)


def test_the_copying_loss_is_on_the_repetition(tokenizer: Any) -> None:
    import torch

    words = torch.tensor(_whole_words(tokenizer))
    ids, labels = _copying_batch(words, 5, 11, 3)
    assert ids.shape == labels.shape == (5, 22)
    assert torch.equal(ids[:, :11], ids[:, 11:])
    assert (labels[:, :11] == -100).all()
    assert torch.equal(labels[:, 11:], ids[:, 11:])
    assert all(tokenizer.decode([id]).strip().isalpha() for id in ids.flatten().tolist())
    assert not torch.equal(_copying_batch(words, 5, 11, 4)[0], ids)


def test_an_untrained_model_continues_a_repetition(tokenizer: Any) -> None:
    import torch

    model = new_model(tokenizer, ModelShape(), 0)
    words = torch.randint(2, len(tokenizer), (4, 12), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        predicted = model(input_ids=words.repeat(1, 2)).logits[:, 12:-1].argmax(-1)
    assert (predicted == words[:, 1:]).float().mean() > 0.4  # by chance, it would be one in a thousand


def test_a_short_training_learns_and_saves_a_transformers_folder(
    tokenizer: Any, pairs: list[tuple[str, str]], tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = new_model(tokenizer, SMALL, 0)
    ids, labels = _padded(_encode_pairs(tokenizer, pairs[:8]), tokenizer.pad_token_id, "cpu")
    before = answer_loss(model, ids, labels).item()
    plan = TrainingPlan(steps=3, batch_size=4, learning_rate=1e-2, warmup_steps=1, copying_steps=1)
    train(model, tokenizer, pairs[:8], plan)
    assert answer_loss(model, ids, labels).item() < before
    for _ in range(2):  # the second time an old folder is replaced
        save(model, tokenizer, tmp_path / "model")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert loaded.dtype == torch.bfloat16
    weights = model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in loaded.state_dict().items())
    again = AutoTokenizer.from_pretrained(tmp_path / "model")
    text = " ".join(pairs[0])
    assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert (again.eos_token, again.pad_token) == (tokenizer.eos_token, tokenizer.pad_token)


def test_the_same_seed_trains_the_same_weights(tokenizer: Any, pairs: list[tuple[str, str]]) -> None:
    import torch

    def trained(seed: int) -> Any:
        model = new_model(tokenizer, SMALL, 0)
        train(model, tokenizer, pairs[:8], TrainingPlan(steps=2, batch_size=4, copying_steps=1, seed=seed))
        return model.state_dict()

    one, same, other = trained(0), trained(0), trained(1)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)
