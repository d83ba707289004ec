"""A finished run of POPI: its Personalizer, its summariser, and the rows it is judged by.

A run keeps `model/inference` and `model/generator`, and what was trained beside them as controls. All of
them are adapters on one base, which is loaded once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from personakit.config.train_popi import TrainPOPI
from personakit.contracts import LanguageModel, Personalizer
from personakit.data.folders import data_folder
from personakit.data.lamp_mini.facts import is_lamp_mini
from personakit.errors import UserError
from personakit.method import FinishedRun
from personakit.models.cache import CachedModel, FingerprintedModel
from personakit.popi.answering import ANSWER_TOKENS, FromPrompts
from personakit.popi.controls import Order, RawSignals, Unpersonalised
from personakit.popi.inferring import GivenSummaries, Summaries, Summariser
from personakit.popi.models import BASE, AdaptedModel, RememberedScores, open_adapters
from personakit.popi.per_user_adapters import AdapterAUser, WithoutAdapter
from personakit.popi.per_user_lora import PerUserLora
from personakit.popi.personalizer import Summarised
from personakit.tasks.signals import SignalWording, prompt_with_summary, signal_wording

INFERENCE, GENERATOR, WARM = "inference", "generator", "warm generator"
POPULATION = "population DPO"
FROZEN_INFERENCE, FROZEN_GENERATOR = "inference, frozen generator", "frozen generator"
ORACLE_GENERATOR = "generator, personas"

PLACES = {
    INFERENCE: Path("model") / "inference",
    GENERATOR: Path("model") / "generator",
    WARM: Path("warm") / "generator",
    POPULATION: Path("controls") / "population_dpo",
    FROZEN_INFERENCE: Path("controls") / "frozen_generator" / "inference",
    FROZEN_GENERATOR: Path("controls") / "frozen_generator" / "generator",
    ORACLE_GENERATOR: Path("controls") / "oracle_generator",
}
"""Where a run keeps its adapters, by what they are called here. Only the first two are always there."""


@dataclass(frozen=True)
class Judged:
    """Who is judged, and the two references of its margin; `start` is `policy` where nothing was trained."""

    policy: FromPrompts | AdapterAUser
    reference: Personalizer
    start: Personalizer
    beta: float


def adapters_of(folder: Path) -> dict[str, Path]:
    """Return the adapters that a run has, by name (`PLACES`)."""
    places = {name: folder / place for name, place in PLACES.items()}
    return {name: place for name, place in places.items() if (place / "adapter_config.json").is_file()}


@dataclass(frozen=True)
class LoadedPOPI:
    """A run of POPI with its base model and its adapters in memory."""

    run: FinishedRun
    models: Mapping[str, AdaptedModel]

    @classmethod
    def load(cls, run: FinishedRun) -> LoadedPOPI:
        """Load the run's base with all of its adapters on it; raises `UserError` where one is missing."""
        adapters = adapters_of(run.folder)
        for name in (INFERENCE, GENERATOR):
            if name not in adapters:
                raise UserError(
                    f"{run.folder / PLACES[name]}: no adapter is there",
                    hint="train the run again, or --resume it",
                )
        return cls(run, open_adapters(run.settings.model, adapters))

    @property
    def settings(self) -> TrainPOPI:
        """The settings it was trained with."""
        settings: TrainPOPI = self.run.settings
        return settings

    @cached_property
    def wording(self) -> SignalWording:
        """How signals and requests were worded in training: as the data's are, which run.json records."""
        facts = self.run.facts
        if "preference_task" in facts:
            return signal_wording(facts["preference_task"])
        return signal_wording("LaMP_7" if is_lamp_mini(data_folder(self.settings.data.path)) else None)

    def summariser(self, model: str = INFERENCE) -> Summariser:
        """Return what infers summaries, behind the answer cache; `BASE` is asked for one untrained."""
        return self._summariser(self.models[model])

    def personalizer(
        self, generator: LanguageModel | None = None, summaries: Summaries | None = None
    ) -> Summarised:
        """Return the run's Personalizer, or one with another generator or other summaries than its own."""
        return Summarised(
            generator or self.models[GENERATOR],
            summaries or self.summariser(),
            self.wording,
            max_new_tokens=self._longest,
        )

    def judged(self, name: str, personas: Mapping[str, str]) -> Judged:
        """Return a row of `eval preference` by its name (`ROWS`)."""
        base = self.models[BASE]
        if name == "base":
            return self._frozen(self._alone(base), base)
        if name == "population":
            return self._trained(self._alone(self.models[POPULATION]), self._alone(self._reference))
        if name == "lora-per-user":
            adapters = PerUserLora(self.settings.model, partial(prompt_with_summary, wording=self.wording))
            own = AdapterAUser(adapters, max_new_tokens=self._longest)
            return Judged(own, WithoutAdapter(adapters), own, self._beta)
        if name in ("history", "history-recent", "history-bm25"):
            order: Order = "bm25" if name == "history-bm25" else "recent"
            control = RawSignals(base, self.wording, self._budget(name), order, max_new_tokens=self._longest)
            return self._frozen(control, base)
        if name == "prompted":
            return self._frozen(self.personalizer(base, self.summariser(BASE)), base)
        if name == "frozen-generator":
            inference = self.summariser(FROZEN_INFERENCE)
            policy = self.personalizer(self.models[FROZEN_GENERATOR], inference)
            # The base as it came stays the generator, whatever POPI's own reference is.
            return Judged(policy, self._alone(base), self.personalizer(base, inference), self._beta)
        if name == "oracle":
            model = self.models.get(ORACLE_GENERATOR, self.models[GENERATOR])
            return self._summarised(model, GivenSummaries(personas))
        return self.judged_with(self.summariser())

    def judged_with(self, summaries: Summaries) -> Judged:
        """Return the run's generator as it is judged, with other summaries than its own."""
        return self._summarised(self.models[GENERATOR], summaries)

    def judged_on(self, model: LanguageModel, *, told: bool) -> Judged:
        """Return a frozen model that is given POPI's summaries, or nothing."""
        return self._frozen(self.personalizer(model) if told else self._alone(model), model)

    @cached_property
    def _unmoved(self) -> FromPrompts:
        """ref(y|x), which is the same for every row."""
        return self._alone(RememberedScores(self._reference))

    @property
    def _beta(self) -> float:
        return self.settings.joint.beta

    @property
    def _longest(self) -> int:
        """How long an answer may be: training has room for prompts and answers of `max_length` together."""
        return min(ANSWER_TOKENS, self.settings.max_length // 2)

    def _alone(self, model: LanguageModel) -> FromPrompts:
        return Unpersonalised(model, max_new_tokens=self._longest)

    @property
    def _reference(self) -> AdaptedModel:
        tuned = self.settings.joint.reference == "generator"
        return self.models[WARM if tuned and WARM in self.models else BASE]

    def _budget(self, name: str) -> int:
        return (
            self.settings.data.signal_tokens if name == "history" else self.settings.joint.max_summary_tokens
        )

    def _summarised(self, model: LanguageModel, summaries: Summaries) -> Judged:
        return self._trained(
            self.personalizer(model, summaries), self.personalizer(self._reference, summaries)
        )

    def _trained(self, policy: FromPrompts, start: Personalizer) -> Judged:
        return Judged(policy, self._unmoved, start, self._beta)

    def _frozen(self, policy: FromPrompts, model: LanguageModel) -> Judged:
        return Judged(policy, self._alone(model), policy, self._beta)

    def _summariser(self, model: FingerprintedModel) -> Summariser:
        return Summariser(
            CachedModel(model),
            self.wording,
            self.settings.data.signal_tokens,
            self.settings.joint.max_summary_tokens,
        )
