"""`personakit train rpo`: generic answers, trajectories, supervised fine-tuning, and the control.

Each stage leaves what it made in the run and is passed over when the run is resumed: the answers in
the answer cache (kept by content, so a stopped job asks only for the rest), the trained weights in
`model/` and `controls/`. Trajectories are written again on resume: they follow from the answers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from personakit.config import TrainRPO
from personakit.contracts import ContextProvider
from personakit.data import available, open_examples
from personakit.data.store import ExampleStore
from personakit.errors import UserError
from personakit.models.cache import CachedModel
from personakit.models.open import open_language_model
from personakit.retrieval import open_retriever
from personakit.rpo.dataset import (
    Drafted,
    TrainingText,
    context_injection_texts,
    draft_all,
    trajectories,
)
from personakit.rpo.filters import TrajectoryFilter
from personakit.rpo.writer import TemplateWriter
from personakit.tasks import get_task
from personakit.training.progress import Progress, Staged
from personakit.training.run import Run
from personakit.training.supervised import Finetuned, PromptCompletion, SupervisedSettings, finetune

REWRITER = "sft"
CONTROL = "context-injection"
CONTROL_FOLDER = str(Path("controls") / "context_injection")


def train_rpo(config: TrainRPO, run: Run, progress: Progress) -> Finetuned:
    """Train a rewriter (and, where wanted, fine-tuned context injection) into `run`.

    Raises `UserError` where the data has nothing to train on.
    """
    stores = training_stores(config)
    fingerprint = _fingerprint(stores)
    if run.facts.get("data_fingerprint", fingerprint) != fingerprint:
        raise UserError(
            f"{config.data.path} is not the data that {run.folder} began with",
            hint="put it back as it was, or start a new run",
        )
    run.record(data_fingerprint=fingerprint)
    provider = open_retriever(config.retrieval.name, config.retrieval.k)
    drafted = _draft(config, stores, provider, progress)
    rewriter = open_language_model(config.model)
    texts, counts = trajectories(
        drafted,
        TemplateWriter(),
        TrajectoryFilter(
            rewriter.count_tokens, config.trajectories.max_tokens, config.trajectories.minimum_reward
        ),
        count_tokens=rewriter.count_tokens,
        max_length=config.prompt_tokens,
        no_history_share=config.trajectories.no_history_share,
        seed=config.seed,
    )
    without_history = sum(each.context.empty for each in drafted)
    run.record(trajectories=counts.summary() | {"users without history": without_history})
    if not texts:
        raise UserError(
            f"no trajectory of {len(drafted)} was kept ({counts.summary()})",
            hint="raise trajectories.max_tokens, or look at the data with personakit data check",
        )
    tuned = finetune(config.model, _examples(texts), _settings(config), run, REWRITER, progress=progress)
    if config.controls.fine_tuned_context_injection:
        control = context_injection_texts(
            drafted, count_tokens=rewriter.count_tokens, max_length=config.controls.context_tokens
        )
        # The same users, items and number of training tokens, so that the two can be compared.
        settings = _settings(config, max_tokens=tuned.tokens)
        finetune(
            config.model, _examples(control), settings, run, CONTROL, progress=progress, output=CONTROL_FOLDER
        )
    return tuned


def training_stores(config: TrainRPO) -> list[ExampleStore]:
    """Open the training split of every task the configuration names (by default all there are)."""
    tasks = config.data.tasks or [task for task, split in available(config.data.path) if split == "train"]
    if not tasks:
        raise UserError(
            f"{config.data.path} has no training split", hint="see what it has with personakit data check"
        )
    stores = [open_examples(config.data.path, task, "train") for task in tasks]
    limit = config.data.limit
    return [store if limit is None else store.subset(limit) for store in stores]


def _draft(
    config: TrainRPO, stores: Sequence[ExampleStore], provider: ContextProvider, progress: Progress
) -> list[Drafted]:
    """The base's generic answers, each asked for once ever, and the items the rewriter will see."""
    total = sum(len(store) for store in stores)
    drafted: list[Drafted] = []
    with Staged(progress, "generic answers", total) as reporter:
        base = CachedModel(
            open_language_model(config.base, truncate=True),
            on_progress=lambda done, of: reporter.update(len(drafted) + done),
        )
        for store in stores:
            task = get_task(store.task)
            cap = config.decoding.max_new_tokens or task.max_new_tokens
            drafted += draft_all(task, list(store), base, provider, max_new_tokens=cap)
    if not drafted:
        raise UserError(
            "no training query has a gold answer", hint="put the train_outputs.json beside the questions"
        )
    return drafted


def _settings(config: TrainRPO, max_tokens: int | None = None) -> SupervisedSettings:
    sft, lora = config.sft, config.lora
    return SupervisedSettings(
        learning_rate=sft.learning_rate,
        lr_schedule=sft.schedule,
        warmup_ratio=sft.warmup_share,
        epochs=sft.epochs,
        max_steps=None if max_tokens else sft.steps,
        max_tokens=max_tokens,
        batch_size=sft.batch_size * sft.accumulation,
        micro_batch_size=sft.batch_size,
        lora_rank=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        lora_targets=lora.targets,
        weight_decay=sft.weight_decay,
        max_length=sft.max_length,
        too_long="cut",
        checkpoint_every=sft.checkpoint_every,
        gradient_checkpointing=sft.gradient_checkpointing,
    )


def _examples(texts: Sequence[TrainingText]) -> list[PromptCompletion]:
    return [PromptCompletion(text.prompt, text.completion) for text in texts]


def _fingerprint(stores: Sequence[ExampleStore]) -> str:
    return hashlib.sha256("\n".join(store.fingerprint for store in stores).encode()).hexdigest()
