"""A finished run of POPI: its Personalizer, its summariser, and its rows of `eval preference`.

A run has `model/inference`, `model/generator` and the trained controls: all are adapters on one base model,
which is loaded once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from personakit.config.train_popi import TrainPOPI
from personakit.contracts import LanguageModel, Personalizer
from personakit.data.folders import data_folder
from personakit.data.lamp_mini.facts import is_lamp_mini
from personakit.errors import UserError
from personakit.method import FinishedRun
from personakit.models.cache import CachedModel
from personakit.models.cost import added_tokens
from personakit.popi.adapters import BASE
from personakit.popi.answering import ANSWER_TOKENS, PromptPersonalizer
from personakit.popi.controls import Order, RawSignals, Unpersonalised
from personakit.popi.inferring import GivenSummaries, Summariser, SummarySource
from personakit.popi.limits import limits_of
from personakit.popi.models import AdaptedModel, CachedReference, open_adapters
from personakit.popi.per_user_adapters import PerUserAdapters, WithoutAdapter
from personakit.popi.per_user_lora import PerUserLora
from personakit.popi.personalizer import SummaryPersonalizer
from personakit.tasks.signals import SignalWording, prompt_with_summary, signal_wording

INFERENCE, GENERATOR, WARM = "inference", "generator", "warm generator"
POPULATION, RAW = "population DPO", "DPO on raw signals"
FROZEN_INFERENCE, FROZEN_GENERATOR = "inference, frozen generator", "frozen generator"
ORACLE_GENERATOR = "generator, personas"

ADAPTER_FOLDERS = {
    INFERENCE: Path("model") / "inference",
    GENERATOR: Path("model") / "generator",
    WARM: Path("warm") / "generator",
    POPULATION: Path("controls") / "population_dpo",
    RAW: Path("controls") / "raw_dpo",
    FROZEN_INFERENCE: Path("controls") / "frozen_generator" / "inference",
    FROZEN_GENERATOR: Path("controls") / "frozen_generator" / "generator",
    ORACLE_GENERATOR: Path("controls") / "oracle_generator",
}
"""Adapter folders in a run, by name. Only the first two always exist."""


@dataclass(frozen=True)
class ScoredRow:
    """A row of `eval preference`: the scored model and its two references.

    `start` is the model before training, or `policy` itself if nothing was trained.
    """

    policy: PromptPersonalizer | PerUserAdapters
    reference: Personalizer
    start: Personalizer
    beta: float


def adapters_of(folder: Path) -> dict[str, Path]:
    """Return the folders of a run's existing adapters, by name."""
    paths = {name: folder / path for name, path in ADAPTER_FOLDERS.items()}
    return {name: path for name, path in paths.items() if (path / "adapter_config.json").is_file()}


def answering_adapters(folder: Path) -> dict[str, Path]:
    """Return the folders of `INFERENCE` and `GENERATOR`; raises `UserError` if one is missing."""
    adapters = adapters_of(folder)
    for name in (INFERENCE, GENERATOR):
        if name not in adapters:
            raise UserError(
                f"{folder / ADAPTER_FOLDERS[name]}: the adapter is missing",
                hint="train again, or continue the run with --resume",
            )
    return {name: adapters[name] for name in (INFERENCE, GENERATOR)}


@dataclass(frozen=True)
class LoadedPOPI:
    """A run of POPI with its base model and adapters in memory."""

    run: FinishedRun
    models: Mapping[str, AdaptedModel]

    @classmethod
    def load(cls, run: FinishedRun) -> LoadedPOPI:
        """Load the run's base model with all its adapters; raises `UserError` if one is missing."""
        answering_adapters(run.folder)
        return cls(run, open_adapters(run.settings.model, adapters_of(run.folder)))

    @property
    def settings(self) -> TrainPOPI:
        """The run's training settings."""
        settings: TrainPOPI = self.run.settings
        return settings

    @cached_property
    def wording(self) -> SignalWording:
        """The wording of signals and queries in training, which depends on the data (see run.json)."""
        facts = self.run.facts
        if "preference_task" in facts:
            return signal_wording(facts["preference_task"])
        return signal_wording("LaMP_7" if is_lamp_mini(data_folder(self.settings.data.path)) else None)

    def summariser(self, model: str = INFERENCE, *, cached: bool = True) -> Summariser:
        """Return the summariser, behind the answer cache if `cached`; `BASE`: the untrained base model."""
        base, own = self.models[BASE], self.models[model]
        limits = limits_of(self.settings, added=added_tokens(base.tokenizer), window=base.context_window)
        return Summariser(CachedModel(own) if cached else own, self.wording, limits.signals, limits.summary)

    def personalizer(
        self, generator: LanguageModel | None = None, summaries: SummarySource | None = None
    ) -> SummaryPersonalizer:
        """Return the run's Personalizer, optionally with another generator or other summaries."""
        return SummaryPersonalizer(
            generator or self.models[GENERATOR],
            summaries or self.summariser(),
            self.wording,
            **self._limits,
        )

    def row(self, name: str, personas: Mapping[str, str]) -> ScoredRow:
        """Return a row of `eval preference` by its name (`ROWS`)."""
        base = self.models[BASE]
        if name == "base":
            return self._frozen_row(self._without_summary(base), base)
        if name == "population":
            return self._trained_row(
                self._without_summary(self.models[POPULATION]), self._without_summary(self._reference)
            )
        if name == "lora-per-user":
            own = self._per_user
            return ScoredRow(own, WithoutAdapter(own.adapters), own, self._beta)
        if name == "history-dpo":
            budget = self.settings.data.signal_tokens
            trained = self._raw_signals(self.models[RAW], budget)
            return self._trained_row(trained, self._raw_signals(self._reference, budget))
        if name == "history":
            return self._frozen_row(self._raw_signals(base, self.settings.data.signal_tokens), base)
        if name in ("history-recent", "history-bm25"):
            order: Order = "bm25" if name == "history-bm25" else "recent"
            return self._frozen_row(self._raw_signals(base, self._budget_of_a_summary, order), base)
        if name == "prompted":
            return self._frozen_row(self.personalizer(base, self.summariser(BASE)), base)
        if name == "frozen-generator":
            inference = self.summariser(FROZEN_INFERENCE)
            policy = self.personalizer(self.models[FROZEN_GENERATOR], inference)
            # The generator is the untrained base model, whatever POPI's own reference is.
            return ScoredRow(
                policy, self._without_summary(base), self.personalizer(base, inference), self._beta
            )
        if name == "oracle":
            model = self.models.get(ORACLE_GENERATOR, self.models[GENERATOR])
            return self._summarised_row(model, GivenSummaries(personas))
        return self.row_with_summaries(self.summariser())

    def row_with_summaries(self, summaries: SummarySource) -> ScoredRow:
        """Return the row of the run's generator with other summaries."""
        return self._summarised_row(self.models[GENERATOR], summaries)

    def row_of_model(self, model: LanguageModel, *, with_summary: bool) -> ScoredRow:
        """Return the row of another, frozen model, with POPI's summaries or without."""
        return self._frozen_row(
            self.personalizer(model) if with_summary else self._without_summary(model), model
        )

    @cached_property
    def _per_user(self) -> PerUserAdapters:
        """An adapter per user on the loaded base model."""
        adapters = PerUserLora(
            self.models[BASE],
            partial(prompt_with_summary, wording=self.wording),
            self.settings.per_user,
            learning_rate=per_user_rate(self.settings),
            beta=self._beta,
        )
        return PerUserAdapters(adapters, max_new_tokens=self._max_answer_tokens)

    @cached_property
    def _cached_reference(self) -> PromptPersonalizer:
        """The reference model of all trained rows."""
        return self._without_summary(CachedReference(self._reference))

    @property
    def _beta(self) -> float:
        return self.settings.joint.beta

    @property
    def _max_answer_tokens(self) -> int:
        """Maximum answer length in tokens; in training, prompt and answer share `max_length`."""
        own = self.settings.decoding.max_new_tokens
        return min(ANSWER_TOKENS, self.settings.max_length // 2) if own is None else own

    @property
    def _limits(self) -> dict[str, Any]:
        """The limits of a personalizer's answers."""
        own = self.settings.decoding.max_new_tokens
        return {"max_new_tokens": self._max_answer_tokens, "answer_limit": own}

    def _without_summary(self, model: LanguageModel) -> PromptPersonalizer:
        return Unpersonalised(model, **self._limits)

    @property
    def _reference(self) -> AdaptedModel:
        tuned = self.settings.joint.reference == "generator"
        return self.models[WARM if tuned and WARM in self.models else BASE]

    @property
    def _budget_of_a_summary(self) -> int:
        """Tokens of raw signals instead of a summary: the template around them counts as little as its."""
        around = self.models[BASE].count_tokens(self.wording.end + self.wording.to_request)
        return self.settings.joint.max_summary_tokens + around

    def _raw_signals(self, model: AdaptedModel, budget: int, order: Order = "recent") -> RawSignals:
        return RawSignals(model, self.wording, budget, order, **self._limits)

    def _summarised_row(self, model: LanguageModel, summaries: SummarySource) -> ScoredRow:
        return self._trained_row(
            self.personalizer(model, summaries), self.personalizer(self._reference, summaries)
        )

    def _trained_row(self, policy: PromptPersonalizer, start: Personalizer) -> ScoredRow:
        return ScoredRow(policy, self._cached_reference, start, self._beta)

    def _frozen_row(self, policy: PromptPersonalizer, model: LanguageModel) -> ScoredRow:
        return ScoredRow(policy, self._without_summary(model), policy, self._beta)


def per_user_rate(settings: TrainPOPI) -> float:
    """Return the learning rate of an adapter per user."""
    own = settings.per_user.learning_rate
    if own is not None:
        return own
    return 1e-2 if settings.model == "nano" else 1e-4
