"""Opens the parts of a finished run: its tuned model, pool, network and selectors."""

from __future__ import annotations

from collections.abc import Callable

from personakit.contracts import Selector
from personakit.method import FinishedRun
from personakit.models.local import LocalModel
from personakit.models.open import resolve_model
from personakit.pillow.controls import (
    BestOfSelector,
    GreedySelector,
    MMRSelector,
    NearestSelector,
    RandomSelector,
)
from personakit.pillow.encoding import FingerprintedEncoder, open_text_encoder
from personakit.pillow.matcher import Matcher, load_matcher
from personakit.pillow.network import MatchingNetwork
from personakit.pillow.pool import load_pool
from personakit.pillow.rewards import TextReward
from personakit.pillow.train import FULL_FOLDER, MATCHER_FOLDER, reward_weights
from personakit.pillow.wording import PromptWording
from personakit.records import Pool

#: Folders of the two models in a run.
TUNED, FULL = "model", FULL_FOLDER


def model_folder(run: FinishedRun, which: str = TUNED) -> str | None:
    """Return the folder of the LoRA-tuned model, or with `FULL` of the fully fine-tuned one; None if missing.

    Without a fine-tuning stage it is the configured model.
    """
    if which == TUNED and not run.settings.tuning.enabled:
        return resolve_model(run.settings.model)
    folder = run.path(which)
    return None if folder is None else str(folder)


def pool_of(run: FinishedRun) -> Pool | None:
    """Return the run's pool; None if each user has their own."""
    fingerprint = load_matcher(run.folder / MATCHER_FOLDER)[1].pool
    return None if fingerprint is None else load_pool(run.folder, fingerprint)


def load_encoder(run: FinishedRun, model: LocalModel) -> FingerprintedEncoder:
    """Return the network's encoder; `model` is the run's tuned model."""
    return open_text_encoder(run.settings.matcher.encoder, model)


def load_selector(run: FinishedRun, model: LocalModel) -> Matcher:
    """Return the trained network as a selector; raises `UserError` if the encoder has changed."""
    network, facts = load_matcher(run.folder / MATCHER_FOLDER)
    return Matcher(network, load_encoder(run, model), facts)


def load_network(run: FinishedRun, model: LocalModel) -> tuple[MatchingNetwork, FingerprintedEncoder]:
    """Return the trained network and its encoder; raises `UserError` if the encoder has changed."""
    network, facts = load_matcher(run.folder / MATCHER_FOLDER)
    encoder = load_encoder(run, model)
    Matcher(network, encoder, facts)  # checks the encoder
    return network, encoder


def load_reward(run: FinishedRun, model: LocalModel, wording: PromptWording) -> TextReward:
    """Return the training reward, with the same cache keys."""
    reward = run.settings.rl.reward
    return TextReward(
        model,
        wording,
        reward_weights(reward),
        max_new_tokens=reward.max_new_tokens,
        encoder=load_encoder(run, model),
    )


SELECTORS: dict[str, Callable[[FinishedRun, LocalModel, PromptWording], Selector]] = {
    "random": lambda run, model, wording: RandomSelector(run.seed),
    "cosine": lambda run, model, wording: NearestSelector(load_encoder(run, model)),
    "mmr": lambda run, model, wording: MMRSelector(load_encoder(run, model)),
    "pillow": lambda run, model, wording: load_selector(run, model),
    "best-of": lambda run, model, wording: BestOfSelector(load_reward(run, model, wording), seed=run.seed),
    "greedy": lambda run, model, wording: GreedySelector(load_reward(run, model, wording)),
}
"""Selectors by name. The last two use the reference answer: they are oracles."""
