"""The settings of `personakit train popi`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from personakit.config.schema import STATED, TRL, setting
from personakit.config.training import LoraSettings, TrainingSettings

PLUS = "borrowed from PLUS (arXiv 2507.13579)"
ALIGNXPLORE = "borrowed from AlignXplore (AntResearchNLP/AlignXplore)"


@dataclass
class PreferenceDataSettings:
    """Which users' preferences are trained on."""

    path: str = setting(
        "lamp-mini", "the built-in benchmark, or a folder that `personakit data import` made of preferences"
    )
    limit: int | None = setting(None, "at most this many users; null: all", minimum=1)
    held_out: int = setting(
        0, "training users who are held out of training, to measure `eval_reward` on their pairs", minimum=0
    )
    signal_tokens: int = setting(
        512,
        "length of the inference model's prompt: whole signals are dropped to fit, and counted (tokens)",
        minimum=32,
    )


@dataclass
class AdapterSettings(LoraSettings):
    """The two adapters, of the inference model and of the generator, on one frozen base."""

    r: int = setting(
        32, "rank of the adapters, closer to full fine-tuning: nano wants 32, 16 is enough for 8 B", minimum=1
    )
    lora_alpha: int = setting(64, "the adapters' output is scaled by lora_alpha / r", minimum=1)


@dataclass
class WarmStartSettings(TrainingSettings):
    """Fine-tuning before the two are trained together: a template's summary, and answers with it."""

    num_train_epochs: float = setting(
        2.0, "passes over the users; no effect where max_steps is given", minimum=0.0001
    )
    max_steps: int | None = setting(None, "optimizer steps of each model; null: num_train_epochs", minimum=1)
    learning_rate: float = setting(1e-3, "peak learning rate; too high a rate ruins the answers", minimum=0.0)
    enabled: bool = setting(True, "false: both start as the base model, which then has to follow a prompt")
    generator: bool = setting(
        True, "false: the generator starts as the base model, where that can answer from a summary already"
    )
    bare_share: float = setting(
        0.0,
        "share of the template's summaries that list a user's phrases without their place in an answer "
        "('begins with'): training can then choose between the two",
        minimum=0.0,
        maximum=1.0,
    )
    without_summary_share: float = setting(
        0.1,
        "share of the generator's examples without a summary, so that it learns to answer without one too",
        minimum=0.0,
        maximum=1.0,
    )


@dataclass
class JointSettings(TrainingSettings):
    """Both models under one preference objective: POPI's own stage."""

    learning_rate: float = setting(
        1e-5,
        "peak learning rate of the inference model; AlignXplore's is 1e-6 for all weights, adapters want ten "
        "times as much, nano a hundred times",
        minimum=0.0,
    )
    warmup_ratio: float = setting(
        0.05,
        "share of the steps over which the learning rates rise to their peaks (AlignXplore: 50 steps)",
        minimum=0.0,
        maximum=1.0,
    )
    num_train_epochs: float = setting(
        1.0, "passes over the users; no effect where max_steps is given", minimum=0.0001
    )
    per_device_train_batch_size: int = setting(
        8, "users per forward pass and device, each with all their summaries", minimum=1
    )
    save_steps: int = setting(50, "steps between checkpoints, which bound what a killed run loses", minimum=1)
    logging_steps: int = setting(1, "steps between lines of metrics.jsonl", minimum=1)
    generator_learning_rate: float = setting(1e-5, "peak learning rate of the generator", minimum=0.0)
    schedule: Literal["joint", "alternating", "generator-frozen"] = setting(
        "joint",
        "joint: both models in each step; alternating: in turns; generator-frozen: the inference model alone",
        provenance=STATED,
    )
    alternate_every: int = setting(10, "alternating: steps of one model before the other's turn", minimum=1)
    num_summaries: int = setting(
        4, "summaries sampled per user, which are each other's baseline", provenance=ALIGNXPLORE, minimum=2
    )
    num_pairs: int = setting(
        4, "held-out pairs per user that score all their summaries; of users who have fewer, all", minimum=1
    )
    max_summary_tokens: int = setting(
        256,
        "a summary is cut here (tokens): a shorter one makes every answer cheaper",
        provenance=PLUS,
        minimum=1,
    )
    generator_summaries: int | None = setting(
        None, "how many of a user's summaries the generator is trained with; null: all", minimum=1
    )
    beta: float = setting(
        0.1,
        "KL penalty strength of the generator, as in DPO: how strongly it is held to the reference model",
        provenance=TRL,
        minimum=0.0001,
    )
    kl_coef: float = setting(
        0.01,
        "KL penalty strength of the inference model, subtracted from its reward (the name that PPO "
        "implementations use; beta is DPO's); 0: none, and faster",
        provenance=PLUS,
        minimum=0.0,
    )
    base_share: float = setting(
        0.0,
        "share of a summary's reward that is measured on the base model, which is never trained to read "
        "summaries, so that they also work with other models; costs a forward pass",
        minimum=0.0,
        maximum=1.0,
    )
    reference: Literal["base", "generator"] = setting(
        "base",
        "reference model of the margin, whose answers see no summary: the base model, or the warm-started "
        "generator",
    )


@dataclass
class PopiControlSettings:
    """Controls trained on the same pairs, for a fair comparison."""

    population_dpo: bool = setting(
        False, "one adapter for all users: the same warm start and DPO without summaries, for as many tokens"
    )
    oracle_generator: bool = setting(
        False, "the upper bound: a generator trained with users' personas, where the data has them"
    )
    frozen_generator: bool = setting(
        False,
        "an inference model trained like POPI's, with the untrained base model as the generator",
    )


@dataclass
class TrainPOPI:
    """Warm starts of both models, then both under one preference objective."""

    model: str = setting("nano", "the frozen base of both models: nano, a hub name, or a folder")
    seed: int = setting(0, "the seed of everything random in training", minimum=0)
    max_length: int = setting(
        1024, "prompt and answer together; users and pairs that do not fit are left out (tokens)", minimum=32
    )
    data: PreferenceDataSettings = field(default_factory=PreferenceDataSettings)
    lora: AdapterSettings = field(default_factory=AdapterSettings)
    warm_start: WarmStartSettings = field(default_factory=WarmStartSettings)
    joint: JointSettings = field(default_factory=JointSettings)
    controls: PopiControlSettings = field(default_factory=PopiControlSettings)
