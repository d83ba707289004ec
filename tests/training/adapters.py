"""A LoRA adapter with random weights, for stages that continue an adapter."""

from __future__ import annotations

from pathlib import Path


def make_adapter(base: Path, folder: Path, *, rank: int = 4) -> Path:
    """Write a random adapter on `base`, and the tokenizer, like a stage."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_pretrained(base)
    config = LoraConfig(r=rank, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(model, config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder
