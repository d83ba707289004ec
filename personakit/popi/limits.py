"""The length limits of POPI's prompts, which are the same in training and evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from personakit.config.train_popi import TrainPOPI
from personakit.records import PreferencePair
from personakit.tasks.signals import SignalWording, prompt_with_summary
from personakit.training.preference import TrainingPair


@dataclass(frozen=True, slots=True)
class Limits:
    """Maximum lengths in tokens; `added` is what chat template and special tokens add to a prompt."""

    total: int
    """Of prompt and answer together: `max_length`, or the context window where that is shorter."""
    signals: int
    """Of the inference model's prompt without what is added: a summary must fit after it."""
    summary: int
    added: int

    def fits(
        self, pair: PreferencePair | TrainingPair, wording: SignalWording, count: Callable[[str], int]
    ) -> bool:
        """Return whether both answers of a pair fit after a summary of any length and the query."""
        return self.room(pair, wording, count) >= self.summary

    def room(
        self, pair: PreferencePair | TrainingPair, wording: SignalWording, count: Callable[[str], int]
    ) -> int:
        """Return the tokens that are left for a context before the pair's query."""
        query = count(prompt_with_summary(pair.prompt, "a", wording=wording))
        longest = max(count(pair.chosen), count(pair.rejected))
        return self.total - self.added - query - longest


def limits_of(settings: TrainPOPI, *, added: int, window: int | None) -> Limits:
    """Return the limits of a run whose base model has this context window (None: unknown)."""
    total = settings.max_length if window is None else min(settings.max_length, window)
    summary = settings.joint.max_summary_tokens
    return Limits(total, min(settings.data.signal_tokens, total - summary - added), summary, added)
