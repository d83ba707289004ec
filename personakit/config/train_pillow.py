"""The settings of `personakit train pillow`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from personakit.config.schema import LAMP, STATED, setting
from personakit.config.train_rpo import LoraSettings

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
        "how instructions and prompts are worded: alpaca, as Stanford's; plain, as the built-in ones",
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
        "LaMP tasks whose training queries are the instructions, and each user's history the pool: the "
        "matching network can then stand where BM25 stands; empty: the data's instructions, one pool for all",
    )
    limit: int | None = setting(None, "at most this many instructions of a split; null: all", minimum=1)
    held_out: int = setting(
        0, "RL instructions that are not trained on: `eval_reward` is measured on them", minimum=0
    )


@dataclass
class TuningSettings:
    """Fine-tuning on instructions: with LoRA the first stage, with all weights its yardstick."""

    enabled: bool = setting(True, "false: prompts are picked for the model as it is", provenance=STATED)
    shown: int = setting(
        0,
        "worked examples before an instruction of training: a small model that never sees any forgets how to "
        "read them",
        minimum=0,
    )
    shown_from: int = setting(
        50,
        "they are BM25's best among so many other instructions drawn at random: of few they have little to "
        "do with the instruction, and a model learns to pass over them",
        minimum=1,
    )
    shown_share: float = setting(
        0.5, "share of the instructions with examples before them", minimum=0.0, maximum=1.0
    )
    epochs: float = setting(
        1.0, "passes over the instructions; no effect where `steps` is given", minimum=0.0
    )
    steps: int | None = setting(None, "optimizer steps; null: as `epochs` says", minimum=1)
    batch_size: int = setting(16, "instructions in a batch, a device", minimum=1)
    accumulation: int = setting(1, "batches added up before one optimizer step", minimum=1)
    learning_rate: float = setting(1e-3, "the adapter's peak; 1e-4 for a large model", minimum=0.0)
    schedule: Literal["cosine", "linear", "constant"] = setting("cosine", "how the rate falls after warm-up")
    warmup_share: float = setting(
        0.05, "share of the steps spent warming up", provenance=LAMP, minimum=0.0, maximum=1.0
    )
    weight_decay: float = setting(0.0, "AdamW's weight decay", minimum=0.0)
    max_length: int = setting(
        1024, "prompt and answer together are cut here, in the middle of the prompt (tokens)", minimum=32
    )
    gradient_checkpointing: bool = setting(False, "less memory, about a third slower")
    shared_prefix: bool = setting(True, "compute what the rows of a batch have in common once")
    checkpoint_every: int = setting(100, "steps between checkpoints", minimum=1)


@dataclass
class MatcherSettings:
    """The matching network: two MLP towers, a dot product, a softmax."""

    m: int = setting(
        2, "prompts picked for an instruction, one after another", provenance=PROMPTPG, minimum=1
    )
    encoder: str = setting(
        "model",
        "what it sees of a text: model, the tuned model's last states averaged; model:0,2, several of its "
        "layers side by side (0: the embeddings); or a sentence encoder by name",
    )
    size: int = setting(128, "the towers' vectors", minimum=1)
    hidden: int = setting(128, "the towers' hidden layer", minimum=1)
    stop: bool = setting(False, "whether it may stop before m prompts; rl.prompt_cost makes it worth while")


@dataclass
class RewardSettings:
    """What a selection earns: a weighted sum. Every reward is computed once and kept on disk."""

    likelihood: float = setting(
        1.0,
        "weight of the reference answer's probability, a geometric mean over its tokens; writes no answer",
        provenance=RETICL,
    )
    rouge_l: float = setting(0.0, "weight of ROUGE-L between the answer that is written and the reference")
    exact: float = setting(0.0, "weight of writing the reference word for word")
    cosine: float = setting(0.0, "weight of the cosine of the two in the encoder's vectors")
    max_new_tokens: int = setting(
        256, "an answer that is written is cut here (tokens); no effect on likelihood", minimum=1
    )


@dataclass
class MatchRlSettings:
    """Reinforcement learning of the matching network. The paper does not say how it is done."""

    algorithm: Literal["reinforce", "ppo"] = setting(
        "reinforce", "reinforce: the policy's gradient; ppo: several clipped updates on the same selections"
    )
    epochs: float = setting(
        3.0, "passes over the instructions; no effect where `steps` is given", minimum=0.0
    )
    steps: int | None = setting(None, "optimizer steps; null: as `epochs` says", minimum=1)
    batch_size: int = setting(20, "instructions a step", provenance=RETICL, minimum=1)
    selections: int = setting(4, "selections drawn of each, each other's baseline", minimum=2)
    learning_rate: float = setting(1e-3, "Adam's, of the matching network", provenance=RETICL, minimum=0.0)
    warmup_steps: int = setting(0, "steps spent warming up", minimum=0)
    clip: float = setting(2.0, "gradients are clipped to this norm", provenance=RETICL, minimum=0.0)
    entropy_bonus: float = setting(
        0.01,
        "what a nat of entropy is worth at the first step, in rewards, falling to nothing at the last: too "
        "little, and the policy collapses onto a few prompts",
        minimum=0.0,
    )
    prompt_cost: float = setting(
        0.0, "what each prompt shown takes off the reward: with matcher.stop, when to stop", minimum=0.0
    )
    ppo_epochs: int = setting(4, "ppo: updates on the selections of a step", minimum=1)
    ppo_clip: float = setting(0.2, "ppo: how far a selection's probability may move", minimum=0.0)
    reward: RewardSettings = field(default_factory=RewardSettings)
    checkpoint_every: int = setting(50, "steps between checkpoints", minimum=1)


@dataclass
class PillowControlSettings:
    """What is trained beside the method so that its table is an honest one."""

    full_fine_tuning: bool = setting(
        True,
        "fine-tune all weights on the same instructions for as many steps: the paper's yardstick",
        provenance=STATED,
    )
    full_learning_rate: float = setting(
        3e-4, "its peak; a tenth of the adapter's, or less, for a large model", minimum=0.0
    )


@dataclass
class TrainPILLOW:
    """LoRA on instructions, then a matching network that learns which prompts of a pool pay."""

    model: str = setting("nano", "the model that is tuned: nano, a hub name, or a folder")
    seed: int = setting(0, "the seed of everything random in training", minimum=0)
    prompt_tokens: int = setting(
        512,
        "data.tasks: LaMP's window, into which a user's items are cut (tokens)",
        provenance=LAMP,
        minimum=32,
    )
    data: InstructionDataSettings = field(default_factory=InstructionDataSettings)
    lora: LoraSettings = field(default_factory=LoraSettings)
    tuning: TuningSettings = field(default_factory=TuningSettings)
    matcher: MatcherSettings = field(default_factory=MatcherSettings)
    rl: MatchRlSettings = field(default_factory=MatchRlSettings)
    controls: PillowControlSettings = field(default_factory=PillowControlSettings)
