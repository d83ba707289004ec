"""Opens a finished run: its tuned model, what it picks from, and everything that could pick for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from personakit.config import TrainPILLOW
from personakit.contracts import Selector
from personakit.models.local import LocalModel
from personakit.models.open import resolve_model
from personakit.pillow.controls import BestOf, Greedy, MarginalRelevance, Nearest, RandomPicks
from personakit.pillow.encoding import KnownEncoder, open_text_encoder
from personakit.pillow.matcher import Matcher, load_matcher
from personakit.pillow.network import MatchingNetwork
from personakit.pillow.pool import load_pool
from personakit.pillow.rewards import TextReward
from personakit.pillow.train import FULL_FOLDER, MATCHER_FOLDER, reward_weights
from personakit.pillow.wording import PromptWording
from personakit.records import Pool

#: Folders of the two models in a run.
TUNED, FULL = "model", FULL_FOLDER


@dataclass(frozen=True)
class PillowRun:
    """A run's folder, settings and seed, and what they lead to."""

    folder: Path
    settings: TrainPILLOW
    seed: int

    def model_folder(self, which: str = TUNED) -> str | None:
        """Return where the tuned model is, or with `FULL` the fully tuned one; None where none was trained.

        Without a tuning stage it is the model that the settings name.
        """
        if which == TUNED and not self.settings.tuning.enabled:
            return resolve_model(self.settings.model)
        place = self.folder / which
        return str(place) if place.is_dir() else None

    @cached_property
    def pool(self) -> Pool | None:
        """The run's pool; None where each user has their own."""
        fingerprint = load_matcher(self.folder / MATCHER_FOLDER)[1].pool
        return None if fingerprint is None else load_pool(self.folder, fingerprint)

    @property
    def m(self) -> int:
        """How many prompts the network was trained to pick."""
        return self.settings.matcher.m

    def encoder(self, model: LocalModel) -> KnownEncoder:
        """Return the encoder whose vectors the network knows, `model` being the tuned one."""
        return open_text_encoder(self.settings.matcher.encoder, model)

    def matcher(self, model: LocalModel) -> Matcher:
        """Return the trained network."""
        network, facts = load_matcher(self.folder / MATCHER_FOLDER)
        return Matcher(network, self.encoder(model), facts)

    def network(self, model: LocalModel) -> tuple[MatchingNetwork, KnownEncoder]:
        """Return the trained network, and the encoder whose vectors it knows; `UserError` if that changed."""
        network, facts = load_matcher(self.folder / MATCHER_FOLDER)
        encoder = self.encoder(model)
        Matcher(network, encoder, facts)  # which checks the encoder
        return network, encoder

    def reward(self, model: LocalModel, wording: PromptWording) -> TextReward:
        """Return what selections earned in training, under the same keys on disk."""
        reward = self.settings.rl.reward
        return TextReward(
            model,
            wording,
            reward_weights(reward),
            max_new_tokens=reward.max_new_tokens,
            encoder=self.encoder(model),
        )


SELECTORS: dict[str, Callable[[PillowRun, LocalModel, PromptWording], Selector]] = {
    "random": lambda run, model, wording: RandomPicks(run.seed),
    "cosine": lambda run, model, wording: Nearest(run.encoder(model)),
    "mmr": lambda run, model, wording: MarginalRelevance(run.encoder(model)),
    "pillow": lambda run, model, wording: run.matcher(model),
    "best-of": lambda run, model, wording: BestOf(run.reward(model, wording), seed=run.seed),
    "greedy": lambda run, model, wording: Greedy(run.reward(model, wording)),
}
"""What picks prompts, by name. The last two are told the reference answer."""
