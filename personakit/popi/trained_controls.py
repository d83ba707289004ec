"""What POPI is set against, trained beside it: the same users, pairs and tokens.

`controls/population_dpo` is one adapter for all users, which is what alignment does today: POPI's generator
without a summary, before its joint stage and in it. `controls/frozen_generator` is POPI with a generator
that stays the base as it came, so that the inference model alone learns; it holds both folders that POPI's
own `model/` holds. `controls/oracle_generator` is the upper bound: a generator that learns from what the data
says in words of each user (`PreferenceUser.persona`), which no method is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from personakit.popi.joint import JointSettings, SummarisedUser, WithSummary
from personakit.training.fitting import Finetuned
from personakit.training.preference import PreferenceSettings, TrainingPair, optimise
from personakit.training.progress import Progress
from personakit.training.run import Run

POPULATION = "population-dpo"
WARM_POPULATION = "warm-population"
POPULATION_FOLDER = Path("controls") / "population_dpo"
ORACLE = "oracle-generator"
ORACLE_FOLDER = Path("controls") / "oracle_generator"
FROZEN = "frozen-generator"
FROZEN_FOLDER = Path("controls") / "frozen_generator"


def optimise_generator(
    start: str,
    users: Sequence[SummarisedUser],
    summaries: Mapping[str, str],
    with_summary: WithSummary,
    joint: JointSettings,
    tokens: int,
    run: Run,
    stage: str,
    output: Path,
    progress: Progress,
) -> Finetuned:
    """Train a generator by DPO with fixed summaries, for as many tokens as POPI's joint stage saw.

    A user without a summary is asked the request alone: with none at all it is one model for everybody.

    A step has as many pairs as one of that stage's, at the generator's learning rate; the reference is what
    it began with.
    """
    settings = PreferenceSettings(
        learning_rate=joint.generator_learning_rate,
        lr_schedule=joint.lr_schedule,
        warmup_ratio=joint.warmup_ratio,
        weight_decay=joint.weight_decay,
        max_tokens=tokens,
        batch_size=joint.batch_size * joint.pairs,
        micro_batch_size=joint.rows_at_a_time * joint.pairs,
        max_length=joint.max_length,
        too_long="cut",
        beta=joint.beta,
        lora_rank=joint.lora_rank,
        lora_alpha=joint.lora_alpha,
        lora_dropout=joint.lora_dropout,
        lora_targets=joint.lora_targets,
        four_bit=joint.four_bit,
        gradient_checkpointing=joint.gradient_checkpointing,
        shared_prefix=joint.shared_prefix,
        checkpoint_every=joint.checkpoint_every,
    )
    pairs = [
        TrainingPair(with_summary(pair.prompt, summaries.get(user.user_id, "")), pair.chosen, pair.rejected)
        for user in users
        for pair in user.pairs
    ]
    return optimise(start, pairs, settings, run, stage, progress=progress, output=str(output))
