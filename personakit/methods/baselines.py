"""Opens a baseline's name, ours or an installed package's, as a Personalizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from personakit.config import TrainRPO
from personakit.contracts import ContextProvider, Personalizer
from personakit.errors import UserError
from personakit.method import FinishedRun
from personakit.methods.runs import offer_runs
from personakit.methods.table import METHODS
from personakit.models.loading import open_base
from personakit.plugins import BASELINES as PLUGINS
from personakit.plugins import load_plugin, plugin_names


@dataclass(frozen=True)
class Surroundings:
    """What baselines are made of: the settings that they share with the run, and the data.

    `train_golds` maps a task to its training golds, `oracle` a query's id to the answer that the user's
    hidden traits give (empty where the data does not know them). `tasks` are those of the evaluation.
    """

    settings: TrainRPO
    base: str
    train_golds: Mapping[str, Iterable[str]]
    oracle: Mapping[str, str]
    tasks: tuple[str, ...] = ()


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
        return BASELINES[name].open(around)
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


def _classes(around: Surroundings) -> str | None:
    from personakit.tasks import get_task

    if not any(get_task(task).labels for task in around.tasks):
        return "no task has classes"
    return _counts(around)


def _counts(around: Surroundings) -> str | None:
    from personakit.tasks import get_task

    labelled = [task for task in around.tasks if get_task(task).labels]
    counted = all(around.train_golds.get(task) for task in labelled)
    return None if counted else "the data has no training split to count answers in"


def _traits(around: Surroundings) -> str | None:
    return None if around.oracle else "the data does not know its users' traits"


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A row of `eval lamp` that needs no run of a method.

    `why_not` says why it is impossible with some data, or None. `only_if_named` says why it is not among the
    default rows (empty: without a note). `curves` are the curves that it is drawn in.
    """

    label: str
    open: Callable[[Surroundings], Personalizer]
    why_not: Callable[[Surroundings], str | None] = lambda around: None
    only_if_named: str | None = None
    curves: tuple[str, ...] = ()


BASELINES: dict[str, Baseline] = {
    "generic": Baseline(label="generic", open=_generic),
    "copy": Baseline(label="copy the input", open=_copy),
    "majority": Baseline(label="majority class", open=_majority, why_not=_classes),
    "profile": Baseline(label="profile mode or mean", open=_profile, why_not=_counts, curves=("history",)),
    "context": Baseline(label="context injection", open=_context, curves=("history", "k")),
    "memory": Baseline(
        label="memory (facts extracted once)",
        open=_memory,
        only_if_named="it takes several requests per user; name it with --baseline",
    ),
    "oracle": Baseline(label="oracle", open=_oracle, why_not=_traits),
}
"""Untrained rows by the names that `--baseline` takes, in the table's order; an oracle is its last row."""


def baselines() -> dict[str, Baseline]:
    """Return `BASELINES`, and those of installed packages, which are run where they are named."""
    return BASELINES | {
        name: Baseline(label=name, open=partial(open_baseline, name), only_if_named="")
        for name in plugin_names(PLUGINS)
        if name not in BASELINES
    }
