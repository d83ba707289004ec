"""Opens a baseline's name, ours or an installed package's, as a Personalizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from personakit.config import TrainRPO
from personakit.contracts import ContextProvider, Personalizer
from personakit.errors import UserError
from personakit.method import FinishedRun
from personakit.methods.runs import offer_runs
from personakit.methods.table import METHODS
from personakit.models.loading import open_base
from personakit.plugins import BASELINES as PLUGINS
from personakit.plugins import load_plugin


@dataclass(frozen=True)
class Surroundings:
    """What baselines are made of: the settings they share with the run, golds to count, and oracle texts.

    `train_golds` maps a task to its training golds, `oracle` a query's id to the answer of one who knows
    the user's traits (empty where the data has no such thing).
    """

    settings: TrainRPO
    base: str
    train_golds: Mapping[str, Iterable[str]]
    oracle: Mapping[str, str]


def settings_of_baselines(run: FinishedRun) -> TrainRPO:
    """Return the settings that baselines share with a run: its base, how many items, the prompt's length."""
    return METHODS[run.method].baseline_settings(run.settings)


def open_provider(settings: TrainRPO) -> ContextProvider:
    """Open the retriever that the settings name, or the run that stands in its place."""
    from personakit.retrieval import open_retriever

    offer_runs()
    return open_retriever(settings.retrieval.name, settings.retrieval.k)


def open_baseline(name: str, around: Surroundings) -> Personalizer:
    """Open a baseline by its name, ours or an installed package's; raises `UserError` for another."""
    if name in BASELINES:
        return BASELINES[name](around)
    open_own: Callable[[Surroundings], Personalizer] | None = load_plugin(PLUGINS, name)
    if open_own is None:
        raise UserError(f'unknown baseline "{name}"', hint=f"there is {', '.join(BASELINES)}")
    return open_own(around)


def _generic(around: Surroundings) -> Personalizer:
    from personakit.baselines import Generic

    return Generic(open_base(around.base, around.settings.endpoint), _decoding(around.settings))


def _copy(around: Surroundings) -> Personalizer:
    from personakit.baselines import CopyInput

    return CopyInput()


def _majority(around: Surroundings) -> Any:
    from personakit.baselines import MajorityClass
    from personakit.records import Example, Profile, Query

    return MajorityClass.from_examples(
        Example(Query("", task, "", "", "", gold), Profile("", ()))
        for task, golds in around.train_golds.items()
        for gold in golds
    )


def _profile(around: Surroundings) -> Personalizer:
    from personakit.baselines import ProfileMean

    return ProfileMean(_majority(around))


def _context(around: Surroundings) -> Personalizer:
    from personakit.baselines import ContextInjection

    settings = around.settings
    return ContextInjection(
        open_base(around.base, settings.endpoint),
        open_provider(settings),
        settings.controls.context_tokens,
        _decoding(settings),
    )


def _memory(around: Surroundings) -> Personalizer:
    from personakit.baselines import Memory

    settings = around.settings
    base = open_base(around.base, settings.endpoint)
    return Memory(base, settings.controls.context_tokens, _decoding(settings))


def _oracle(around: Surroundings) -> Personalizer:
    from personakit.baselines import Oracle

    return Oracle(around.oracle)


def _decoding(settings: TrainRPO) -> Any:
    from personakit.baselines import DecodingOptions

    return DecodingOptions(settings.decoding.max_new_tokens)


BASELINES: dict[str, Callable[[Surroundings], Personalizer]] = {
    "generic": _generic,
    "copy": _copy,
    "majority": _majority,
    "profile": _profile,
    "context": _context,
    "memory": _memory,
    "oracle": _oracle,
}
"""Untrained rows by name: the base alone, the input back, the most frequent label, the user's mode or
mean, the history in the base's prompt, facts drawn from it instead, and the answer of one who knows the
user's traits."""
