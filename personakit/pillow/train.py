"""`personakit train pillow`: LoRA fine-tuning, full fine-tuning, and the matching network by RL.

A resumed run skips completed stages. The adapter is in `model/`, the fully fine-tuned model in
`controls/full_fine_tuning/`, the network in `matcher/`, and the pool in `pool.jsonl`. Rewards are cached.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from personakit.config import TrainPILLOW
from personakit.config.train_pillow import RewardSettings
from personakit.config.training import no_lora, without_early_stopping
from personakit.errors import UserError
from personakit.models.cost import token_counter
from personakit.models.local import LocalModel
from personakit.models.open import require_weights, resolve_model
from personakit.pillow.data import PillowData, open_data, tuning_examples
from personakit.pillow.encoding import open_text_encoder, parse_layers
from personakit.pillow.matcher import MatcherFacts, save_matcher
from personakit.pillow.network import MatcherShape, MatchingNetwork
from personakit.pillow.pool import FILE, save_pool
from personakit.pillow.reinforce import evaluate, reinforce
from personakit.pillow.rewards import TextReward
from personakit.training.compute import record_compute
from personakit.training.disk import disk_errors
from personakit.training.four_bit import require_four_bit
from personakit.training.processes import from_main_process, local_main_process_first, wait_for_everyone
from personakit.training.progress import Progress
from personakit.training.run import Run
from personakit.training.stage import Stage, check_lora, check_report_to, check_stopping
from personakit.training.supervised import StageResult, finetune
from personakit.training.training_digests import record_trained_on
from personakit.training.weights import remove_checkpoints

LORA = "lora"
FULL = "full-fine-tuning"
FULL_FOLDER = str(Path("controls") / "full_fine_tuning")
MATCHING = "matching"
MATCHER_FOLDER = "matcher"


def train_pillow(config: TrainPILLOW, run: Run, progress: Progress) -> Path:
    """Train into `run`; return the folder of the matching network.

    Raises `UserError` for conflicting settings, for data with nothing to train on, and for data or a pool
    that changed since a resumed run was started.
    """
    check_plan(config)
    with local_main_process_first():  # may generate the data
        data = open_data(config)
    _record_data(data, config, run)
    folder = run.folder / MATCHER_FOLDER
    tuned = _tune(config, data, run, progress)
    if run.stage_done(MATCHING) is not None:
        return folder
    model = LocalModel.load(str(tuned.model) if tuned else resolve_model(config.model), truncate=True)
    encoder = open_text_encoder(config.matcher.encoder, model)
    wording = data.wording(config, model.count_tokens)
    learnt = len(data.matching) - config.data.held_out
    with local_main_process_first():  # encodes and caches the vectors
        episodes = data.episodes(encoder, slice(0, learnt))
        held_out = data.episodes(encoder, slice(learnt, None)) if config.data.held_out else None
    shape = _shape(config, episodes.vectors.shape[1])
    network = MatchingNetwork(shape, seed=run.seed)
    network.set_centre(torch.from_numpy(episodes.vectors))
    reward = TextReward(
        model,
        wording,
        reward_weights(config.rl.reward),
        max_new_tokens=config.rl.reward.max_new_tokens,
        prompt_cost=config.rl.prompt_cost,
        encoder=encoder,
    )
    with record_compute(run, MATCHING) as cost:
        facts = reinforce(network, episodes, reward, config.rl, run, MATCHING, progress, held_out)
        trained = sum(weight.numel() for weight in network.parameters())
        # As in the other stages: float32 gradients and AdamW's two moments.
        cost |= {"trained": trained, "gradient_bytes": 4 * trained, "optimizer_bytes": 8 * trained}
        cost |= {"rewards": reward.misses, "rewards_kept": reward.hits, "tokens": reward.tokens}
        # Forward passes only. Shared prefixes are counted for each reward, cached rewards not at all.
        weights = sum(weight.numel() for weight in model.model.parameters())
        cost["flops"] = 2 * weights * reward.tokens
    if held_out is not None:
        facts["eval_reward"], facts["eval_coverage"] = evaluate(network, held_out, reward)
    if run.writes and not folder.is_dir():
        pool = None if data.pool is None else data.pool.fingerprint
        with disk_errors("the matching network"):
            save_matcher(
                network, MatcherFacts(config.matcher.encoder, encoder.fingerprint, pool, shape), folder
            )
    wait_for_everyone()
    run.mark_stage(MATCHING, facts | {"instructions": learnt, "prompts": len(episodes.prompts)})
    remove_checkpoints(run, MATCHING)
    return folder


def check_plan(config: TrainPILLOW) -> None:
    """Raise `UserError` for conflicting settings. Loads no model."""
    require_weights(config.model)
    if config.lora.load_in_4bit:
        require_four_bit()
    if config.tuning.enabled:
        check_lora(config.lora)
        check_stopping(config.tuning, LORA, evaluates=False)
    check_report_to(config.rl.report_to, MATCHING)
    parse_layers(config.matcher.encoder)
    if not any(reward_weights(config.rl.reward).values()):
        raise UserError(
            "every weight of rl.reward is 0, expected one above 0", hint="set rl.reward.likelihood=1"
        )
    if config.controls.full_fine_tuning and not config.tuning.enabled:
        raise UserError(
            "controls.full_fine_tuning is true and tuning.enabled is false: it is compared with LoRA",
            hint="set controls.full_fine_tuning=false, or tuning.enabled=true",
        )


def _tune(config: TrainPILLOW, data: PillowData, run: Run, progress: Progress) -> StageResult | None:
    """Fine-tune with LoRA, and as a control all weights with the same examples and steps.

    Returns None without a fine-tuning stage.
    """
    if not config.tuning.enabled:
        return None
    wording = data.wording(config, token_counter(config.model))
    examples = tuning_examples(data, wording, config)
    stage = Stage(
        run,
        LORA,
        progress=progress,
        lora=config.lora,
        max_length=config.tuning.max_length,
        too_long="cut",
    )
    with record_compute(run, LORA):
        tuned = finetune(config.model, examples, config.tuning, stage)
    if config.controls.full_fine_tuning:
        settings = replace(config.tuning, learning_rate=config.controls.full_learning_rate)
        if settings.metric_for_best_model is not None:  # as many steps as the adapter
            settings = replace(without_early_stopping(settings), max_steps=tuned.steps)
        full = replace(stage, name=FULL, output=FULL_FOLDER, lora=no_lora())
        with record_compute(run, FULL):
            finetune(config.model, examples, settings, full)
    return tuned


def _record_data(data: PillowData, config: TrainPILLOW, run: Run) -> None:
    """Record the data in run.json and save the pool; raise `UserError` if a resumed run's have changed."""
    pool = data.pool and data.pool.fingerprint
    if "pool_fingerprint" in run.facts and run.facts["pool_fingerprint"] != pool:
        raise UserError(
            f"the pool {config.data.pool} has changed since {run.folder} was started",
            hint="restore the pool, or start a new run",
        )
    if run.facts.get("data_fingerprint", data.fingerprint) != data.fingerprint:
        raise UserError(
            f"{config.data.path} has changed since {run.folder} was started",
            hint="restore the data, or start a new run",
        )
    record_trained_on(run, data.seen)
    run.record(data_fingerprint=data.fingerprint, pool_fingerprint=pool, instructions=data.counts())
    if data.pool is not None:
        kept = data.pool

        def save() -> None:
            if not (run.folder / FILE).is_file():
                save_pool(kept, run.folder)

        from_main_process(save)


def _shape(config: TrainPILLOW, width: int) -> MatcherShape:
    matcher = config.matcher
    return MatcherShape(
        width=width, m=matcher.m, size=matcher.embedding_size, hidden=matcher.hidden_size, stop=matcher.stop
    )


def reward_weights(reward: RewardSettings) -> dict[str, float]:
    """Return the weights of `TextReward` by the rewards' names."""
    return {
        "likelihood": reward.likelihood,
        "rouge-L": reward.rouge_l,
        "exact": reward.exact,
        "cosine": reward.cosine,
    }
