"""The settings of `personakit train popi`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from personakit.config.schema import STATED, TRL, setting
from personakit.config.train_rpo import DecodingSettings
from personakit.config.training import DEFAULT_MODEL, LoraSettings, TrainingSettings, force_setting

PLUS = "borrowed from PLUS (arXiv 2507.13579)"
ALIGNXPLORE = "borrowed from AlignXplore (AntResearchNLP/AlignXplore)"


@dataclass
class PreferenceDataSettings:
    """The training data."""

    path: str = setting(
        "lamp-mini",
        "lamp-mini (the built-in benchmark), or a folder of preferences made by `personakit data import`",
    )
    limit: int | None = setting(
        None, "maximum number of users; lower values train faster on less data; null: all", minimum=1
    )
    held_out: int = setting(
        0,
        "training users held out to measure `eval_reward`; higher values measure it more exactly and "
        "leave fewer for training",
        minimum=0,
    )
    signal_tokens: int = setting(
        512,
        "maximum tokens of the inference model's prompt; lower values drop (and count) more whole signals",
        minimum=32,
    )


@dataclass
class AdapterSettings(LoraSettings):
    """The adapters of the inference model and of the generator, on one frozen base."""

    r: int = setting(
        32,
        "rank of both adapters; a higher rank is closer to full fine-tuning and takes more memory",
        minimum=1,
    )
    lora_alpha: int = setting(
        64,
        "the adapters' output is scaled by lora_alpha / r; higher values strengthen their updates",
        minimum=1,
    )


@dataclass
class WarmStartSettings(TrainingSettings):
    """Fine-tuning before joint training: inference model on summaries, generator on answers given them."""

    num_train_epochs: float = setting(
        2.0,
        "passes over the users; more epochs fit them more closely and take longer; ignored if max_steps "
        "is set",
        minimum=0.0001,
    )
    max_steps: int | None = setting(
        None, "number of optimizer steps of each model; null: from num_train_epochs", minimum=1
    )
    learning_rate: float = setting(
        1e-3,
        "peak learning rate; higher values learn faster, too high a rate destroys the model",
        minimum=0.0,
    )
    enabled: bool = setting(
        True,
        "fine-tune both models before joint training; false: both start as the base model, which must "
        "follow the prompts without training",
    )
    summaries: Literal["auto", "template", "own"] = setting(
        "auto",
        "what writes the summaries: own, the base model itself, prompted, and filtered; template, a rule "
        "that lists phrases of the preferred answers, which makes no sense of real text; auto: template for "
        "the built-in data, else own",
    )
    generator: bool = setting(
        True,
        "fine-tune the generator too; false: it starts as the base model, for bases that can answer from "
        "a summary without training",
    )
    bare_share: float = setting(
        0.0,
        "fraction of template summaries that list a user's phrases without their position in an answer "
        "('begins with'); higher values leave more of the wording to joint training",
        minimum=0.0,
        maximum=1.0,
    )
    without_summary_share: float = setting(
        0.1,
        "fraction of the generator's examples without a summary; higher values train it more to answer "
        "without one",
        minimum=0.0,
        maximum=1.0,
    )


@dataclass
class JointSettings(TrainingSettings):
    """Joint training of both models with one preference objective, POPI's main stage."""

    learning_rate: float = setting(
        1e-5,
        "peak learning rate of the inference model; higher values learn faster and diverge sooner; "
        "AlignXplore uses 1e-6 for all weights, adapters need 10 times as much, nano 100 times",
        minimum=0.0,
    )
    warmup_ratio: float = setting(
        0.05,
        "fraction of the steps during which both learning rates rise to their peaks (AlignXplore: 50 "
        "steps); higher values are more stable and slower",
        minimum=0.0,
        maximum=1.0,
    )
    num_train_epochs: float = setting(
        1.0, "passes over the users; more epochs train longer; ignored if max_steps is set", minimum=0.0001
    )
    per_device_train_batch_size: int = setting(
        8,
        "users per forward pass and device, each with all their summaries; higher values are faster and "
        "take more memory",
        minimum=1,
    )
    save_steps: int = setting(
        50,
        "steps between checkpoints; lower values lose less work after an interruption and write more often",
        minimum=1,
    )
    logging_steps: int = setting(
        1, "steps between lines of metrics.jsonl; lower values log more often", minimum=1
    )
    generator_learning_rate: float = setting(
        1e-5,
        "peak learning rate of the generator; higher values learn faster and diverge sooner",
        minimum=0.0,
    )
    schedule: Literal["joint", "alternating", "generator-frozen"] = setting(
        "joint",
        "which model trains: joint, both in every step; alternating, in turn; generator-frozen, only the "
        "inference model",
        provenance=STATED,
    )
    alternate_every: int = setting(
        10,
        "alternating: steps of one model before the other trains; higher values switch less often",
        minimum=1,
    )
    num_summaries: int = setting(
        4,
        "summaries sampled per user, whose mean reward is the baseline; higher values reduce variance and "
        "cost more sampling",
        provenance=ALIGNXPLORE,
        minimum=2,
    )
    num_pairs: int = setting(
        4,
        "maximum held-out pairs per user that score the summaries; higher values reduce the reward's "
        "noise and are slower",
        minimum=1,
    )
    max_summary_tokens: int = setting(
        256,
        "maximum tokens of a summary; lower values make every answer cheaper and hold less about the user",
        provenance=PLUS,
        minimum=1,
    )
    generator_summaries: int | None = setting(
        None,
        "number of a user's summaries the generator is trained with; lower values are faster; null: all",
        minimum=1,
    )
    beta: float = setting(
        0.1,
        "KL penalty strength of the generator, as in DPO; higher values keep it closer to the reference "
        "model",
        provenance=TRL,
        minimum=0.0001,
    )
    kl_coef: float = setting(
        0.01,
        "KL penalty strength of the inference model, subtracted from its reward (the name used by PPO "
        "implementations; beta is DPO's); higher values keep it closer to the model before joint "
        "training; 0: none, and faster",
        provenance=PLUS,
        minimum=0.0,
    )
    base_share: float = setting(
        0.0,
        "fraction of a summary's reward measured on the base model, which is never trained to read "
        "summaries; higher values make summaries work better with other models; above 0 costs a forward "
        "pass",
        minimum=0.0,
        maximum=1.0,
    )
    reference: Literal["base", "generator"] = setting(
        "base",
        "reference model of the margin, which sees no summary: the base model, or the generator after the "
        "warm start",
    )


@dataclass
class PopiControlSettings:
    """Additional trainings on the same pairs that serve as baselines of POPI."""

    population_dpo: bool = setting(
        True,
        "also train the same warm start and DPO without summaries, for all users alike and as many "
        "tokens: the baseline that isolates the effect of personalization",
    )
    raw_dpo: bool = setting(
        True,
        "also train DPO with the raw signals in the prompt instead of a summary, for as many tokens: the "
        "baseline that isolates the effect of summaries",
    )
    oracle_generator: bool = setting(
        False, "also train a generator on the users' personas, if the data has them: the upper bound"
    )
    frozen_generator: bool = setting(
        False,
        "also train an inference model as POPI does, with the untrained base as generator: the baseline "
        "that isolates the effect of training the generator",
    )


@dataclass
class PerUserSettings:
    """The LoRA adapter per user, a baseline that `eval preference` trains on each user's own signal pairs."""

    learning_rate: float | None = setting(
        None,
        "learning rate; higher values learn faster and diverge sooner; compare a few on dev users: the "
        "baseline depends on it; null: 1e-4, and 1e-2 for nano",
        minimum=0.0,
    )
    max_steps: int = setting(
        8, "optimizer steps, each on all of a user's pairs; more fit them more closely", minimum=1
    )
    r: int = setting(4, "rank; a higher rank adds capacity, and bytes per user", minimum=1)
    lora_alpha: int = setting(
        8,
        "the adapter's output is scaled by lora_alpha / r; higher values strengthen its updates",
        minimum=1,
    )


@dataclass
class TrainPOPI:
    """POPI: warm start of both models, then joint training with one preference objective."""

    model: str = setting(
        DEFAULT_MODEL, "frozen base of both models: nano, smollm2, a hub model, a folder or a GGUF file"
    )
    seed: int = setting(0, "random seed of training", minimum=0)
    force: bool = force_setting()
    max_length: int = setting(
        1024,
        "maximum tokens of prompt and answer together; lower values save memory and drop more users and "
        "pairs that do not fit",
        minimum=32,
    )
    data: PreferenceDataSettings = field(default_factory=PreferenceDataSettings)
    lora: AdapterSettings = field(default_factory=AdapterSettings)
    warm_start: WarmStartSettings = field(default_factory=WarmStartSettings)
    joint: JointSettings = field(default_factory=JointSettings)
    decoding: DecodingSettings = field(default_factory=DecodingSettings)
    controls: PopiControlSettings = field(default_factory=PopiControlSettings)
    per_user: PerUserSettings = field(default_factory=PerUserSettings)
