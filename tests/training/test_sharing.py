"""TRL's trainers make the same steps with and without `share_trainer_prefixes(trainer)`."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from models.tiny import WORDS

from personakit.models.shared_prefix import Sharing
from personakit.training.answer_head import score_answers_only
from personakit.training.sharing import share_trainer_prefixes

STEPS = 2


def text(words: int, seed: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def arguments(folder: Path, **given: Any) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "max_steps": STEPS,
        "logging_steps": 1,
        "learning_rate": 1e-3,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "seed": 0,
    } | given


def lora() -> Any:
    from peft import LoraConfig

    torch.manual_seed(0)
    return LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")


def sft(folder: Path, model: str, **given: Any) -> Any:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = [
        {"prompt": text(45, number // 4), "completion": " " + text(3 + number % 5, 90 + number)}
        for number in range(8)
    ]
    given = {"per_device_train_batch_size": 8, "completion_only_loss": True} | given
    peft = {"peft_config": given.pop("peft_config", None)}
    config = SFTConfig(**arguments(folder, **given))
    return SFTTrainer(model, args=config, train_dataset=Dataset.from_list(rows), **peft)


def dpo(folder: Path, model: str, **given: Any) -> Any:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    rows = [
        {
            "prompt": text(40 + number, number),
            "chosen": " " + text(3 + number % 4, 50 + number),
            "rejected": " " + text(6, 70 + number),
        }
        for number in range(4)
    ]
    peft = {"peft_config": given.pop("peft_config", None)}
    config = DPOConfig(**arguments(folder, per_device_train_batch_size=4, **given))
    return DPOTrainer(model, args=config, train_dataset=Dataset.from_list(rows), **peft)


def groups(kind: str, folder: Path, model: str, seen: list[list[int]], **given: Any) -> Any:
    import trl
    from datasets import Dataset

    def reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
        seen.extend(completion_ids)
        return [float(sum(ids) % 17) for ids in completion_ids]

    rows = [{"prompt": text(50 + 9 * (number % 2), number)} for number in range(6)]
    given = {"num_generations": 4, "max_completion_length": 8, "beta": 0.05} | given
    peft = {"peft_config": given.pop("peft_config", None)}
    config = getattr(trl, f"{kind}Config")(**arguments(folder, per_device_train_batch_size=8, **given))
    return getattr(trl, f"{kind}Trainer")(
        model, args=config, train_dataset=Dataset.from_list(rows), reward_funcs=reward, **peft
    )


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "sft": ("SFT", {}),
    "sft lora": ("SFT", {"lora": True}),
    "sft checkpointing": ("SFT", {"gradient_checkpointing": True}),
    "dpo": ("DPO", {}),
    "dpo lora": ("DPO", {"lora": True}),
    "dpo, losses mixed": ("DPO", {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.3]}),
    "grpo": ("GRPO", {}),
    "grpo lora": ("GRPO", {"lora": True}),
    "grpo checkpointing": ("GRPO", {"gradient_checkpointing": True}),
    "grpo, rows shuffled over two iterations": ("GRPO", {"num_iterations": 2, "steps_per_generation": 1}),
    "rloo": ("RLOO", {}),
    "rloo lora": ("RLOO", {"lora": True}),
}


def trained(
    kind: str, given: dict[str, Any], shared: bool, folder: Path, model: str
) -> tuple[list[dict[str, float]], list[list[int]], Any, Sharing | None]:
    """Return the trainer's log, its completions, its weights and our handle."""
    torch.manual_seed(0)
    given = dict(given)
    seen: list[list[int]] = []
    if given.pop("lora", False):
        given["peft_config"] = lora()
    if kind in ("GRPO", "RLOO"):
        trainer = groups(kind, folder, model, seen, **given)
    else:
        trainer = {"SFT": sft, "DPO": dpo}[kind](folder, model, **given)
    handle = share_trainer_prefixes(trainer) if shared else None
    if handle is not None:
        handle.min_saved_states = 0
    trainer.train()
    weights = torch.cat([p.detach().flatten() for p in trainer.model.parameters() if p.requires_grad])
    return trainer.state.log_history, seen, weights, handle


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_same_steps(case: str, tiny_folder: Path, tmp_path: Path) -> None:
    kind, given = CASES[case]
    plain_log, plain_seen, plain_weights, _ = trained(
        kind, given, False, tmp_path / "plain", str(tiny_folder)
    )
    log, seen, weights, handle = trained(kind, given, True, tmp_path / "shared", str(tiny_folder))
    assert seen == plain_seen
    assert handle is not None
    assert handle.reason is None
    assert handle.computed_tokens < 0.75 * handle.dense_tokens
    assert [entry.keys() for entry in log] == [entry.keys() for entry in plain_log]
    assert len(log) == STEPS + 1
    compared = set()
    for ours, theirs in zip(log, plain_log, strict=True):
        for name, value in theirs.items():
            if isinstance(value, float) and not name.endswith(("runtime", "per_second", "step_time")):
                # A group's loss is a difference of equal terms, so only rounding errors remain.
                assert ours[name] == pytest.approx(value, rel=1e-5, abs=1e-6), name
                compared.add(name)
    assert {"loss", "grad_norm"} <= compared
    if kind in ("GRPO", "RLOO"):
        assert "kl" in compared
    # Adam's first steps depend on the gradient's sign, which may differ for tiny gradients.
    assert (weights - plain_weights).norm() < 1e-3 * plain_weights.norm()


def test_reference_model_shares_prefixes(tiny_folder: Path, tmp_path: Path) -> None:
    trainer = dpo(tmp_path, str(tiny_folder))
    handle = share_trainer_prefixes(trainer)
    assert share_trainer_prefixes(trainer) is handle
    reference = trainer.accelerator.unwrap_model(trainer.ref_model).base_model.shared_prefix
    assert reference is not handle
    batch = next(iter(trainer.get_train_dataloader()))
    loss = trainer.compute_loss(trainer.model, batch)
    again = trainer.compute_loss(trainer.model, batch)
    assert loss.item() == again.item()
    assert reference.computed_tokens < reference.dense_tokens
    assert handle.computed_tokens < handle.dense_tokens


def test_a_deep_copy_computes_with_its_own_weights(tiny_folder: Path, tmp_path: Path) -> None:
    trainer = sft(tmp_path, str(tiny_folder))
    share_trainer_prefixes(trainer)
    batch = next(iter(trainer.get_train_dataloader()))
    copied = copy.deepcopy(trainer.model)
    for parameter in copied.parameters():
        parameter.data.mul_(0.5)
    batch = {
        name: value for name, value in batch.items() if name in ("input_ids", "attention_mask", "labels")
    }
    found = copied(**batch, fused_lm_head=True).loss.item()
    before = trainer.model(**batch, fused_lm_head=True).loss.item()
    trainer.model.load_state_dict(copied.state_dict())
    assert trainer.model(**batch, fused_lm_head=True).loss.item() == pytest.approx(found, rel=1e-6)
    assert abs(before - found) > 1e-3


def test_error_in_the_head_resets_output_positions(tiny_folder: Path, tmp_path: Path) -> None:
    trainer = sft(tmp_path, str(tiny_folder))
    handle = score_answers_only(trainer.model)
    ids = torch.full((2, 5), 500)
    with pytest.raises(IndexError):
        trainer.model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids, fused_lm_head=True)
    assert handle.output_positions is None
