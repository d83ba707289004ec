"""Training settings shared by the methods, named as in transformers, TRL and PEFT.

A method with another default overrides the field in a subclass, in its own file of this package.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeVar

from personakit.config.schema import PRLM, TRL, setting

DEFAULT_MODEL = "smollm2"
"""The model where none is named, and the config of each method that is then used."""


@dataclass
class LoraSettings:
    """The LoRA adapter, with PEFT's names; r = 0 trains all weights instead."""

    r: int = setting(
        16,
        "rank of the adapter; a higher rank adds capacity and memory; 0: train all weights",
        provenance=PRLM,
        minimum=0,
    )
    lora_alpha: int = setting(
        32,
        "the adapter's output is scaled by lora_alpha / r; higher values strengthen its updates",
        minimum=1,
    )
    lora_dropout: float = setting(
        0.0, "dropout on the adapter's input; higher values regularise more", minimum=0.0, maximum=0.9
    )
    target_modules: str = setting(
        "all-linear",
        "modules that get an adapter: all-linear, or a regular expression over module names; more modules "
        "add capacity and memory",
    )
    load_in_4bit: bool = setting(
        False,
        "QLoRA: load the frozen weights in 4 bits, which takes a quarter of the memory, is slower and "
        "slightly less exact; needs bitsandbytes and r above 0",
    )


def force_setting() -> Any:
    """Return the setting `force`, the same in every method."""
    return setting(
        False,
        "train with learning rates that are known to destroy a model of this size, which is an error "
        "otherwise",
    )


def no_lora() -> LoraSettings:
    """Return the settings of full fine-tuning: no adapter."""
    return LoraSettings(r=0)


@dataclass
class TrainingSettings:
    """Optimizer, batches, checkpoints and early stopping of a stage with any objective."""

    learning_rate: float = setting(
        1e-3, "peak learning rate; higher values learn faster and diverge sooner", minimum=0.0
    )
    lr_scheduler_type: Literal["cosine", "linear", "constant"] = setting(
        "cosine", "how the learning rate decays after warmup; constant does not decay"
    )
    warmup_ratio: float = setting(
        0.05,
        "fraction of the steps during which the learning rate rises to its peak; higher values are more "
        "stable and slower",
        minimum=0.0,
        maximum=1.0,
    )
    num_train_epochs: float = setting(
        1.0,
        "passes over the training data; more epochs fit it more closely and take longer; ignored if "
        "max_steps is set",
        minimum=0.0001,
    )
    max_steps: int | None = setting(None, "number of optimizer steps; null: from num_train_epochs", minimum=1)
    per_device_train_batch_size: int = setting(
        16, "examples per forward pass and device; higher values are faster and take more memory", minimum=1
    )
    gradient_accumulation_steps: int = setting(
        1,
        "forward passes per optimizer step; higher values enlarge the effective batch without more memory",
        minimum=1,
    )
    weight_decay: float = setting(0.0, "weight decay of AdamW; higher values regularise more", minimum=0.0)
    max_grad_norm: float = setting(
        1.0, "maximum gradient norm; lower values clip more gradients", minimum=0.0
    )
    gradient_checkpointing: bool = setting(
        False, "recompute activations in the backward pass: less memory, about a third slower"
    )
    shared_prefix: bool = setting(
        True,
        "compute a prefix shared by several rows of a batch once, if the model supports it: faster, same "
        "result",
    )
    save_steps: int = setting(
        100,
        "steps between checkpoints; lower values lose less work after an interruption and write more often",
        minimum=1,
    )
    logging_steps: int = setting(
        10, "steps between lines of metrics.jsonl; lower values log more often", minimum=1
    )
    report_to: Literal["none", "tensorboard", "wandb", "mlflow", "trackio", "comet_ml", "swanlab"] = setting(
        "none",
        "where metrics go besides metrics.jsonl (integrations of transformers); tensorboard writes into "
        "the run's folder, others may send metrics over the network",
    )
    eval_steps: int | None = setting(
        None,
        "steps between evaluations on held-out data, if any; lower values evaluate more often and take "
        "longer; null: save_steps",
        minimum=1,
    )
    metric_for_best_model: str | None = setting(
        None,
        "metric in metrics.jsonl for early stopping, such as loss or eval_loss; the best checkpoint's "
        "weights are kept; null: no early stopping",
    )
    greater_is_better: bool | None = setting(
        None,
        "whether a higher metric is better; null: true unless the metric's name ends in loss, as in "
        "transformers",
    )
    early_stopping_patience: int = setting(
        3, "stop after this many measurements without an improvement; higher values train longer", minimum=1
    )
    early_stopping_threshold: float = setting(
        0.0,
        "minimum change that counts as an improvement, in the metric's unit; higher values stop sooner",
        minimum=0.0,
    )

    @property
    def stops_on_evaluation(self) -> bool:
        """True if early stopping uses a metric of the evaluation set."""
        return (self.metric_for_best_model or "").startswith("eval_")

    @property
    def maximizes(self) -> bool:
        """True if a higher value of the early-stopping metric is better."""
        if self.greater_is_better is None:
            return not (self.metric_for_best_model or "").endswith("loss")
        return self.greater_is_better


@dataclass
class PreferenceSettings(TrainingSettings):
    """Direct preference optimization (DPO) on preference pairs."""

    learning_rate: float = setting(
        1e-6,
        "peak learning rate; higher values learn faster and diverge sooner; adapters need about 10 times "
        "as much, nano 1e-4",
        provenance=TRL,
        minimum=0.0,
    )
    per_device_train_batch_size: int = setting(
        16, "pairs per forward pass and device; higher values are faster and take more memory", minimum=1
    )
    beta: float = setting(
        0.1,
        "KL penalty strength; higher values keep the policy closer to the reference model",
        provenance=TRL,
        minimum=0.0001,
    )
    loss_type: str = setting(
        "sigmoid", "DPO loss by TRL's name: sigmoid (as in the DPO paper), ipo, hinge, ...", provenance=TRL
    )
    label_smoothing: float = setting(
        0.0,
        "fraction of pairs assumed to be mislabelled; higher values trust the labels less",
        minimum=0.0,
        maximum=0.5,
    )


@dataclass
class GroupRLSettings(TrainingSettings):
    """Reinforcement learning on groups of completions: GRPO or RLOO. Names and defaults are TRL's."""

    learning_rate: float = setting(
        1e-6,
        "peak learning rate; higher values learn faster, too high a rate destroys the model; adapters "
        "need about 10 times as much, nano 1e-5 to 1e-4",
        provenance=PRLM,
        minimum=0.0,
    )
    per_device_train_batch_size: int = setting(
        32,
        "completions per forward pass and device, a multiple of num_generations (prompts times "
        "completions, as in TRL); higher values are faster and take more memory",
        minimum=2,
    )
    save_steps: int = setting(
        50,
        "steps between checkpoints; lower values lose less work after an interruption and write more often",
        minimum=1,
    )
    logging_steps: int = setting(
        1, "steps between lines of metrics.jsonl; lower values log more often", minimum=1
    )
    algorithm: Literal["grpo", "rloo"] = setting(
        "grpo",
        "how advantages are computed: grpo, the reward minus the group's mean, scaled (scale_rewards); "
        "rloo, the reward minus the mean of the other completions",
    )
    num_generations: int = setting(
        8,
        "completions sampled per prompt, whose mean reward is the baseline; higher values reduce variance "
        "and cost more sampling",
        provenance=TRL,
        minimum=2,
    )
    temperature: float = setting(
        1.0,
        "sampling temperature; higher values explore more, too low a value makes a prompt's completions "
        "identical",
        provenance=TRL,
        minimum=0.01,
    )
    top_p: float = setting(
        1.0,
        "nucleus sampling: probability mass to sample from; lower values explore less",
        provenance=TRL,
        minimum=0.0001,
        maximum=1.0,
    )
    beta: float = setting(
        0.0,
        "KL penalty strength; higher values keep the policy closer to the model before RL; above 0 needs "
        "a second forward pass",
        provenance=TRL,
        minimum=0.0,
    )
    loss_type: Literal["dapo", "grpo", "dr_grpo", "bnpo"] = setting(
        "dapo", "how GRPO's loss is averaged over tokens, by TRL's names", provenance=TRL
    )
    scale_rewards: Literal["group", "batch", "none"] = setting(
        "group",
        "GRPO: divide advantages by the standard deviation of the rewards of the group (small differences "
        "weigh as much as large ones) or of the batch; none: do not",
        provenance=TRL,
    )
    epsilon: float = setting(
        0.2,
        "clipping range of the probability ratio; higher values allow larger policy updates",
        provenance=TRL,
        minimum=0.0,
    )
    num_iterations: int = setting(
        1,
        "updates per batch of completions; higher values save sampling and are more off-policy",
        provenance=TRL,
        minimum=1,
    )
    steps_per_generation: int = setting(
        1,
        "optimizer steps per batch of completions (TRL counts forward passes); higher values are faster "
        "and more off-policy",
        minimum=1,
    )
    mask_truncated_completions: bool = setting(
        False, "exclude truncated completions from the loss", provenance=TRL
    )
    log_prompts: int = setting(
        1,
        "number of prompts whose completions are written to rollouts.jsonl at each logging step; 0: none",
        minimum=0,
    )
    vllm_mode: Literal["off", "colocate", "server"] = setting(
        "off",
        "what samples completions: off, transformers' generate; colocate, vLLM on the training GPUs; "
        "server, the vLLM server at vllm_server_base_url",
    )
    vllm_server_base_url: str | None = setting(
        None, "server: its URL, such as http://localhost:8000; null: port 8000 of this machine"
    )
    vllm_server_timeout: float = setting(
        240.0,
        "server: seconds to wait until it is up; higher values tolerate a slower start",
        provenance=TRL,
        minimum=0.0,
    )
    vllm_group_port: int = setting(51216, "server: port for sending the weights", provenance=TRL, minimum=1)
    vllm_gpu_memory_utilization: float = setting(
        0.3,
        "colocate: fraction of each GPU's memory for vLLM; higher values sample more completions at once "
        "and leave less memory for training",
        provenance=TRL,
        minimum=0.01,
        maximum=0.99,
    )
    vllm_tensor_parallel_size: int = setting(
        1,
        "colocate: number of GPUs per copy of the model; higher values fit larger models",
        provenance=TRL,
        minimum=1,
    )
    vllm_max_model_length: int | None = setting(
        None,
        "maximum tokens of prompt and completion together; lower values save memory; null: the model's "
        "context length",
        provenance=TRL,
        minimum=1,
    )
    vllm_enable_sleep_mode: bool = setting(
        False, "colocate: free vLLM's memory during the optimizer step, which is slower", provenance=TRL
    )


Training = TypeVar("Training", bound=TrainingSettings)


def as_control(settings: Training, *methods: TrainingSettings) -> Training:
    """Return the settings for a control that trains as many tokens as the stages with `methods`.

    By default that is the stage with `settings`. If one of them keeps the best weights on held-out data, so
    does the control, by its own loss there. Otherwise it trains to its last step.
    """
    selects = any(method.stops_on_evaluation for method in methods or (settings,))
    return replace(
        settings,
        metric_for_best_model="eval_loss" if selects else None,
        greater_is_better=None,
        early_stopping_threshold=0.0,
    )


def without_early_stopping(settings: Training) -> Training:
    """Return the settings for a control that makes exactly as many steps as the method."""
    return replace(settings, metric_for_best_model=None)


def shared_settings(settings: TrainingSettings) -> dict[str, Any]:
    """Return the fields of `TrainingSettings`, to build the settings of another objective from."""
    return {one.name: getattr(settings, one.name) for one in fields(TrainingSettings)}
