"""Shared prefixes in a TRL trainer."""

from __future__ import annotations

from typing import Any

from personakit.models.shared_prefix import Sharing
from personakit.training.answer_head import score_answers_only


def share_trainer_prefixes(trainer: Any) -> Sharing:
    """Make `trainer`'s model, and its reference model if there is one, compute shared prefixes once.

    Call it after the trainer is created (TRL then replaces the model's head) and before training. Works with
    TRL's unmodified SFT, DPO, KTO, GRPO and RLOO trainers. Returns the model's handle, which counts tokens.
    """
    reference = getattr(trainer, "ref_model", None)
    if reference is not None:
        score_answers_only(trainer.accelerator.unwrap_model(reference))
    return score_answers_only(trainer.accelerator.unwrap_model(trainer.model))
