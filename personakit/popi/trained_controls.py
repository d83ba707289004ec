"""Trained controls of POPI, with the same users, pairs and number of tokens.

`controls/population_dpo` is one adapter for all users, the usual alignment: POPI's generator without
summaries, in the warm start and the joint stage. `controls/frozen_generator` is POPI with the untrained base
model as generator, so that only the inference model learns; it has the same folders as POPI's `model/`.
`controls/oracle_generator` is an upper bound: a generator trained with the users' true personas
(`PreferenceUser.persona`), which no method sees.
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
    """Train a generator by DPO with fixed summaries, for as many tokens as the joint stage.

    `stage.max_tokens` limits the tokens. Users without a summary get the query alone; with no summaries at
    all, this trains one model for all users. Steps have as many pairs as in the joint stage, with the
    generator's learning rate. The reference is the initial model.
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
