"""The settings of `personakit train pillow`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from personakit.config.schema import LAMP, STATED, setting
from personakit.config.training import DEFAULT_MODEL, LoraSettings, TrainingSettings, force_setting

RETICL = "borrowed from RetICL (arXiv 2305.14502)"
PROMPTPG = "borrowed from PromptPG (arXiv 2209.14610)"


@dataclass
class InstructionDataSettings:
    """The training instructions and the pool of candidate prompts."""

    path: str = setting(
        "lamp-mini",
        "lamp-mini (the built-in benchmark), or a folder of instructions made by `personakit data import`",
    )
    template: Literal["plain", "alpaca"] = setting(
        "alpaca",
        "prompt template of instructions and examples: alpaca, Stanford's; plain, that of the built-in data",
    )
    pool: str = setting(
        "pool",
        "candidate prompts: pool (the data's own), a split such as lora, or a file of prompts",
    )
    pool_limit: int | None = setting(
        None,
        "maximum number of candidate prompts, the first ones (PromptPG: 20); higher values offer more "
        "choice and are slower to explore; null: all",
        minimum=1,
    )
    tasks: list[str] = setting(
        [],
        "LaMP tasks whose training queries are the instructions and whose users' histories are the pools, "
        "so that the matching network can replace BM25; empty: the data's instructions with one pool for "
        "all",
    )
    limit: int | None = setting(
        None, "maximum instructions per split; lower values train faster on less data; null: all", minimum=1
    )
    held_out: int = setting(
        0,
        "RL instructions held out to measure `eval_reward`; higher values measure it more exactly and "
        "leave fewer for training",
        minimum=0,
    )


@dataclass
class TuningSettings(TrainingSettings):
    """Fine-tuning on instructions, with LoRA (the first stage) or of all weights (its upper bound)."""

    learning_rate: float = setting(
        1e-3,
        "peak learning rate of the adapter; higher values learn faster and diverge sooner; use 1e-4 for a "
        "large model",
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
        1.0,
        "passes over the instructions; more epochs fit them more closely and take longer; ignored if "
        "max_steps is set",
        minimum=0.0001,
    )
    max_length: int = setting(
        1024,
        "maximum tokens of prompt and answer together; longer prompts are cut in the middle; higher "
        "values take more memory",
        minimum=32,
    )
    enabled: bool = setting(
        True,
        "fine-tune the model before the matching network; false: select prompts for the model as it is",
        provenance=STATED,
    )
    num_shots: int = setting(
        0,
        "few-shot examples before an instruction in training, so that a small model learns to use them; "
        "higher values make longer prompts",
        minimum=0,
    )
    shot_candidates: int = setting(
        50,
        "number of randomly drawn instructions from which BM25 selects the examples; higher values select "
        "more relevant examples",
        minimum=1,
    )
    few_shot_share: float = setting(
        0.5,
        "fraction of the instructions with few-shot examples; higher values train the use of examples more",
        minimum=0.0,
        maximum=1.0,
    )


@dataclass
class MatcherSettings:
    """The matching network: two MLP towers, a dot product, a softmax."""

    m: int = setting(
        2,
        "prompts selected per instruction, one after another; higher values give more evidence and longer "
        "prompts",
        provenance=PROMPTPG,
        minimum=1,
    )
    encoder: str = setting(
        "model",
        "text encoder: model, the mean of the fine-tuned model's last hidden states; model:0,2, several "
        "of its layers concatenated (0: the embeddings); or the name of a sentence encoder",
    )
    embedding_size: int = setting(
        128, "dimension of the towers' output vectors; higher values add capacity and memory", minimum=1
    )
    hidden_size: int = setting(
        128, "units in the towers' hidden layer; higher values add capacity and memory", minimum=1
    )
    stop: bool = setting(False, "allow fewer than m prompts; useful with rl.prompt_cost above 0")


@dataclass
class RewardSettings:
    """The reward of a selection, a weighted sum; every reward is computed once and cached on disk."""

    likelihood: float = setting(
        1.0,
        "weight of the reference answer's probability (geometric mean over its tokens), which needs no "
        "generation; higher values count it more",
        provenance=RETICL,
    )
    rouge_l: float = setting(
        0.0,
        "weight of ROUGE-L between the generated answer and the reference; higher values count it more, "
        "above 0 needs generation",
    )
    exact: float = setting(
        0.0,
        "weight of an exact match with the reference; higher values count it more, above 0 needs generation",
    )
    cosine: float = setting(
        0.0,
        "weight of the cosine similarity of the generated answer and the reference in the encoder; higher "
        "values count it more, above 0 needs generation",
    )
    max_new_tokens: int = setting(
        256,
        "maximum tokens of a generated answer; lower values are faster and cut long ones; no effect on "
        "likelihood",
        minimum=1,
    )


@dataclass
class MatchRlSettings:
    """Reinforcement learning of the matching network; the paper does not describe the algorithm."""

    algorithm: Literal["reinforce", "ppo"] = setting(
        "reinforce",
        "policy update: reinforce, one policy-gradient step; ppo, several clipped updates on the same "
        "selections",
    )
    num_train_epochs: float = setting(
        3.0,
        "passes over the instructions; more epochs train longer; ignored if max_steps is set",
        minimum=0.0001,
    )
    max_steps: int | None = setting(None, "number of optimizer steps; null: from num_train_epochs", minimum=1)
    batch_size: int = setting(
        20,
        "instructions per step, over all devices; higher values give less noisy gradients and slower steps",
        provenance=RETICL,
        minimum=1,
    )
    num_selections: int = setting(
        4,
        "selections sampled per instruction, whose mean reward is the baseline; higher values reduce "
        "variance and cost more rewards",
        minimum=2,
    )
    learning_rate: float = setting(
        1e-3,
        "Adam's learning rate of the matching network; higher values learn faster and diverge sooner",
        provenance=RETICL,
        minimum=0.0,
    )
    warmup_steps: int = setting(
        0,
        "steps during which the learning rate rises to its peak; higher values are more stable and slower",
        minimum=0,
    )
    max_grad_norm: float = setting(
        2.0, "maximum gradient norm; lower values clip more gradients", provenance=RETICL, minimum=0.0
    )
    entropy_bonus: float = setting(
        0.01,
        "weight of the policy's entropy (nats) at the first step, falling linearly to 0; higher values "
        "explore more, too low a value collapses onto a few prompts",
        minimum=0.0,
    )
    prompt_cost: float = setting(
        0.0,
        "penalty per selected prompt, subtracted from the reward; higher values select fewer prompts with "
        "matcher.stop",
        minimum=0.0,
    )
    num_ppo_epochs: int = setting(
        4,
        "ppo: updates on the selections of a step; higher values learn more per step and are more off-policy",
        minimum=1,
    )
    cliprange: float = setting(
        0.2,
        "ppo: clipping range of the probability ratio; higher values allow larger policy updates",
        minimum=0.0,
    )
    reward: RewardSettings = field(default_factory=RewardSettings)
    save_steps: int = setting(
        50,
        "steps between checkpoints; lower values lose less work after an interruption and write more often",
        minimum=1,
    )
    logging_steps: int = setting(
        10, "steps between lines of metrics.jsonl; lower values log more often", minimum=1
    )
    report_to: Literal["none", "tensorboard"] = setting(
        "none", "where metrics go besides metrics.jsonl; tensorboard writes into the run's folder"
    )
    eval_steps: int | None = setting(
        None,
        "steps between evaluations on held-out instructions, if any; lower values evaluate more often and "
        "take longer; null: save_steps",
        minimum=1,
    )

    def planned_steps(self, instructions: int) -> int:
        """Return the number of optimizer steps for this number of training instructions."""
        return self.max_steps or max(1, round(self.num_train_epochs * instructions / self.batch_size))


@dataclass
class PillowControlSettings:
    """Additional trainings that serve as baselines of the method."""

    full_fine_tuning: bool = setting(
        True,
        "also fine-tune all weights on the same instructions for as many steps, the paper's comparison",
        provenance=STATED,
    )
    full_learning_rate: float = setting(
        3e-4,
        "peak learning rate of full fine-tuning; higher values learn faster and diverge sooner; a tenth "
        "of the adapter's or less for a large model",
        minimum=0.0,
    )


@dataclass
class TrainPILLOW:
    """PILLOW: LoRA on instructions, then a matching network that learns to select prompts from a pool."""

    model: str = setting(
        DEFAULT_MODEL, "model to fine-tune: nano, smollm2, a hub model, a folder or a GGUF file"
    )
    seed: int = setting(0, "random seed of training", minimum=0)
    force: bool = force_setting()
    prompt_tokens: int = setting(
        512,
        "data.tasks: maximum tokens of a prompt; higher values keep more of a user's items",
        provenance=LAMP,
        minimum=32,
    )
    data: InstructionDataSettings = field(default_factory=InstructionDataSettings)
    lora: LoraSettings = field(default_factory=LoraSettings)
    tuning: TuningSettings = field(default_factory=TuningSettings)
    matcher: MatcherSettings = field(default_factory=MatcherSettings)
    rl: MatchRlSettings = field(default_factory=MatchRlSettings)
    controls: PillowControlSettings = field(default_factory=PillowControlSettings)
