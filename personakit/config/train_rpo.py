"""The settings of `personakit train rpo`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from personakit.config.endpoint import EndpointSettings
from personakit.config.schema import LAMP, PRLM, STATED, SUMMARISED, TRL, setting


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
        "how items are ranked for a query: bm25, dense (LaMP's encoder), dense:ENCODER, recency, random, "
        "pillow:RUN (the matching network of a run of PILLOW on histories), or popi:RUN (the summaries of a "
        "run of POPI in the place of items)",
        provenance=LAMP,
        pattern=r"bm25|dense(:.+)?|recency|random|(pillow|popi):.+",
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
    """Who writes the structured rewriting trajectories, and which are dropped (and counted)."""

    writer: Literal["template", "teacher"] = setting(
        "template", "template: by code, offline; teacher: a language model explains gold from the evidence"
    )
    teacher: str | None = setting(
        None,
        "the teacher: a model as in `model`, or openai:MODEL; its answers are kept, none is paid for twice",
    )
    teacher_tokens: int | None = setting(
        None,
        "the teacher's reply is cut here (its own tokens); null: max_tokens; more for one that reasons first",
        minimum=16,
    )
    limit: int | None = setting(
        None,
        "trajectories for at most this many training queries of a task, and for those held out: each costs a "
        "teacher's request; RL, which needs the gold answer alone, trains on all queries; null: for all",
        minimum=1,
    )
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
    four_bit: bool = setting(
        False,
        "QLoRA: the weights under the adapter are held in 4 bits while it trains: a quarter of the memory, "
        "slower, a little less exact; needs bitsandbytes",
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
class RewardStopSettings(EarlyStopSettings):
    """As in SFT, on a metric such as reward or eval_reward; in every stage of the curriculum by itself."""

    mode: Literal["min", "max"] = setting("max", "whether lower or higher is better")


@dataclass
class CurriculumSettings:
    """RPO's progressive multi-context curriculum: RL in stages, each of which shows more of the history.

    The steps are shared out evenly; what a stage leaves over goes to those after it.
    """

    enabled: bool = setting(True, "false: every prompt shows retrieval.k items", provenance=SUMMARISED)
    first: int = setting(
        1, "items shown in the first stage, where `items` is empty; then twice as many, ...", minimum=1
    )
    items: list[int] = setting(
        [], "retrieved items shown in each stage, the last retrieval.k; empty: `first`, doubled up to it"
    )
    distractors: list[int] = setting(
        [0, 1],
        "items of the same user that the retriever ranks lowest, mixed in among those of each stage; "
        "stages beyond the list have none",
    )
    until_reward: list[float] = setting(
        [],
        "mean task reward (0 to 1) at which each stage ends before its steps are up; stages beyond the list "
        "run to their end",
    )
    reward_window: int = setting(10, "optimizer steps over which that mean is taken", minimum=1)


@dataclass
class RlSettings:
    """Reinforcement learning on rewrites (GRPO), the second of RPO's training stages.

    The reward is the task's own plus one for the format. The paper does not say how it is done.
    """

    epochs: float = setting(
        1.0, "passes over the training queries; no effect where `steps` is given", minimum=0.0
    )
    steps: int | None = setting(
        None, "optimizer steps, all stages of the curriculum together; null: as `epochs` says", minimum=1
    )
    batch_size: int = setting(
        8,
        "queries in a batch, a device, each with all its rewrites: more is steadier",
        minimum=1,
    )
    accumulation: int = setting(1, "batches added up before one optimizer step", minimum=1)
    generations: int = setting(
        4, "rewrites of a query that are compared with each other", provenance=PRLM, minimum=2
    )
    temperature: float = setting(
        0.7, "of sampling: too low and all rewrites of a query are alike", provenance=PRLM, minimum=0.01
    )
    max_tokens: int | None = setting(
        None, "a rewrite is cut here (tokens); null: trajectories.max_tokens", minimum=1
    )
    learning_rate: float = setting(
        1e-6,
        "the peak; ten times as much for an adapter, 1e-5 to 1e-4 for nano; too high and the answers fall "
        "apart",
        provenance=PRLM,
        minimum=0.0,
    )
    schedule: Literal["cosine", "linear", "constant"] = setting(
        "cosine", "how the rate falls after warm-up, in each stage of the curriculum", provenance=PRLM
    )
    warmup_share: float = setting(
        0.05, "share of each stage's steps spent warming up", minimum=0.0, maximum=1.0
    )
    weight_decay: float = setting(0.0, "AdamW's weight decay", minimum=0.0)
    algorithm: Literal["grpo", "rloo"] = setting(
        "grpo",
        "grpo: a rewrite is measured by its group's mean and spread; rloo: by the other rewrites' mean",
    )
    scale_rewards: Literal["group", "batch", "none"] = setting(
        "group",
        "what GRPO divides a rewrite's advantage by: the spread of its group's rewards, which makes the "
        "smallest difference count as much as the largest; the batch's; or nothing",
        provenance=TRL,
    )
    loss_type: Literal["dapo", "grpo", "dr_grpo", "bnpo"] = setting(
        "dapo", "how GRPO averages over tokens, by TRL's names", provenance=TRL
    )
    format_weight: float = setting(
        0.1, "what a rewrite in its tags earns beside the task reward", provenance=PRLM, minimum=0.0
    )
    beta: float = setting(
        0.0,
        "weight of the KL divergence from the model that SFT left; above 0 it takes a second forward pass",
        provenance=TRL,
        minimum=0.0,
    )
    gradient_checkpointing: bool = setting(False, "less memory, about a third slower")
    shared_prefix: bool = setting(True, "compute the prompt of a query's rewrites once")
    vllm: Literal["off", "colocate", "server"] = setting(
        "off", "rewrites by vLLM: on the training GPUs, or by the server at `vllm_url`"
    )
    vllm_url: str | None = setting(None, "the vLLM server's address, such as http://localhost:8000")
    early_stop: RewardStopSettings = field(default_factory=RewardStopSettings)
    checkpoint_every: int = setting(
        50, "steps between checkpoints: a killed run loses at most these", minimum=1
    )
    curriculum: CurriculumSettings = field(default_factory=CurriculumSettings)


@dataclass
class ControlSettings:
    """What is trained beside the method so that its table is an honest one."""

    fine_tuned_context_injection: bool = setting(
        True,
        "train context injection on the same users and items, for as many training tokens as all stages "
        "together: only against it may one say that decoupling helps; about doubles the training time",
    )
    sft_continued: bool = setting(
        False,
        "go on with SFT on the same trajectories for as many training tokens as RL: only against it may one "
        "say that RL helps, and where trajectories.limit is set, no more than that it makes up for them",
    )
    without_curriculum: bool = setting(
        False, "RL once more, the same steps and queries, with retrieval.k items from the first step on"
    )
    context_tokens: int = setting(
        512, "context injection cuts the history to fit a prompt of this length", provenance=LAMP, minimum=32
    )


@dataclass
class TrainRPO:
    """Generic answers, trajectories, supervised fine-tuning of the rewriter, reinforcement learning."""

    model: str = setting("nano", "the model that becomes the rewriter: nano, a hub name, or a folder")
    base: str = setting(
        "nano",
        "the black box whose answers are rewritten: a model as above, or openai:MODEL",
        provenance=STATED,
    )
    seed: int = setting(0, "the seed of everything random in training", minimum=0)
    stages: Literal["sft", "all"] = setting(
        "all", "all: SFT, then RL; sft: the short way, which leaves RL out", provenance=STATED
    )
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
    endpoint: EndpointSettings = field(default_factory=EndpointSettings)
    trajectories: TrajectorySettings = field(default_factory=TrajectorySettings)
    lora: LoraSettings = field(default_factory=LoraSettings)
    sft: SftSettings = field(default_factory=SftSettings)
    rl: RlSettings = field(default_factory=RlSettings)
    controls: ControlSettings = field(default_factory=ControlSettings)
