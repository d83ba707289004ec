"""Imported by scripts that fork: what training imports late is imported once, before the first fork."""

from __future__ import annotations

import gc
import importlib

for _name in (
    "datasets",
    "pandas",
    "peft.tuners.lora",
    "rouge_score.rouge_scorer",
    "sklearn.metrics",
    "torch._dynamo",
    "transformers.models.auto.processing_auto",
    "transformers.models.llama.modeling_llama",
    "trl.trainer.dpo_trainer",
    "trl.trainer.grpo_trainer",
    "trl.trainer.rloo_trainer",
    "trl.trainer.sft_trainer",
    "personakit.methods",
    "personakit.pillow.train",
    "personakit.popi.train",
    "personakit.rpo.train",
    "personakit.training.watch",
):
    importlib.import_module(_name)
gc.freeze()  # no child's collection walks, and so copies, what all of them share
