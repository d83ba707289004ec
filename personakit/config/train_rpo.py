"""The settings of `personakit train rpo`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from personakit.config.endpoint import EndpointSettings
from personakit.config.schema import LAMP, PRLM, SUMMARISED, setting
from personakit.config.training import (
    DEFAULT_MODEL,
    GroupRLSettings,
    LoraSettings,
    TrainingSettings,
    force_setting,
)


@dataclass
class DataSettings:
    """The training data."""

    path: str = setting("lamp-mini", "lamp-mini (the built-in benchmark), or a folder of LaMP files")
    tasks: list[str] = setting([], "tasks to train on, such as LaMP_3; empty: all tasks in the data")
    limit: int | None = setting(
        None,
        "maximum training queries per task; lower values train faster on less data; null: all",
        minimum=1,
    )
    held_out: int = setting(
        0,
        "training queries per task held out to measure `eval_loss`; higher values measure it more exactly "
        "and leave fewer for training",
        minimum=0,
    )


@dataclass
class RetrievalSettings:
    """Retrieval of the user's items for the rewriter's prompt."""

    name: str = setting(
        "bm25",
        "retriever that ranks the user's items for a query: bm25, dense (LaMP's encoder), dense:ENCODER, "
        "recency, random, pillow:RUN (the matching network of a PILLOW run on histories), or popi:RUN "
        "(summaries of a POPI run instead of items)",
        provenance=LAMP,
        pattern=r"bm25|dense(:.+)?|recency|random|(pillow|popi):.+",
    )
    k: int = setting(
        4,
        "number of retrieved items in the prompt; higher values give more evidence and longer prompts",
        provenance=LAMP,
        minimum=1,
    )


@dataclass
class DecodingSettings:
    """Decoding of answers, which is greedy and thus deterministic."""

    max_new_tokens: int | None = setting(
        None,
        "maximum tokens of an answer; lower values cut long answers; null: the task's maximum",
        minimum=1,
    )


@dataclass
class TrajectorySettings:
    """Generation of the structured rewriting trajectories, and filters; dropped ones are counted."""

    writer: Literal["auto", "none", "template", "own", "teacher"] = setting(
        "auto",
        "what writes the trajectories: none, the response alone without a trace; template, code that runs "
        "offline; own, the model explains the gold answer in its own words; teacher, another language model "
        "explains it; auto: template for lamp-mini, else none (measured: benchmarks/traces.py)",
    )
    teacher: str | None = setting(
        None,
        "teacher model: a model as in `model`, or openai:MODEL; its answers are cached, so no request is "
        "repeated",
    )
    teacher_tokens: int | None = setting(
        None,
        "maximum tokens of the teacher's reply (its own tokens); raise it for a reasoning model; null: "
        "max_tokens",
        minimum=16,
    )
    limit: int | None = setting(
        None,
        "maximum training queries per task, besides the held-out ones, that get a trajectory; lower "
        "values send fewer requests to the teacher; RL needs only the gold answer and uses all queries; "
        "null: all",
        minimum=1,
    )
    max_tokens: int = setting(
        512,
        "maximum tokens of a trajectory and of the rewriter's output; longer trajectories are dropped",
        minimum=16,
    )
    no_history_share: float = setting(
        0.1,
        "fraction of trajectories without history, whose target is the draft; higher values train the "
        "rewriter more to leave the draft unchanged for an unknown user; with 0 it rewrites theirs too",
        minimum=0.0,
        maximum=1.0,
    )
    minimum_reward: float = setting(
        0.0,
        "minimum task reward of a trajectory's response; higher values drop more trajectories",
        minimum=0.0,
        maximum=1.0,
    )


@dataclass
class SftSettings(TrainingSettings):
    """Supervised fine-tuning on trajectories, the first of RPO's training stages."""

    learning_rate: float = setting(
        1e-3,
        "peak learning rate; higher values learn faster, too high a rate destroys the model",
        minimum=0.0,
    )
    warmup_ratio: float = setting(
        0.05,
        "fraction of the steps during which the learning rate rises to its peak; higher values are more "
        "stable and slower",
        provenance=LAMP,
        minimum=0.0,
        maximum=1.0,
    )
    num_train_epochs: float = setting(
        2.0,
        "passes over the trajectories; more epochs fit them more closely and take longer; ignored if "
        "max_steps is set",
        minimum=0.0001,
    )
    max_length: int = setting(
        1024,
        "maximum tokens of prompt and trajectory together; a longer prompt is cut in SFT and dropped in "
        "RL; higher values take more memory",
        minimum=32,
    )


@dataclass
class CurriculumSettings:
    """RPO's progressive multi-context curriculum: RL in stages with more and more history items.

    The steps are divided evenly; steps that a stage does not use go to the later ones.
    """

    enabled: bool = setting(
        True,
        "show more items stage by stage; false: every prompt has retrieval.k items",
        provenance=SUMMARISED,
    )
    first: int = setting(
        1,
        "items in the first stage if `items` is empty, doubled in every stage up to retrieval.k; higher "
        "values mean fewer stages",
        minimum=1,
    )
    items: list[int] = setting(
        [], "retrieved items per stage, the last one retrieval.k; empty: `first`, doubled up to retrieval.k"
    )
    distractors: list[int] = setting(
        [0, 1],
        "lowest-ranked items of the same user mixed in, per stage; higher values train the rewriter to "
        "ignore irrelevant items; stages beyond the list have none",
    )
    until_reward: list[float] = setting(
        [],
        "mean task reward (0 to 1) that ends each stage early; higher values train a stage longer; stages "
        "beyond the list use all their steps",
    )
    reward_window: int = setting(
        10,
        "optimizer steps over which the mean of until_reward is taken; higher values are less noisy and "
        "end a stage later",
        minimum=1,
    )


@dataclass
class RlSettings(GroupRLSettings):
    """Reinforcement learning on rewrites (GRPO), the second of RPO's training stages.

    The reward is the task reward plus a format reward. The paper does not describe the algorithm.
    """

    lr_scheduler_type: Literal["cosine", "linear", "constant"] = setting(
        "cosine",
        "how the learning rate decays after warmup, in each stage of the curriculum; constant does not decay",
        provenance=PRLM,
    )
    num_train_epochs: float = setting(
        1.0,
        "passes over the training queries; more epochs train longer; ignored if max_steps is set",
        minimum=0.0001,
    )
    max_steps: int | None = setting(
        None,
        "total number of optimizer steps of all curriculum stages; null: from num_train_epochs",
        minimum=1,
    )
    num_generations: int = setting(
        4,
        "rewrites sampled per query, whose mean reward is the baseline; higher values reduce variance and "
        "cost more sampling",
        provenance=PRLM,
        minimum=2,
    )
    temperature: float = setting(
        0.7,
        "sampling temperature; higher values explore more, too low a value makes a query's rewrites "
        "identical",
        provenance=PRLM,
        minimum=0.01,
    )
    max_completion_length: int | None = setting(
        None,
        "maximum tokens of a rewrite; lower values are faster and cut long ones; null: "
        "trajectories.max_tokens",
        minimum=1,
    )
    format_weight: float = setting(
        0.1,
        "reward for a rewrite with the required tags, added to the task reward; higher values enforce the "
        "format more strictly; without effect where the rewriter writes no trace",
        provenance=PRLM,
        minimum=0.0,
    )
    curriculum: CurriculumSettings = field(default_factory=CurriculumSettings)


@dataclass
class ControlSettings:
    """Additional trainings that serve as baselines of the method."""

    fine_tuned_context_injection: bool = setting(
        True,
        "also fine-tune context injection on the same users, items and number of training tokens, the "
        "baseline that isolates the effect of decoupling; about doubles the training time",
    )
    sft_continued: bool = setting(
        False,
        "also continue SFT on the same trajectories for as many training tokens as RL, the baseline that "
        "isolates the effect of RL (with trajectories.limit, RL also sees more queries)",
    )
    without_curriculum: bool = setting(
        False,
        "also run RL for the same steps and queries with retrieval.k items from the first step, the "
        "baseline that isolates the effect of the curriculum",
    )
    context_tokens: int | None = setting(
        None,
        "maximum prompt tokens of context injection; higher values keep more of the history; null: "
        "prompt_tokens, so that both see the same",
        minimum=32,
    )


@dataclass
class TrainRPO:
    """RPO: generic answers, trajectories, supervised fine-tuning of the rewriter, reinforcement learning."""

    model: str = setting(
        DEFAULT_MODEL, "model trained as the rewriter: nano, smollm2, a hub model, a folder or a GGUF file"
    )
    base: str = setting(
        "",
        "black-box base model whose answers are rewritten (unless draft is input): a model as in `model`, or "
        "openai:MODEL; empty: the same as `model`",
    )
    draft: Literal["auto", "input", "base"] = setting(
        "auto",
        "what is rewritten: base, the base model's answer; input, the given text itself (rewriting, LaMP_7), "
        "which takes no base model; auto: input for rewriting, base for other tasks",
    )
    seed: int = setting(0, "random seed of training", minimum=0)
    force: bool = force_setting()
    stages: Literal["sft", "all"] = setting(
        "sft",
        "training stages: sft; all, SFT and then RL as in the paper. RL is off by default because it has no "
        "measured gain over SFT (docs/evidence.md, With RL)",
    )
    prompt_tokens: int = setting(
        512,
        "maximum tokens of the rewriter's prompt with the draft; higher values keep more history items "
        "(query and draft are never cut)",
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

    def __post_init__(self) -> None:
        self.base = self.base or self.model

    @property
    def context_tokens(self) -> int:
        """Maximum prompt tokens of context injection."""
        own = self.controls.context_tokens
        return self.prompt_tokens if own is None else own
