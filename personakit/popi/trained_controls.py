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

from personakit.config.train_popi import JointSettings
from personakit.config.training import PreferenceSettings, shared_settings, without_early_stopping
from personakit.popi.rows import SummarisedUser, WithSummary
from personakit.training.fitting import StageResult
from personakit.training.preference import TrainingPair, train_dpo
from personakit.training.stage import Stage

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
    with_summary: WithSummary,
    joint: JointSettings,
    stage: Stage,
    *,
    summaries: Mapping[str, str],
) -> StageResult:
    """Train a generator by DPO with fixed summaries, for as many tokens as `stage` says: the joint stage's.

    A user without a summary is asked the request alone: with none at all it is one model for everybody.

    A step has as many pairs as one of that stage's, at the generator's learning rate; the reference is what
    it began with.
    """
    settings = PreferenceSettings(
        **shared_settings(without_early_stopping(joint))
        | {
            "learning_rate": joint.generator_learning_rate,
            "max_steps": None,
            "per_device_train_batch_size": joint.per_device_train_batch_size * joint.num_pairs,
            "beta": joint.beta,
        }
    )
    pairs = [
        TrainingPair(with_summary(pair.prompt, summaries.get(user.user_id, "")), pair.chosen, pair.rejected)
        for user in users
        for pair in user.pairs
    ]
    return train_dpo(start, pairs, settings, stage)
