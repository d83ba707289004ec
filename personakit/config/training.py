"""The settings of training that the methods share. Names are those of transformers, TRL and PEFT.

A method that wants another default overrides the field in a subclass, in its own file of this package.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeVar

from personakit.config.schema import PRLM, TRL, setting


@dataclass
class LoraSettings:
    """The LoRA adapter, by PEFT's names; r = 0 trains all weights instead."""

    r: int = setting(
        16,
        "rank of the adapter; 0: train all weights, which takes more memory",
        provenance=PRLM,
        minimum=0,
    )
    lora_alpha: int = setting(32, "the adapter's output is scaled by lora_alpha / r", minimum=1)
    lora_dropout: float = setting(0.0, "dropout on the adapter's input", minimum=0.0, maximum=0.9)
    target_modules: str = setting(
        "all-linear", "which modules get an adapter: all-linear, or a regular expression of names"
    )
    load_in_4bit: bool = setting(
        False,
        "QLoRA: load the frozen weights in 4 bits: a quarter of the memory, slower, slightly less exact; "
        "needs bitsandbytes and r above 0",
    )


def all_weights() -> LoraSettings:
    """Return the settings of full fine-tuning, without an adapter."""
    return LoraSettings(r=0)


@dataclass
class TrainingSettings:
    """How a stage is trained, whatever its objective: optimizer, batch, checkpoints, early stopping."""

    learning_rate: float = setting(1e-3, "peak learning rate", minimum=0.0)
    lr_scheduler_type: Literal["cosine", "linear", "constant"] = setting(
        "cosine", "how the learning rate falls after warm-up"
    )
    warmup_ratio: float = setting(
        0.05, "share of the steps over which the learning rate rises to its peak", minimum=0.0, maximum=1.0
    )
    num_train_epochs: float = setting(
        1.0, "passes over the training data; no effect where max_steps is given", minimum=0.0001
    )
    max_steps: int | None = setting(None, "optimizer steps; null: num_train_epochs", minimum=1)
    per_device_train_batch_size: int = setting(
        16, "examples per forward pass and device: more is faster and takes more memory", minimum=1
    )
    gradient_accumulation_steps: int = setting(
        1, "forward passes whose gradients are summed before an optimizer step", minimum=1
    )
    weight_decay: float = setting(0.0, "AdamW's weight decay", minimum=0.0)
    max_grad_norm: float = setting(1.0, "gradients are clipped to this norm", minimum=0.0)
    gradient_checkpointing: bool = setting(
        False, "recompute activations in the backward pass: less memory, about a third slower"
    )
    shared_prefix: bool = setting(
        True, "compute a prefix that several rows of a batch share only once, where the model allows it"
    )
    save_steps: int = setting(
        100, "steps between checkpoints, which bound what a killed run loses", minimum=1
    )
    logging_steps: int = setting(10, "steps between lines of metrics.jsonl", minimum=1)
    report_to: Literal["none", "tensorboard", "wandb", "mlflow", "trackio", "comet_ml", "swanlab"] = setting(
        "none",
        "where metrics go besides metrics.jsonl, by transformers' integrations; tensorboard writes into the "
        "run's folder, others may send them elsewhere",
    )
    eval_steps: int | None = setting(
        None, "steps between evaluations on held-out data, if there is any; null: save_steps", minimum=1
    )
    metric_for_best_model: str | None = setting(
        None,
        "stop early on this metric of metrics.jsonl, such as loss or eval_loss, and keep the best "
        "checkpoint's weights; null: train to the last step",
    )
    greater_is_better: bool | None = setting(
        None, "whether a higher metric is better; null: unless its name ends in loss, as in transformers"
    )
    early_stopping_patience: int = setting(
        3, "stop after this many measurements in a row without an improvement", minimum=1
    )
    early_stopping_threshold: float = setting(
        0.0, "an improvement is a change larger than this, in the metric's unit", minimum=0.0
    )

    @property
    def stops_on_evaluation(self) -> bool:
        """Whether the metric of early stopping is measured on the evaluation set."""
        return (self.metric_for_best_model or "").startswith("eval_")

    @property
    def maximizes(self) -> bool:
        """Whether early stopping looks for the metric's maximum."""
        if self.greater_is_better is None:
            return not (self.metric_for_best_model or "").endswith("loss")
        return self.greater_is_better


@dataclass
class PreferenceSettings(TrainingSettings):
    """How to optimise on preference pairs (DPO)."""

    learning_rate: float = setting(
        1e-6,
        "peak learning rate; an adapter wants about ten times as much, nano 1e-4",
        provenance=TRL,
        minimum=0.0,
    )
    per_device_train_batch_size: int = setting(16, "pairs per forward pass and device", minimum=1)
    beta: float = setting(
        0.1,
        "KL penalty strength: how strongly the policy is held to the reference model",
        provenance=TRL,
        minimum=0.0001,
    )
    loss_type: str = setting(
        "sigmoid", "TRL's name of the loss: sigmoid (the DPO paper's), ipo, hinge, ...", provenance=TRL
    )
    label_smoothing: float = setting(
        0.0, "share of pairs assumed to be labelled the wrong way round", minimum=0.0, maximum=0.5
    )


@dataclass
class GroupRLSettings(TrainingSettings):
    """Reinforcement learning on groups of completions: GRPO or RLOO. Names and defaults are TRL's."""

    learning_rate: float = setting(
        1e-6,
        "peak learning rate; an adapter wants about ten times as much, nano 1e-5 to 1e-4; too high a rate "
        "ruins the model",
        provenance=PRLM,
        minimum=0.0,
    )
    per_device_train_batch_size: int = setting(
        32,
        "completions per forward pass and device, a multiple of num_generations: prompts times completions, "
        "as TRL counts",
        minimum=2,
    )
    save_steps: int = setting(50, "steps between checkpoints, which bound what a killed run loses", minimum=1)
    logging_steps: int = setting(1, "steps between lines of metrics.jsonl", minimum=1)
    algorithm: Literal["grpo", "rloo"] = setting(
        "grpo",
        "grpo: a completion's advantage is its reward less its group's mean, scaled (scale_rewards); rloo: "
        "its reward less the mean of the others",
    )
    num_generations: int = setting(
        8, "completions sampled per prompt, which are each other's baseline", provenance=TRL, minimum=2
    )
    temperature: float = setting(
        1.0, "of sampling: too low, and all completions of a prompt are alike", provenance=TRL, minimum=0.01
    )
    top_p: float = setting(
        1.0, "nucleus sampling: share of the probability mass", provenance=TRL, minimum=0.0001, maximum=1.0
    )
    beta: float = setting(
        0.0,
        "KL penalty strength: weight of the divergence from the model before RL; above 0 it takes a second "
        "forward pass",
        provenance=TRL,
        minimum=0.0,
    )
    loss_type: Literal["dapo", "grpo", "dr_grpo", "bnpo"] = setting(
        "dapo", "GRPO: how the loss is averaged over tokens, by TRL's names", provenance=TRL
    )
    scale_rewards: Literal["group", "batch", "none"] = setting(
        "group",
        "GRPO: advantages are divided by the standard deviation of the group's rewards, which makes the "
        "smallest difference count as much as the largest; of the batch's; or not at all",
        provenance=TRL,
    )
    epsilon: float = setting(0.2, "clipping range of the probability ratio", provenance=TRL, minimum=0.0)
    num_iterations: int = setting(
        1, "times each batch of completions is trained on", provenance=TRL, minimum=1
    )
    steps_per_generation: int = setting(
        1,
        "optimizer steps per batch of completions: more is faster and less on-policy (TRL counts forward "
        "passes)",
        minimum=1,
    )
    mask_truncated_completions: bool = setting(
        False, "leave completions that were cut off out of the loss", provenance=TRL
    )
    log_prompts: int = setting(
        1, "prompts whose completions are written to rollouts.jsonl at each logging step", minimum=0
    )
    vllm_mode: Literal["off", "colocate", "server"] = setting(
        "off",
        "what samples completions: off, transformers' generate; colocate, vLLM on the training GPUs; server, "
        "the vLLM server at vllm_server_base_url",
    )
    vllm_server_base_url: str | None = setting(
        None, "server: its address, such as http://localhost:8000; null: port 8000 of this machine"
    )
    vllm_server_timeout: float = setting(
        240.0, "server: seconds to wait for it to be up", provenance=TRL, minimum=0.0
    )
    vllm_group_port: int = setting(
        51216, "server: port over which it receives the weights", provenance=TRL, minimum=1
    )
    vllm_gpu_memory_utilization: float = setting(
        0.3,
        "colocate: share of each GPU's memory for vLLM: more completions at once, less memory to train in",
        provenance=TRL,
        minimum=0.01,
        maximum=0.99,
    )
    vllm_tensor_parallel_size: int = setting(
        1, "colocate: GPUs over which one copy of the model is spread", provenance=TRL, minimum=1
    )
    vllm_max_model_length: int | None = setting(
        None, "longest prompt and completion together; null: the model's window", provenance=TRL, minimum=1
    )
    vllm_enable_sleep_mode: bool = setting(
        False, "colocate: free vLLM's memory during the optimizer step, which costs time", provenance=TRL
    )


Training = TypeVar("Training", bound=TrainingSettings)


def without_early_stopping(settings: Training) -> Training:
    """Return the settings of a control that has to make all its steps."""
    return replace(settings, metric_for_best_model=None)


def shared_settings(settings: TrainingSettings) -> dict[str, Any]:
    """Return the fields of `TrainingSettings`: what a stage with another objective takes over."""
    return {one.name: getattr(settings, one.name) for one in fields(TrainingSettings)}
