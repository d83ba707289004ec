"""Weights into a stage and out of it: what is loaded to be trained, and what is saved of it."""

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
from personakit.models.fingerprint import fingerprint_folder
from personakit.models.local import load_pretrained
from personakit.models.open import resolve_model
from personakit.training.card import write_card
from personakit.training.four_bit import load_in_four_bit
from personakit.training.precision import Precision
from personakit.training.processes import wait_for_all
from personakit.training.run import Run
from personakit.training.stage import Stage, peft_config


@dataclass(frozen=True, slots=True)
class Trainable:
    """A model about to be trained."""

    network: Any
    """A causal language model on the CPU; a `PeftModel` where an adapter is gone on with. Weights in four
    bits are on the device they were made on."""
    tokenizer: Any
    adapter: Any
    """PEFT's configuration of the adapter still to be put on, or None."""
    fingerprint: str
    """Digest of the weights as they are now, which are the reference of a preference or RL stage."""
    merged: bool
    """Whether an adapter was merged, so that no folder holds these weights yet."""


def load_trainable(model: str, lora: LoraSettings, precision: Precision) -> Trainable:
    """Load a folder, a hub name or `nano` for training.

    A folder that holds an adapter is gone on with under the same rank, and merged into its base where all
    weights are to train: never into weights in four bits, which take an adapter only. Raises `UserError`
    for another rank, for quantised weights that are to train, and as `load_pretrained`.
    """
    source = resolve_model(model)
    # Weights that train are kept in float32; under a LoRA adapter the frozen ones need no more than the pass.
    frozen = lora.r > 0 and precision.device == "cuda" and precision.bf16
    dtype = "bfloat16" if frozen else "float32"
    if lora.load_in_4bit:
        network, tokenizer, folders, revision = load_in_four_bit(source, precision, dtype)
    else:
        network, tokenizer, folders, revision = load_pretrained(source, device="cpu", dtype=dtype)
    if lora.r == 0 and getattr(network, "is_quantized", False):
        raise UserError(
            f'the weights of "{model}" are quantised, which cannot train, nor take in an adapter exactly',
            hint="set lora.r=16, or name the model that they were quantised from",
        )
    # Quantised weights are other weights: what is filed under the fingerprint must not be mixed up.
    parts = [revision or "", *map(fingerprint_folder, folders), *(["nf4"] if lora.load_in_4bit else [])]
    fingerprint = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    new, merged = peft_config(lora), False
    if is_adapted(network):
        if lora.r == 0:
            network, merged = network.merge_and_unload().requires_grad_(True), True
        else:
            _check_rank(source, network, lora)
            network, new = _trainable_adapter(network, source), None
    return Trainable(network, tokenizer, new, fingerprint, merged)


def is_adapted(network: Any) -> bool:
    """Whether `network` is a `PeftModel`."""
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
    """Write the trained weights, the tokenizer and a card to the stage's output folder, whole or not at all.

    Of a `PeftModel` these `adapters`: PEFT puts one that is not called "default" into a folder of its name.
    To be called by every process: where the weights are sharded, each holds a part.
    """
    network = trainer.accelerator.unwrap_model(trainer.model)
    adapter = is_adapted(network)
    kept: dict[str, Any] = {}
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        sharded = trainer.deepspeed if trainer.is_deepspeed_enabled else trainer.model
        kept["state_dict"] = trainer.accelerator.get_state_dict(sharded)
    if adapter:
        kept["selected_adapters"] = list(adapters)  # not the frozen copy that TRL keeps as the reference
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


def save_start(start: Trainable, stage: Stage) -> None:
    """Write weights that no folder holds beside the stage's checkpoints, and let them say so.

    TRL reloads the reference model from the path that the policy's configuration names: weights that
    were changed in memory would silently be compared with those they came from.
    """
    folder = stage.run.checkpoints(stage.name) / "start"
    if stage.run.writes and not folder.is_dir():
        with atomic_folder(folder) as temporary:
            start.network.save_pretrained(temporary)
            start.tokenizer.save_pretrained(temporary)
    wait_for_all()
    start.network.config._name_or_path = str(folder)


def set_reference_adapter(network: Any, folder: str) -> None:
    """Let the frozen adapter that TRL made as a copy of the trained one be the adapter in `folder`.

    Under FSDP or ZeRO-3 this has to happen before the weights are sharded, which is when training begins.
    """
    from peft import load_peft_weights, set_peft_model_state_dict

    weights = load_peft_weights(str(Path(folder).expanduser()), device="cpu")
    set_peft_model_state_dict(network, weights, adapter_name="ref")


def remove_checkpoints(run: Run, stage: str) -> None:
    """Remove what a stage that is done no longer needs."""
    if run.writes:
        shutil.rmtree(run.checkpoints(stage), ignore_errors=True)


def _check_rank(source: str, network: Any, lora: LoraSettings) -> None:
    rank = network.peft_config["default"].r
    if rank != lora.r:
        raise UserError(
            f'"{source}" holds a LoRA adapter of rank {rank}, and lora.r is {lora.r}',
            hint=f"set lora.r to {rank} to go on with it, or to 0 to merge it and train all weights",
        )


def _trainable_adapter(network: Any, folder: str) -> Any:
    from peft import PeftModel

    return PeftModel.from_pretrained(network.unload(), str(Path(folder).expanduser()), is_trainable=True)
