"""Shared prefixes under a TRL trainer: one call once the trainer is built."""

from __future__ import annotations

from typing import Any

from personakit.models.shared_prefix import Sharing
from personakit.training.answer_head import score_answers_only


def share(trainer: Any) -> Sharing:
    """Let `trainer`'s model, and its reference model where it has one, compute shared prefixes once.

    Call it after the trainer is built (it puts its head on the model) and before it trains. Works for
    TRL's SFT, DPO, KTO, GRPO and RLOO trainers as they are. Returns the model's handle: how many tokens
    it was given and how many it ran.
    """
    reference = getattr(trainer, "ref_model", None)
    if reference is not None:
        score_answers_only(trainer.accelerator.unwrap_model(reference))
    return score_answers_only(trainer.accelerator.unwrap_model(trainer.model))
