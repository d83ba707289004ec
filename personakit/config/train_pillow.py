"""The settings of `personakit train pillow`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from personakit.config.schema import LAMP, STATED, setting
from personakit.config.training import LoraSettings, TrainingSettings

RETICL = "borrowed from RetICL (arXiv 2305.14502)"
PROMPTPG = "borrowed from PromptPG (arXiv 2209.14610)"


@dataclass
class InstructionDataSettings:
    """Which instructions are trained on, and which prompts are picked from."""

    path: str = setting(
        "lamp-mini", "the built-in benchmark, or a folder that `personakit data import` made of instructions"
    )
    template: Literal["plain", "alpaca"] = setting(
        "alpaca",
        "prompt template of instructions and examples: alpaca, Stanford's; plain, that of the built-in data",
    )
    pool: str = setting(
        "pool",
        "the prompts to pick from: pool (the data's own), a split such as lora, or a file of prompts",
    )
    pool_limit: int | None = setting(
        None, "at most this many prompts, the first ones (PromptPG: 20); null: all", minimum=1
    )
    tasks: list[str] = setting(
        [],
        "LaMP tasks whose training queries are the instructions, with each user's history as the pool: the "
        "matching network can then replace BM25; empty: the data's instructions, one pool for all",
    )
    limit: int | None = setting(None, "at most this many instructions of a split; null: all", minimum=1)
    held_out: int = setting(
        0, "RL instructions that are held out of training, to measure `eval_reward` on", minimum=0
    )


@dataclass
class TuningSettings(TrainingSettings):
    """Fine-tuning on instructions: with LoRA as the first stage, with all weights as its upper bound."""

    learning_rate: float = setting(
        1e-3, "peak learning rate of the adapter; 1e-4 for a large model", minimum=0.0
    )
    warmup_ratio: float = setting(
        0.05,
        "share of the steps over which the learning rate rises to its peak",
        provenance=LAMP,
        minimum=0.0,
        maximum=1.0,
    )
    num_train_epochs: float = setting(
        1.0, "passes over the instructions; no effect where max_steps is given", minimum=0.0001
    )
    max_length: int = setting(
        1024,
        "prompt and answer together; longer prompts lose their middle (tokens)",
        minimum=32,
    )
    enabled: bool = setting(
        True, "false: prompts are picked for the model without fine-tuning", provenance=STATED
    )
    num_shots: int = setting(
        0,
        "worked examples before an instruction in training: a small model that never sees any forgets how to "
        "use them",
        minimum=0,
    )
    shot_candidates: int = setting(
        50,
        "they are BM25's best among this many other instructions drawn at random: with few candidates they "
        "have little to do with the instruction, and the model learns to ignore them",
        minimum=1,
    )
    few_shot_share: float = setting(
        0.5, "share of the instructions that have worked examples before them", minimum=0.0, maximum=1.0
    )


@dataclass
class MatcherSettings:
    """The matching network: two MLP towers, a dot product, a softmax."""

    m: int = setting(
        2, "prompts picked for an instruction, one after another", provenance=PROMPTPG, minimum=1
    )
    encoder: str = setting(
        "model",
        "how a text is encoded: model, the tuned model's last hidden states averaged; model:0,2, several of "
        "its layers concatenated (0: the embeddings); or a sentence encoder by name",
    )
    embedding_size: int = setting(128, "dimension of the towers' output vectors", minimum=1)
    hidden_size: int = setting(128, "units in the towers' hidden layer", minimum=1)
    stop: bool = setting(False, "whether it may stop before m prompts; useful with rl.prompt_cost above 0")


@dataclass
class RewardSettings:
    """Reward of a selection: a weighted sum. Every reward is computed once and cached on disk."""

    likelihood: float = setting(
        1.0,
        "weight of the reference answer's probability (geometric mean over its tokens); nothing is generated",
        provenance=RETICL,
    )
    rouge_l: float = setting(0.0, "weight of ROUGE-L between the generated answer and the reference")
    exact: float = setting(0.0, "weight of an exact match with the reference")
    cosine: float = setting(0.0, "weight of the cosine similarity of the two, encoded by matcher.encoder")
    max_new_tokens: int = setting(
        256, "a generated answer is cut here (tokens); no effect on likelihood", minimum=1
    )


@dataclass
class MatchRlSettings:
    """Reinforcement learning of the matching network. The paper does not say how it is done."""

    algorithm: Literal["reinforce", "ppo"] = setting(
        "reinforce", "reinforce: the policy gradient; ppo: several clipped updates on the same selections"
    )
    num_train_epochs: float = setting(
        3.0, "passes over the instructions; no effect where max_steps is given", minimum=0.0001
    )
    max_steps: int | None = setting(None, "optimizer steps; null: num_train_epochs", minimum=1)
    batch_size: int = setting(
        20, "instructions per step, on all devices together", provenance=RETICL, minimum=1
    )
    num_selections: int = setting(
        4, "selections sampled per instruction, which are each other's baseline", minimum=2
    )
    learning_rate: float = setting(
        1e-3, "Adam's learning rate, of the matching network", provenance=RETICL, minimum=0.0
    )
    warmup_steps: int = setting(0, "steps over which the learning rate rises", minimum=0)
    max_grad_norm: float = setting(2.0, "gradients are clipped to this norm", provenance=RETICL, minimum=0.0)
    entropy_bonus: float = setting(
        0.01,
        "weight of the policy's entropy (nats) at the first step, falling linearly to 0 at the last: too "
        "low, and the policy collapses onto a few prompts",
        minimum=0.0,
    )
    prompt_cost: float = setting(
        0.0,
        "subtracted from the reward per prompt shown; with matcher.stop it teaches when to stop",
        minimum=0.0,
    )
    num_ppo_epochs: int = setting(4, "ppo: updates on the selections of a step", minimum=1)
    cliprange: float = setting(0.2, "ppo: clipping range of the probability ratio", minimum=0.0)
    reward: RewardSettings = field(default_factory=RewardSettings)
    save_steps: int = setting(50, "steps between checkpoints", minimum=1)
    logging_steps: int = setting(10, "steps between lines of metrics.jsonl", minimum=1)
    report_to: Literal["none", "tensorboard"] = setting(
        "none", "where metrics go besides metrics.jsonl; tensorboard writes into the run's folder"
    )
    eval_steps: int | None = setting(
        None, "steps between measurements on held-out instructions, if any; null: save_steps", minimum=1
    )

    def planned_steps(self, instructions: int) -> int:
        """Return the optimizer steps of a training on so many instructions."""
        return self.max_steps or max(1, round(self.num_train_epochs * instructions / self.batch_size))


@dataclass
class PillowControlSettings:
    """Controls: what else is trained, for a fair comparison."""

    full_fine_tuning: bool = setting(
        True,
        "fine-tune all weights on the same instructions for as many steps: the paper's baseline",
        provenance=STATED,
    )
    full_learning_rate: float = setting(
        3e-4, "its peak learning rate; a tenth of the adapter's, or less, for a large model", minimum=0.0
    )


@dataclass
class TrainPILLOW:
    """LoRA on instructions, then a matching network that learns which prompts of a pool help."""

    model: str = setting("nano", "the model that is tuned: nano, a hub name, or a folder")
    seed: int = setting(0, "the seed of everything random in training", minimum=0)
    prompt_tokens: int = setting(
        512,
        "data.tasks: prompt length, to which a user's items are cut, as in LaMP (tokens)",
        provenance=LAMP,
        minimum=32,
    )
    data: InstructionDataSettings = field(default_factory=InstructionDataSettings)
    lora: LoraSettings = field(default_factory=LoraSettings)
    tuning: TuningSettings = field(default_factory=TuningSettings)
    matcher: MatcherSettings = field(default_factory=MatcherSettings)
    rl: MatchRlSettings = field(default_factory=MatchRlSettings)
    controls: PillowControlSettings = field(default_factory=PillowControlSettings)
