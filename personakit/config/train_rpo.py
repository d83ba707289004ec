"""The settings of `personakit train rpo`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from personakit.config.endpoint import EndpointSettings
from personakit.config.schema import LAMP, PRLM, STATED, SUMMARISED, setting
from personakit.config.training import GroupRLSettings, LoraSettings, TrainingSettings


@dataclass
class DataSettings:
    """Which users and queries are trained on."""

    path: str = setting("lamp-mini", "the built-in benchmark, or a folder of LaMP's files")
    tasks: list[str] = setting([], "tasks to train on, such as LaMP_3; empty: every task in the data")
    limit: int | None = setting(None, "at most this many training queries a task; null: all", minimum=1)
    held_out: int = setting(
        0, "training queries of each task that are held out of training, to measure `eval_loss` on", minimum=0
    )


@dataclass
class RetrievalSettings:
    """Which of the user's items the rewriter sees."""

    name: str = setting(
        "bm25",
        "how items are ranked for a query: bm25, dense (LaMP's encoder), dense:ENCODER, recency, random, "
        "pillow:RUN (the matching network of a run of PILLOW on histories), or popi:RUN (the summaries of a "
        "run of POPI instead of items)",
        provenance=LAMP,
        pattern=r"bm25|dense(:.+)?|recency|random|(pillow|popi):.+",
    )
    k: int = setting(
        4, "items retrieved per query: more evidence, longer prompts", provenance=LAMP, minimum=1
    )


@dataclass
class DecodingSettings:
    """How answers are decoded: greedily, so that the same query always has the same answer."""

    max_new_tokens: int | None = setting(
        None, "an answer is cut here (tokens); null: the longest that the task allows", minimum=1
    )


@dataclass
class TrajectorySettings:
    """What writes the structured rewriting trajectories, and which are dropped (and counted)."""

    writer: Literal["template", "teacher"] = setting(
        "template",
        "template: by rules, offline; teacher: a language model explains the gold answer from the evidence",
    )
    teacher: str | None = setting(
        None,
        "the teacher: a model as in `model`, or openai:MODEL; its answers are cached",
    )
    teacher_tokens: int | None = setting(
        None,
        "the teacher's reply is cut here (its own tokens); null: max_tokens; raise it for a reasoning model",
        minimum=16,
    )
    limit: int | None = setting(
        None,
        "trajectories for at most this many training queries per task, besides those held out: each costs a "
        "request to the teacher; RL needs the gold answer alone and uses all queries; null: all",
        minimum=1,
    )
    max_tokens: int = setting(
        512, "longer trajectories are dropped, and the rewriter's output is cut here (tokens)", minimum=16
    )
    no_history_share: float = setting(
        0.1,
        "share of the trajectories without history, whose target is the draft: the rewriter learns to leave "
        "it unchanged for an unknown user",
        minimum=0.0,
        maximum=1.0,
    )
    minimum_reward: float = setting(
        0.0, "trajectories whose response has a lower task reward are dropped", minimum=0.0, maximum=1.0
    )


@dataclass
class SftSettings(TrainingSettings):
    """Supervised fine-tuning on trajectories, the first of RPO's training stages."""

    learning_rate: float = setting(1e-3, "peak learning rate; too high a rate ruins the answers", minimum=0.0)
    warmup_ratio: float = setting(
        0.05,
        "share of the steps over which the learning rate rises to its peak",
        provenance=LAMP,
        minimum=0.0,
        maximum=1.0,
    )
    num_train_epochs: float = setting(
        2.0, "passes over the trajectories; no effect where max_steps is given", minimum=0.0001
    )
    max_length: int = setting(
        1024,
        "prompt and trajectory together (tokens): a longer prompt is cut in SFT and left out in RL",
        minimum=32,
    )


@dataclass
class CurriculumSettings:
    """RPO's progressive multi-context curriculum: RL in stages, each of which shows more of the history.

    Each stage has the same number of steps; those that a stage does not use go to the later ones.
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
class RlSettings(GroupRLSettings):
    """Reinforcement learning on rewrites (GRPO), the second of RPO's training stages.

    The reward is the task's own plus one for the format. The paper does not say how it is done.
    """

    lr_scheduler_type: Literal["cosine", "linear", "constant"] = setting(
        "cosine",
        "how the learning rate falls after warm-up, in each stage of the curriculum",
        provenance=PRLM,
    )
    num_train_epochs: float = setting(
        1.0, "passes over the training queries; no effect where max_steps is given", minimum=0.0001
    )
    max_steps: int | None = setting(
        None, "optimizer steps, of all stages of the curriculum together; null: num_train_epochs", minimum=1
    )
    num_generations: int = setting(
        4, "rewrites sampled per query, which are each other's baseline", provenance=PRLM, minimum=2
    )
    temperature: float = setting(
        0.7, "of sampling: too low, and all rewrites of a query are alike", provenance=PRLM, minimum=0.01
    )
    max_completion_length: int | None = setting(
        None, "a rewrite is cut here (tokens); null: trajectories.max_tokens", minimum=1
    )
    format_weight: float = setting(
        0.1, "reward of a rewrite in its tags, added to the task reward", provenance=PRLM, minimum=0.0
    )
    curriculum: CurriculumSettings = field(default_factory=CurriculumSettings)


@dataclass
class ControlSettings:
    """Controls: what else is trained, for a fair comparison."""

    fine_tuned_context_injection: bool = setting(
        True,
        "fine-tune context injection on the same users and items, for as many training tokens as all stages "
        "together: the baseline of the claim that decoupling helps; about doubles the training time",
    )
    sft_continued: bool = setting(
        False,
        "continue SFT on the same trajectories for as many training tokens as RL: the baseline of the claim "
        "that RL helps; where trajectories.limit is set, RL also sees more queries",
    )
    without_curriculum: bool = setting(
        False, "RL with the same steps and queries, and retrieval.k items from the first step on"
    )
    context_tokens: int = setting(
        512,
        "context injection's prompt length: the history is cut to fit (tokens)",
        provenance=LAMP,
        minimum=32,
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
        "all", "all: SFT, then RL; sft: SFT alone, which is faster", provenance=STATED
    )
    prompt_tokens: int = setting(
        512,
        "length of the rewriter's prompt with the draft: history items are cut to fit, query and draft are "
        "not; set controls.context_tokens to the same, so that both see the same items",
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
