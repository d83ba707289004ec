"""POPI's joint stage: two LoRA adapters on one frozen base model, trained with one preference objective.

Adapters are used even for models as small as nano: the base model serves as the reference without a second
copy. With rank 32 on all linear layers of width 128, an adapter has half as many weights as the layers.
`trainer` has the training step, `training.fitting` what all stages share.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from personakit.config.train_popi import JointSettings
from personakit.errors import UserError
from personakit.models.environment import silence_libraries
from personakit.models.fingerprint import fingerprint_folder
from personakit.popi.adapters import GENERATOR, ROLES, Role, active_adapter, add_adapters
from personakit.popi.rows import (
    SummarisedUser,
    TokenUser,
    Visit,
    WithSummary,
    plan_visits,
    tokenize_users,
    users_fingerprint,
    visit,
)
from personakit.popi.schedule import check_joint, trained_roles
from personakit.training.fitting import (
    StageResult,
    TrainingSource,
    common_arguments,
    fit,
    plan_stage_memory,
    record_precision,
    silenced_trl,
    stage_result,
)
from personakit.training.memory import sharding_of_launch
from personakit.training.precision import Precision
from personakit.training.progress import report_stage
from personakit.training.reference import TokenRow, reference_logps
from personakit.training.stage import Stage, StageMetrics, check_stage, train_batch_size
from personakit.training.weights import Trainable, is_adapted, load_trainable

__all__ = ["SummarisedUser", "WithSummary", "train_jointly"]

_RENAMED = {"loss": "loss", "learning_rate": "learning_rate"}


def train_jointly(
    model: str,
    users: Sequence[SummarisedUser],
    with_summary: WithSummary,
    settings: JointSettings,
    stage: Stage,
    *,
    warm: Mapping[Role, Path] = MappingProxyType({}),
    evaluation: Sequence[SummarisedUser] = (),
) -> StageResult:
    """Train the inference model and the generator on `users`; save both adapters in the output folder.

    `model` is the frozen base model: a folder, a hub name or `nano`. `warm` has the folders of adapters to
    start from (warm start); other adapters start with no effect. The output has the folders `inference` and
    `generator` in PEFT's format. Resumes, and skips a completed stage, as `supervised.finetune` does. Rewards
    on the held-out users `evaluation` are logged every `eval_steps`. Raises `UserError` for invalid settings
    and users.
    """
    run = stage.run
    done = stage_result(stage)
    if done is not None:
        return done
    if not users:
        raise UserError(
            f'stage "{stage.name}" has no users', hint="check which rows of the data were skipped, and why"
        )
    check_stage(settings, stage, evaluates=bool(evaluation))
    check_joint(settings)
    _check_stage_of_adapters(stage)
    if sharding_of_launch() != "none":
        raise UserError(
            f"the launcher shards the weights ({sharding_of_launch()}), which does not support switching "
            "between two adapters",
            hint="launch with configs/accelerate/ddp.yaml",
        )
    silence_libraries()
    precision = record_precision(stage)
    start = load_trainable(model, stage.lora, precision)
    if is_adapted(start.network):
        raise UserError(
            f'"{model}" is a LoRA adapter, expected a base model for the two adapters of POPI',
            hint="name its base model, or merge the adapter into it first",
        )
    all_users = [*users, *evaluation]
    tokens = tokenize_users(
        start.tokenizer,
        all_users,
        with_summary,
        summary_tokens=settings.max_summary_tokens,
        max_length=stage.max_length,
    )
    visits = plan_visits(
        tokens[: len(users)],
        batch_size=train_batch_size(settings),
        pairs=settings.num_pairs,
        epochs=settings.num_train_epochs,
        max_steps=settings.max_steps,
        group_by_length=stage.group_by_length,
        seed=run.seed,
    )
    held_out = [
        visit(tokens, place, f"evaluation {place}", settings.num_pairs, run.seed)
        for place in range(len(users), len(all_users))
    ]
    pairs = [pair for user in tokens for pair in user.pairs]
    longest_query = max(len(pair.query_ids) for pair in pairs)
    work = plan_stage_memory(
        start,
        settings,
        precision,
        stage,
        rows=2 * settings.per_device_train_batch_size * settings.num_summaries * settings.num_pairs,
        prompt=max(
            longest_query + settings.max_summary_tokens, *(len(user.summary_prompt) for user in tokens)
        ),
        answer=max(len(answer) for pair in pairs for answer in (pair.chosen, pair.rejected)),
        sharing=2,  # at least chosen and rejected share a prompt
        decoded_rows=settings.per_device_train_batch_size * settings.num_summaries,
    )
    network = _adapted(start, warm, settings, stage)
    tuned = warm.get("generator") if settings.reference == "generator" else None
    reference, fingerprint = _reference(network, start, tokens, [*visits, *held_out], tuned, precision, stage)
    from personakit.popi.trainer import METRICS, JointData, JointTrainer  # imports transformers

    trainer = _trainer(
        JointTrainer,
        network,
        JointData(tokens, [*visits, *held_out], reference, with_summary),
        start.tokenizer,
        len(visits),
        settings,
        precision,
        stage,
    )
    names = _RENAMED | {name: name for name in METRICS}
    return fit(
        trainer,
        settings,
        stage,
        TrainingSource(
            model, len(users), 0, {"examples_fingerprint": users_fingerprint(users), "reference": fingerprint}
        ),
        meter=StageMetrics(names.get, lambda step, state: int(state.num_input_tokens_seen)),
        work=work,
        adapters=ROLES,
    )


def _check_stage_of_adapters(stage: Stage) -> None:
    """Raise `UserError` for stage settings that two adapters on one base model do not support."""
    if stage.lora.r == 0:
        raise UserError(
            "lora.r is 0, but POPI trains two adapters on one base model", hint="set for example lora.r=32"
        )
    if stage.max_tokens is not None:
        raise UserError(
            "max_tokens is set, but the tokens of a step are unknown before its summaries are sampled",
            hint="limit the training by num_train_epochs or max_steps",
        )


def _adapted(start: Trainable, warm: Mapping[Role, Path], settings: JointSettings, stage: Stage) -> Any:
    from trl.trainer.utils import add_fused_lm_head, disable_dropout_in_model

    for role, folder in warm.items():
        _check_warm(role, folder, stage.lora.r)
    add_fused_lm_head(start.network, outputs=("log_probs", "entropy"))
    network = add_adapters(
        start.network,
        start.adapter,
        warm=warm,
        keep_start=settings.kl_coef > 0,
        trained=trained_roles(settings),
        seed=stage.run.seed,
    )
    # Summaries are sampled without dropout: with it, their log-probabilities would be another model's.
    disable_dropout_in_model(network)
    return network


def _check_warm(role: str, folder: Path, expected: int) -> None:
    from peft import PeftConfig

    if not (folder / "adapter_config.json").is_file():
        raise UserError(
            f'the warm start of the {role} model, "{folder}", has no adapter',
            hint="name the folder of a stage that trained an adapter",
        )
    rank = PeftConfig.from_pretrained(str(folder)).r
    if rank != expected:
        raise UserError(
            f'the warm start of the {role} model, "{folder}", has rank {rank}, but lora.r is {expected}',
            hint=f"set lora.r={rank}, or repeat the warm start",
        )


def _reference(
    network: Any,
    start: Trainable,
    users: Sequence[TokenUser],
    visits: Sequence[Visit],
    tuned: Path | None,
    precision: Precision,
    stage: Stage,
) -> tuple[list[dict[int, tuple[float, float]]], str]:
    """Return log ref(y|x) of chosen and rejected answers by user and pair, and the reference's fingerprint.

    Covers the pairs of all visits. The reference is the base model, or the generator adapter in `tuned`.
    """
    used = sorted({(each.user, number) for each in visits for number in each.pairs})
    pairs = [users[user].pairs[number] for user, number in used]
    rows = [TokenRow(pair.query_ids, answer) for pair in pairs for answer in (pair.chosen, pair.rejected)]
    fingerprint = start.fingerprint
    if tuned is not None:
        fingerprint = hashlib.sha256(f"{fingerprint}\0{fingerprint_folder(tuned)}".encode()).hexdigest()
    reference = network.disable_adapter() if tuned is None else active_adapter(network, GENERATOR, trained=())
    with report_stage(stage.progress, f"{stage.name}: reference", len(rows)) as reporter, reference:
        logps = reference_logps(
            network,
            rows,
            fingerprint=fingerprint,
            precision=precision,
            pad_id=start.tokenizer.pad_token_id or 0,
            on_progress=lambda done, _: reporter.update(done),
        )
    found: list[dict[int, tuple[float, float]]] = [{} for _ in users]
    for (user, number), chosen, rejected in zip(used, logps[::2], logps[1::2], strict=True):
        found[user][number] = (chosen, rejected)
    return found, fingerprint


def _trainer(
    kind: type[Any],
    network: Any,
    data: Any,
    tokenizer: Any,
    trained: int,
    settings: JointSettings,
    precision: Precision,
    stage: Stage,
) -> Any:
    from transformers import TrainingArguments

    places = [{"place": place} for place in range(len(data.visits))]
    arguments = common_arguments(
        settings,
        precision,
        stage,
        steps=trained // train_batch_size(settings),
        evaluates=len(places) > trained,
    )
    arguments |= {
        "train_sampling_strategy": "sequential",  # the visits are already in order
        "remove_unused_columns": False,
        "max_grad_norm": 0.0,  # the trainer clips each model's gradients separately
    }
    with silenced_trl():
        return kind(
            network,
            data,
            settings,
            tokenizer,
            args=TrainingArguments(**arguments),
            train_dataset=places[:trained],
            eval_dataset=places[trained:] or None,
        )
