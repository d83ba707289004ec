"""The settings of `personakit train popi`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from personakit.config.schema import STATED, TRL, setting

PLUS = "borrowed from PLUS (arXiv 2507.13579)"
ALIGNXPLORE = "borrowed from AlignXplore (AntResearchNLP/AlignXplore)"


@dataclass
class PreferenceDataSettings:
    """Whose preferences are trained on."""

    path: str = setting(
        "lamp-mini", "the built-in benchmark, or a folder that `personakit data import` made of preferences"
    )
    limit: int | None = setting(None, "at most this many users; null: all", minimum=1)
    held_out: int = setting(
        0, "training users who are not trained on: `eval_reward` is measured on their pairs", minimum=0
    )
    signal_tokens: int = setting(
        512,
        "the inference model's prompt: signals are dropped whole to fit, and counted (tokens)",
        minimum=32,
    )


@dataclass
class AdapterSettings:
    """The two adapters, one of the inference model and one of the generator, on one frozen base."""

    rank: int = setting(
        32, "more is nearer to training all weights: nano wants 32, 16 is enough for 8 B", minimum=1
    )
    alpha: int = setting(64, "the adapters' output is scaled by alpha / rank", minimum=1)
    dropout: float = setting(0.0, "dropout on the adapters' input", minimum=0.0, maximum=0.9)
    targets: str = setting(
        "all-linear", "which modules get an adapter: all-linear, or a regular expression of names"
    )
    four_bit: bool = setting(
        False, "QLoRA: the weights under the adapters are held in 4 bits; needs bitsandbytes"
    )


@dataclass
class WarmStartSettings:
    """Fine-tuning before the two are trained together: a summary by a template, and answers with it."""

    enabled: bool = setting(True, "false: both begin as the model itself, which then has to follow a prompt")
    generator: bool = setting(
        True, "false: the generator begins as the model itself, where that can answer from a summary already"
    )
    epochs: float = setting(2.0, "passes over the users; no effect where `steps` is given", minimum=0.0)
    steps: int | None = setting(None, "optimizer steps of each model; null: as `epochs` says", minimum=1)
    batch_size: int = setting(16, "examples in a batch, a device", minimum=1)
    learning_rate: float = setting(1e-3, "the peak; too high and the answers fall apart", minimum=0.0)
    warmup_share: float = setting(0.05, "share of the steps spent warming up", minimum=0.0, maximum=1.0)
    bare_share: float = setting(
        0.0,
        "share of the template's summaries that give a user's phrases without their place in an answer "
        "('begins with'): training can then choose between the two",
        minimum=0.0,
        maximum=1.0,
    )
    without_summary_share: float = setting(
        0.1,
        "share of the generator's examples whose summary is left out: it must know requests without one too",
        minimum=0.0,
        maximum=1.0,
    )
    checkpoint_every: int = setting(100, "steps between checkpoints", minimum=1)


@dataclass
class JointSettings:
    """Both models under one preference objective: POPI's own stage."""

    schedule: Literal["joint", "alternating", "generator-frozen"] = setting(
        "joint",
        "joint: both in each step; alternating: in turns; generator-frozen: the inference model alone",
        provenance=STATED,
    )
    alternate_every: int = setting(10, "alternating: steps of one model before the other's turn", minimum=1)
    epochs: float = setting(1.0, "passes over the users; no effect where `steps` is given", minimum=0.0)
    steps: int | None = setting(None, "optimizer steps; null: as `epochs` says", minimum=1)
    batch_size: int = setting(8, "users in a batch, a device, each with all their summaries", minimum=1)
    accumulation: int = setting(1, "batches added up before one optimizer step", minimum=1)
    summaries: int = setting(
        4, "summaries of a user that are compared with each other", provenance=ALIGNXPLORE, minimum=2
    )
    pairs: int = setting(
        4,
        "held-out pairs that judge all summaries of a user; of users who have fewer, all",
        minimum=1,
    )
    summary_tokens: int = setting(
        256, "a summary is cut off here: shorter ones cost less in every answer", provenance=PLUS, minimum=1
    )
    generator_summaries: int | None = setting(
        None, "the generator learns from so many of a user's summaries; null: from all", minimum=1
    )
    beta: float = setting(
        0.1,
        "how dear it is for the generator to move away from the reference (per nat)",
        provenance=TRL,
        minimum=0.0001,
    )
    kl: float = setting(
        0.01,
        "weight of the divergence of the inference model from what it began as; 0: none, and faster",
        provenance=PLUS,
        minimum=0.0,
    )
    base_share: float = setting(
        0.0,
        "share of a summary's reward that the base pays, which is never trained to read summaries: they are "
        "then worded for models that were not; costs a forward pass",
        minimum=0.0,
        maximum=1.0,
    )
    reference: Literal["base", "generator"] = setting(
        "base",
        "whose answers without a summary the margin is measured against: the model's before any training, or "
        "the warm-started generator's",
    )
    learning_rate: float = setting(
        1e-5,
        "the inference model's peak; AlignXplore's is 1e-6 for all weights, adapters want ten times as much, "
        "nano's a hundred times",
        minimum=0.0,
    )
    generator_learning_rate: float = setting(1e-5, "the generator's peak", minimum=0.0)
    schedule_of_rates: Literal["cosine", "linear", "constant"] = setting(
        "cosine", "how the rates fall after warm-up"
    )
    warmup_share: float = setting(
        0.05, "share of the steps spent warming up (AlignXplore: 50 steps)", minimum=0.0, maximum=1.0
    )
    weight_decay: float = setting(0.0, "AdamW's weight decay", minimum=0.0)
    gradient_checkpointing: bool = setting(False, "less memory, about a third slower")
    shared_prefix: bool = setting(True, "compute what a user's summaries, requests and answers share once")
    checkpoint_every: int = setting(
        50, "steps between checkpoints: a killed run loses at most these", minimum=1
    )


@dataclass
class PopiControlSettings:
    """What POPI is set against, trained beside it on the same pairs: needed for a fair comparison."""

    population_dpo: bool = setting(
        False, "the same warm start and DPO for all users alike, without summaries, for as many tokens"
    )
    oracle_generator: bool = setting(
        False, "the upper bound: a generator that learns from users' personas, where the data tells them"
    )
    frozen_generator: bool = setting(
        False,
        "an inference model trained as POPI's is, for a generator that stays the base as it came",
    )


@dataclass
class TrainPOPI:
    """Warm starts of both models, then both under one preference objective."""

    model: str = setting("nano", "the frozen base of both models: nano, a hub name, or a folder")
    seed: int = setting(0, "the seed of everything random in training", minimum=0)
    max_length: int = setting(1024, "prompt and answer together may have so many tokens", minimum=32)
    data: PreferenceDataSettings = field(default_factory=PreferenceDataSettings)
    lora: AdapterSettings = field(default_factory=AdapterSettings)
    warm_start: WarmStartSettings = field(default_factory=WarmStartSettings)
    joint: JointSettings = field(default_factory=JointSettings)
    controls: PopiControlSettings = field(default_factory=PopiControlSettings)
