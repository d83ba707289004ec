"""POPI's joint stage: two LoRA adapters on one frozen base, trained under one preference objective.

Adapters even for a model as small as nano: the base below them is the reference without a second copy, and at
rank 32 on all its linear layers, 128 wide, an adapter has half as many weights as the layers themselves.
What surrounds the training step (`trainer`) is that of every stage (`training.fitting`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from personakit.errors import UserError
from personakit.models.environment import silence_libraries
from personakit.models.fingerprint import fingerprint_folder
from personakit.popi.adapters import GENERATOR, ROLES, Role, active, put_on
from personakit.popi.rows import (
    SummarisedUser,
    TokenUser,
    Visit,
    WithSummary,
    plan_visits,
    tokenized,
    users_fingerprint,
    visit,
)
from personakit.popi.settings import JointSettings, check_joint
from personakit.training.fitting import (
    Finetuned,
    StageMetrics,
    common_arguments,
    decide_and_record,
    fit,
    plan,
    quietly,
    stage_result,
)
from personakit.training.memory import sharding_of_launch
from personakit.training.precision import Precision
from personakit.training.progress import Progress, Silent, Staged
from personakit.training.reference import TokenRow, reference_logps
from personakit.training.run import Run
from personakit.training.settings import check_settings
from personakit.training.weights import Trainable, is_adapted, load_trainable

__all__ = ["JointSettings", "SummarisedUser", "WithSummary", "train_jointly"]

_RENAMED = {"loss": "loss", "learning_rate": "learning_rate"}


def train_jointly(
    model: str,
    users: Sequence[SummarisedUser],
    with_summary: WithSummary,
    settings: JointSettings,
    run: Run,
    stage: str,
    *,
    inference: Path | None = None,
    generator: Path | None = None,
    evaluation: Sequence[SummarisedUser] = (),
    progress: Progress | None = None,
    output: str = "model",
) -> Finetuned:
    """Train the inference model and the generator on `users`; leave both adapters in `run.folder/output`.

    `model` is the frozen base: a folder, a hub name or `nano`. `inference` and `generator` are adapters on it
    that earlier stages left (a warm start); without one an adapter begins as the base. The result has the
    folders `inference` and `generator`, each of which plain PEFT loads.
    Resumes, and passes over a stage that is done, as `supervised.finetune`. Rewards on `evaluation`, users
    who are not trained on, are logged now and then. Raises `UserError` for settings and users that cannot be
    trained on.
    """
    done = stage_result(run, stage)
    if done is not None:
        return done
    if not users:
        raise UserError(f'stage "{stage}" has no users', hint="check what was left out of the data, and why")
    check_settings(settings, evaluates=bool(evaluation))
    check_joint(settings)
    if sharding_of_launch() != "none":
        raise UserError(
            f"the launcher cuts the weights into pieces ({sharding_of_launch()}), between which two adapters "
            "cannot be switched",
            hint="launch with configs/accelerate/ddp.yaml",
        )
    silence_libraries()
    precision = decide_and_record(settings, run)
    start = load_trainable(model, settings, precision)
    if is_adapted(start.network):
        raise UserError(
            f'"{model}" is a LoRA adapter, expected the base that both adapters of POPI go onto',
            hint="name its base model, or merge the adapter into it first",
        )
    every = [*users, *evaluation]
    tokens = tokenized(
        start.tokenizer,
        every,
        with_summary,
        summary_tokens=settings.summary_tokens,
        max_length=settings.max_length,
    )
    visits = plan_visits(
        tokens[: len(users)],
        batch_size=settings.batch_size,
        pairs=settings.pairs,
        epochs=settings.epochs,
        max_steps=settings.max_steps,
        group_by_length=settings.group_by_length,
        seed=run.seed,
    )
    held_out = [
        visit(tokens, place, f"evaluation {place}", settings.pairs, run.seed)
        for place in range(len(users), len(every))
    ]
    judges = [judge for user in tokens for judge in user.pairs]
    bare = max(len(judge.bare) for judge in judges)
    work = plan(
        start,
        settings,
        precision,
        run,
        stage,
        rows=2 * settings.rows_at_a_time * settings.summaries * settings.pairs,
        prompt=max(bare + settings.summary_tokens, *(len(user.summary_prompt) for user in tokens)),
        answer=max(len(answer) for judge in judges for answer in (judge.chosen, judge.rejected)),
        sharing=2,  # at least chosen and rejected
        decoded_rows=settings.rows_at_a_time * settings.summaries,
    )
    warm: dict[Role, Path] = {
        role: folder for role, folder in zip(ROLES, (inference, generator), strict=True) if folder is not None
    }
    network = _adapted(start, warm, settings, run.seed)
    reference, fingerprint = _reference(
        network, start, tokens, [*visits, *held_out], settings, warm, precision, progress, stage
    )
    from personakit.popi.trainer import METRICS, JointData, JointTrainer  # imports transformers

    trainer = _trainer(
        JointTrainer,
        network,
        JointData(tokens, [*visits, *held_out], reference, with_summary),
        start.tokenizer,
        len(visits),
        settings,
        precision,
        run,
        stage,
    )
    names = _RENAMED | {name: name for name in METRICS}
    return fit(
        trainer,
        start.tokenizer,
        settings,
        run,
        stage,
        base=model,
        output=output,
        meter=StageMetrics(names.get, lambda step, state: int(state.num_input_tokens_seen)),
        work=work,
        examples=len(users),
        cut=0,
        facts={"examples_fingerprint": users_fingerprint(users), "reference": fingerprint},
        progress=progress,
        adapters=ROLES,
    )


def _adapted(start: Trainable, warm: dict[Role, Path], settings: JointSettings, seed: int) -> Any:
    from trl.trainer.utils import add_fused_lm_head

    for role, folder in warm.items():
        _check_warm(role, folder, settings)
    add_fused_lm_head(start.network, outputs=("log_probs", "entropy"))
    return put_on(
        start.network,
        start.adapter,
        warm=warm,
        keep_start=settings.kl > 0,
        trained=settings.trained,
        seed=seed,
    )


def _check_warm(role: str, folder: Path, settings: JointSettings) -> None:
    from peft import PeftConfig

    if not (folder / "adapter_config.json").is_file():
        raise UserError(
            f'the warm start of the {role} model, "{folder}", holds no adapter',
            hint="name the folder that a stage with lora_rank left",
        )
    rank = PeftConfig.from_pretrained(str(folder)).r
    if rank != settings.lora_rank:
        raise UserError(
            f'the warm start of the {role} model, "{folder}", has rank {rank}, and lora_rank is '
            f"{settings.lora_rank}",
            hint=f"set lora_rank to {rank}, or make the warm start again",
        )


def _reference(
    network: Any,
    start: Trainable,
    users: Sequence[TokenUser],
    visits: Sequence[Visit],
    settings: JointSettings,
    warm: dict[Role, Path],
    precision: Precision,
    progress: Progress | None,
    stage: str,
) -> tuple[list[dict[int, tuple[float, float]]], str]:
    """log ref(y|x) of the answers of every pair that is met, by user, and the reference's fingerprint."""
    met = sorted({(each.user, number) for each in visits for number in each.pairs})
    judges = [users[user].pairs[number] for user, number in met]
    rows = [TokenRow(judge.bare, answer) for judge in judges for answer in (judge.chosen, judge.rejected)]
    fingerprint = start.fingerprint
    tuned = warm.get("generator") if settings.reference == "generator" else None
    if tuned is not None:
        fingerprint = hashlib.sha256(f"{fingerprint}\0{fingerprint_folder(tuned)}".encode()).hexdigest()
    turned_on = network.disable_adapter() if tuned is None else active(network, GENERATOR, trained=())
    with Staged(progress or Silent(), f"{stage}: reference", len(rows)) as reporter, turned_on:
        logps = reference_logps(
            network,
            rows,
            fingerprint=fingerprint,
            precision=precision,
            pad_id=start.tokenizer.pad_token_id or 0,
            on_progress=lambda made, _: reporter.update(made),
        )
    found: list[dict[int, tuple[float, float]]] = [{} for _ in users]
    for (user, number), better, worse in zip(met, logps[::2], logps[1::2], strict=True):
        found[user][number] = (better, worse)
    return found, fingerprint


def _trainer(
    kind: type[Any],
    network: Any,
    data: Any,
    tokenizer: Any,
    trained: int,
    settings: JointSettings,
    precision: Precision,
    run: Run,
    stage: str,
) -> Any:
    from transformers import TrainingArguments

    places = [{"place": place} for place in range(len(data.visits))]
    arguments = common_arguments(
        settings,
        precision,
        run,
        stage,
        steps=trained // settings.batch_size,
        evaluates=len(places) > trained,
    )
    arguments |= {
        "train_sampling_strategy": "sequential",  # the order is ours
        "remove_unused_columns": False,
        "max_grad_norm": 0.0,  # each model's gradients are clipped by themselves
    }
    with quietly():
        return kind(
            network,
            data,
            settings,
            tokenizer,
            args=TrainingArguments(**arguments),
            train_dataset=places[:trained],
            eval_dataset=places[trained:] or None,
        )
