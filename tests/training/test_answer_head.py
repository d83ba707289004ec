from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from personakit.models.pretrained import load_pretrained
from personakit.training.answer_head import score_answers_only


def outcome(folder: Path, *, lora: bool, answers_only: bool) -> tuple[float, dict[str, torch.Tensor], float]:
    """Return loss, gradients and summed entropy of a ragged batch, with or without our wrapper."""
    from trl.trainer.utils import add_fused_lm_head

    torch.manual_seed(0)
    model, _, _, _ = load_pretrained(str(folder), device="cpu")
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "is_top1"))
    network: Any = model
    if lora:
        from peft import LoraConfig, get_peft_model

        network = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    if answers_only:
        score_answers_only(network)
    lengths, answered = (12, 9, 5), (4, 1, 3)
    ids = torch.zeros(3, 12, dtype=torch.long)
    labels = torch.full((3, 12), -100)
    mask = torch.zeros(3, 12, dtype=torch.long)
    drawn = torch.Generator().manual_seed(1)
    for row, (length, answer) in enumerate(zip(lengths, answered, strict=True)):
        ids[row, :length] = torch.randint(4, 60, (length,), generator=drawn)
        labels[row, length - answer : length] = ids[row, length - answer : length]
        mask[row, :length] = 1
    output = network(
        input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True, num_items_in_batch=8
    )
    output.loss.backward()
    gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    assert int(output.label_mask.sum()) == 8
    return output.loss.item(), gradients, output.entropy.sum().item()


@pytest.mark.parametrize("lora", [False, True])
def test_loss_gradients_and_entropy_equal_those_of_the_full_head(tiny_folder: Path, lora: bool) -> None:
    loss, gradients, entropy = outcome(tiny_folder, lora=lora, answers_only=False)
    ours_loss, ours, ours_entropy = outcome(tiny_folder, lora=lora, answers_only=True)
    assert ours_loss == pytest.approx(loss, rel=1e-5)
    assert ours_entropy == pytest.approx(entropy, rel=1e-5)
    assert ours.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=1e-6)


def test_generation_is_unchanged(tiny_folder: Path) -> None:
    model, _, _, _ = load_pretrained(str(tiny_folder), device="cpu")
    ids = torch.tensor([[5, 6, 7]])
    before = model.generate(ids, max_new_tokens=5, do_sample=False)
    score_answers_only(model)
    assert torch.equal(model.generate(ids, max_new_tokens=5, do_sample=False), before)
