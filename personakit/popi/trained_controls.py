"""Trained controls of POPI, with the same users, pairs and number of tokens.

`controls/population_dpo` is one adapter for all users, the usual alignment: POPI's generator without
summaries, in the warm start and the joint stage. `controls/raw_dpo` is the same with the raw signals in the
prompt: what summaries replace. `controls/frozen_generator` is POPI with the untrained base
model as generator, so that only the inference model learns; it has the same folders as POPI's `model/`.
`controls/oracle_generator` is an upper bound: a generator trained with the users' true personas
(`PreferenceUser.persona`), which no method sees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from personakit.config.train_popi import JointSettings
from personakit.config.training import PreferenceSettings, as_control, shared_settings
from personakit.popi.rows import SummarisedUser
from personakit.training.fitting import StageResult
from personakit.training.preference import TrainingPair, train_dpo
from personakit.training.stage import Stage

POPULATION = "population-dpo"
WARM_POPULATION = "warm-population"
POPULATION_FOLDER = Path("controls") / "population_dpo"
RAW = "raw-dpo"
WARM_RAW = "warm-raw"
RAW_FOLDER = Path("controls") / "raw_dpo"
ORACLE = "oracle-generator"
ORACLE_FOLDER = Path("controls") / "oracle_generator"
FROZEN = "frozen-generator"
FROZEN_FOLDER = Path("controls") / "frozen_generator"

ControlPrompt = Callable[[SummarisedUser, TrainingPair], str]
"""Returns a control's prompt for a pair of a user."""


def optimise_generator(
    start: str,
    prompt: ControlPrompt,
    users: Sequence[SummarisedUser],
    joint: JointSettings,
    stage: Stage,
    *,
    evaluation: Sequence[SummarisedUser] = (),
) -> StageResult:
    """Train a generator by DPO on the pairs with these prompts, for as many tokens as the joint stage.

    `stage.max_tokens` limits the tokens. Steps have as many pairs as in the joint stage, with the generator's
    learning rate. The reference is the initial model. Where the joint stage keeps its best weights on the
    held-out users `evaluation`, so does this, by its own loss on their pairs.
    """
    settings = PreferenceSettings(
        **shared_settings(as_control(joint))
        | {
            "learning_rate": joint.generator_learning_rate,
            "max_steps": None,
            "per_device_train_batch_size": joint.per_device_train_batch_size * joint.num_pairs,
            "beta": joint.beta,
        }
    )
    trained, held_out = (
        [TrainingPair(prompt(user, pair), pair.chosen, pair.rejected) for user in some for pair in user.pairs]
        for some in (users, evaluation)
    )
    return train_dpo(start, trained, settings, stage, evaluation=held_out)
