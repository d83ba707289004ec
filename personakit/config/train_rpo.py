"""The settings of `personakit train rpo`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from personakit.config.schema import LAMP, PRLM, STATED, setting


@dataclass
class DataSettings:
    """Which users and queries are trained on."""

    path: str = setting("lamp-mini", "the built-in benchmark, or a folder of LaMP's files")
    tasks: list[str] = setting([], "tasks to train on, such as LaMP_3; empty: every task in the data")
    limit: int | None = setting(None, "at most this many training queries a task; null: all", minimum=1)
    held_out: int = setting(
        0, "training queries of each task that are not trained on: `eval_loss` is measured on them", minimum=0
    )


@dataclass
class RetrievalSettings:
    """Which of the user's items the rewriter sees."""

    name: str = setting(
        "bm25",
        "how items are ranked for a query: bm25, dense (LaMP's encoder), dense:ENCODER, recency, random",
        provenance=LAMP,
        pattern=r"bm25|dense(:.+)?|recency|random",
    )
    k: int = setting(4, "items shown for a query: more evidence, longer prompts", provenance=LAMP, minimum=1)


@dataclass
class DecodingSettings:
    """How answers are written: greedily, so that the same question has the same answer."""

    max_new_tokens: int | None = setting(
        None, "an answer is cut here (tokens); null: long enough for any answer of the task", minimum=1
    )


@dataclass
class TrajectorySettings:
    """Which of the structured rewriting trajectories are dropped (and counted)."""

    max_tokens: int = setting(
        512, "longer trajectories are dropped, and the rewriter writes no longer ones (tokens)", minimum=16
    )
    no_history_share: float = setting(
        0.1,
        "share of the trajectories whose history is taken away and whose draft is kept: what the rewriter "
        "learns to do for a user it knows nothing of",
        minimum=0.0,
        maximum=1.0,
    )
    minimum_reward: float = setting(
        0.0, "drop trajectories whose response earns less task reward", minimum=0.0, maximum=1.0
    )


@dataclass
class LoraSettings:
    """The adapter; rank 0 trains all weights instead."""

    rank: int = setting(16, "0: all weights are trained: more memory", provenance=PRLM, minimum=0)
    alpha: int = setting(32, "the adapter's output is scaled by alpha / rank", minimum=1)
    dropout: float = setting(0.0, "dropout on the adapter's input", minimum=0.0, maximum=0.9)
    targets: str = setting(
        "all-linear", "which modules get an adapter: all-linear, or a regular expression of names"
    )


@dataclass
class EarlyStopSettings:
    """When to stop before the last step; the weights kept are then those of the best checkpoint."""

    metric: str | None = setting(
        None, "stop on this metric of metrics.jsonl, such as loss or eval_loss; null: never"
    )
    patience: int = setting(3, "stop after so many measurements in a row without an improvement", minimum=1)
    minimum_change: float = setting(0.0, "a smaller change is no improvement", minimum=0.0)
    mode: Literal["min", "max"] = setting("min", "whether lower or higher is better")


@dataclass
class SftSettings:
    """Supervised fine-tuning on trajectories, the first of RPO's training stages."""

    epochs: float = setting(
        2.0, "passes over the trajectories; no effect where `steps` is given", minimum=0.0
    )
    steps: int | None = setting(None, "optimizer steps; null: as `epochs` says", minimum=1)
    batch_size: int = setting(
        16, "trajectories in a batch, a device: more is faster and takes memory", minimum=1
    )
    accumulation: int = setting(1, "batches added up before one optimizer step", minimum=1)
    learning_rate: float = setting(1e-3, "the peak; too high and the answers fall apart", minimum=0.0)
    schedule: Literal["cosine", "linear", "constant"] = setting("cosine", "how the rate falls after warm-up")
    warmup_share: float = setting(
        0.05, "share of the steps spent warming up", provenance=LAMP, minimum=0.0, maximum=1.0
    )
    weight_decay: float = setting(0.0, "AdamW's weight decay", minimum=0.0)
    max_length: int = setting(1024, "prompt and trajectory together are cut here (tokens)", minimum=32)
    gradient_checkpointing: bool = setting(False, "less memory, about a third slower")
    shared_prefix: bool = setting(True, "compute what the rows of a batch have in common once")
    early_stop: EarlyStopSettings = field(default_factory=EarlyStopSettings)
    checkpoint_every: int = setting(
        100, "steps between checkpoints: what a killed run loses at most", minimum=1
    )


@dataclass
class ControlSettings:
    """What is trained beside the method so that its table is an honest one."""

    fine_tuned_context_injection: bool = setting(
        True,
        "train context injection on the same users, items and training tokens: only against it may one "
        "say that decoupling helps; about doubles the training time",
    )
    context_tokens: int = setting(
        512, "context injection cuts the history to fit a prompt of this length", provenance=LAMP, minimum=32
    )


@dataclass
class TrainRPO:
    """Generic answers, trajectories, supervised fine-tuning of the rewriter."""

    model: str = setting("nano", "the model that becomes the rewriter: nano, a hub name, or a folder")
    base: str = setting(
        "nano",
        "the black box whose answers are rewritten: a model as above, or openai:MODEL",
        provenance=STATED,
    )
    seed: int = setting(0, "the seed of everything random in training", minimum=0)
    prompt_tokens: int = setting(
        512,
        "the rewriter's prompt, draft included: history items are cut to fit, request and draft never; "
        "the same as controls.context_tokens, so that both see the same items",
        provenance=LAMP,
        minimum=32,
    )
    data: DataSettings = field(default_factory=DataSettings)
    retrieval: RetrievalSettings = field(default_factory=RetrievalSettings)
    decoding: DecodingSettings = field(default_factory=DecodingSettings)
    trajectories: TrajectorySettings = field(default_factory=TrajectorySettings)
    lora: LoraSettings = field(default_factory=LoraSettings)
    sft: SftSettings = field(default_factory=SftSettings)
    controls: ControlSettings = field(default_factory=ControlSettings)
