"""Loads a model for training, and saves the trained weights."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personakit.config.training import LoraSettings
from personakit.errors import UserError
from personakit.files import atomic_folder
from personakit.models.adapters import load_adapter
from personakit.models.fingerprint import fingerprint_folder
from personakit.models.open import resolve_model
from personakit.models.pretrained import load_pretrained
from personakit.training.card import write_card
from personakit.training.four_bit import load_in_four_bit
from personakit.training.precision import Precision
from personakit.training.processes import wait_for_everyone
from personakit.training.run import Run
from personakit.training.stage import Stage, peft_config


@dataclass(frozen=True, slots=True)
class Trainable:
    """A model loaded for training."""

    network: Any
    """A causal language model on the CPU (4-bit weights: on the training device); a `PeftModel` if training
    continues an existing adapter."""
    tokenizer: Any
    adapter: Any
    """PEFT's configuration of the adapter to add, or None."""
    fingerprint: str
    """Digest of the initial weights, the reference model of DPO and RL."""
    merged: bool
    """True if an adapter was merged, so that these weights are in no folder yet."""


def load_trainable(model: str, lora: LoraSettings, precision: Precision) -> Trainable:
    """Load a folder, a model on the Hugging Face Hub, or `nano` for training.

    If the folder holds an adapter, training continues it (same rank), or merges it into the base if all
    weights are trained. Raises `UserError` for another rank, for full fine-tuning of quantized weights, and
    as `load_pretrained`.
    """
    source = resolve_model(model)
    if Path(source).expanduser().is_dir():  # absolute, because PEFT saves it in the adapter's configuration
        source = str(Path(source).expanduser().absolute())
    # Trained weights are float32; frozen weights under a LoRA adapter have the dtype of the pass.
    frozen = lora.r > 0 and precision.device == "cuda" and precision.bf16
    dtype = "bfloat16" if frozen else "float32"
    if lora.load_in_4bit:
        network, tokenizer, folders, revision = load_in_four_bit(source, precision, dtype)
    else:
        network, tokenizer, folders, revision = load_pretrained(source, device="cpu", dtype=dtype)
    if lora.r == 0 and getattr(network, "is_quantized", False):
        raise UserError(
            f'the weights of "{model}" are quantized: they can neither be trained nor merged exactly',
            hint="set lora.r=16, or use the model before quantization",
        )
    # Quantized weights differ, so cached values must not be shared with the original weights.
    parts = [revision or "", *map(fingerprint_folder, folders), *(["nf4"] if lora.load_in_4bit else [])]
    fingerprint = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    new, merged = peft_config(lora), False
    if is_adapted(network):
        if lora.r == 0:
            network, merged = network.merge_and_unload().requires_grad_(True), True
        else:
            _check_rank(source, network, lora)
            network, new = load_adapter(network.unload(), Path(source), trainable=True), None
    return Trainable(network, tokenizer, new, fingerprint, merged)


def is_adapted(network: Any) -> bool:
    """Return True if `network` is a `PeftModel`."""
    from peft import PeftModel

    return isinstance(network, PeftModel)


def save_result(
    trainer: Any,
    stage: Stage,
    *,
    base: str,
    facts: Mapping[str, Any],
    settings: Mapping[str, Any],
    adapters: Sequence[str] = ("default",),
) -> None:
    """Write the trained weights, the tokenizer and a model card atomically to the stage's output folder.

    Of a `PeftModel`, these `adapters` are saved; PEFT puts one not called "default" into a subfolder of its
    name. Every process must call this, since each holds a part of sharded weights.
    """
    network = trainer.accelerator.unwrap_model(trainer.model)
    adapter = is_adapted(network)
    kept: dict[str, Any] = {}
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        sharded = trainer.deepspeed if trainer.is_deepspeed_enabled else trainer.model
        kept["state_dict"] = trainer.accelerator.get_state_dict(sharded)
    if adapter:
        kept["selected_adapters"] = list(adapters)  # without TRL's frozen copy, the reference
    run = stage.run
    if run.writes:
        with atomic_folder(run.folder / stage.output) as temporary:
            network.save_pretrained(temporary, **kept)
            trainer.processing_class.save_pretrained(temporary)
            write_card(
                temporary,
                title=f"{run.method} {stage.name}",
                base=base,
                facts=facts,
                settings=dict(settings) | {"seed": run.seed},
                adapters=adapters if adapter else (),
            )


def save_initial_weights(start: Trainable, stage: Stage) -> None:
    """Save merged weights next to the stage's checkpoints, and set their path in the model's configuration.

    TRL loads the reference model from that path, and would otherwise silently use the weights before the
    merge.
    """
    folder = stage.run.checkpoints(stage.name) / "start"
    if stage.run.writes and not folder.is_dir():
        with atomic_folder(folder) as temporary:
            start.network.save_pretrained(temporary)
            start.tokenizer.save_pretrained(temporary)
    wait_for_everyone()
    start.network.config._name_or_path = str(folder)


def set_reference_adapter(network: Any, folder: str) -> None:
    """Load the adapter in `folder` into TRL's frozen reference adapter.

    Under FSDP or ZeRO-3, call this before training, which shards the weights.
    """
    from peft import load_peft_weights, set_peft_model_state_dict

    weights = load_peft_weights(str(Path(folder).expanduser()), device="cpu")
    set_peft_model_state_dict(network, weights, adapter_name="ref")


def remove_checkpoints(run: Run, stage: str) -> None:
    """Remove the checkpoints of a finished stage."""
    if run.writes:
        shutil.rmtree(run.checkpoints(stage), ignore_errors=True)


def _check_rank(source: str, network: Any, lora: LoraSettings) -> None:
    rank = network.peft_config["default"].r
    if rank != lora.r:
        raise UserError(
            f'"{source}" holds a LoRA adapter of rank {rank}, and lora.r is {lora.r}',
            hint=f"set lora.r to {rank} to continue it, or to 0 to merge it and train all weights",
        )
