"""Opens baselines, built in or of an installed package, as Personalizers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from personakit.config import TrainRPO
from personakit.contracts import ContextProvider, Personalizer
from personakit.errors import UserError
from personakit.method import FinishedRun
from personakit.methods.runs import register_run_providers
from personakit.methods.table import METHODS
from personakit.models.loading import open_base
from personakit.plugins import BASELINES as PLUGINS
from personakit.plugins import load_plugin, plugin_names

#: Ends the labels of rows that get a context which nothing in them was trained to use.
ZERO_SHOT = " (zero-shot)"


@dataclass(frozen=True)
class BaselineInputs:
    """The inputs of baselines: the settings shared with the run, and data.

    `train_golds` maps a task to its training golds; `oracle` maps a query id to the answer according to the
    user's hidden traits (empty if the data has none), `peers` to another user's answer to the same text;
    `tasks` are the evaluated tasks.
    """

    settings: TrainRPO
    base: str
    train_golds: Mapping[str, Iterable[str]]
    oracle: Mapping[str, str]
    peers: Mapping[str, str] = field(default_factory=dict)
    tasks: tuple[str, ...] = ()


def baseline_settings(run: FinishedRun) -> TrainRPO:
    """Return the settings that baselines share with a run: base model, number of items, prompt length."""
    return METHODS[run.method].baseline_settings(run.settings)


def open_provider(settings: TrainRPO) -> ContextProvider:
    """Open the retriever of the settings, which may be a run (METHOD:RUN)."""
    from personakit.retrieval import open_retriever

    register_run_providers()
    return open_retriever(settings.retrieval.name, settings.retrieval.k)


def open_baseline(name: str, inputs: BaselineInputs) -> Personalizer:
    """Open a baseline by name, built in or of an installed package; raises `UserError` if unknown."""
    if name in BASELINES:
        return BASELINES[name].open(inputs)
    open_own: Callable[[BaselineInputs], Personalizer] | None = load_plugin(PLUGINS, name)
    if open_own is None:
        raise UserError(f'unknown baseline "{name}"', hint=f"there is {', '.join(BASELINES)}")
    return open_own(inputs)


def _generic(inputs: BaselineInputs) -> Personalizer:
    from personakit.baselines import Generic

    return Generic(open_base(inputs.base, inputs.settings.endpoint), _decoding(inputs.settings))


def _copy(inputs: BaselineInputs) -> Personalizer:
    from personakit.baselines import CopyInput

    return CopyInput()


def _majority(inputs: BaselineInputs) -> Any:
    from personakit.baselines import MajorityClass
    from personakit.records import Example, Profile, Query

    return MajorityClass.from_examples(
        Example(Query("", task, "", "", "", gold), Profile("", ()))
        for task, golds in inputs.train_golds.items()
        for gold in golds
    )


def _profile(inputs: BaselineInputs) -> Personalizer:
    from personakit.baselines import ProfileMean

    return ProfileMean(_majority(inputs))


def _context(inputs: BaselineInputs) -> Personalizer:
    from personakit.baselines import ContextInjection

    settings = inputs.settings
    return ContextInjection(
        open_base(inputs.base, settings.endpoint),
        open_provider(settings),
        settings.context_tokens,
        _decoding(settings),
    )


def _memory(inputs: BaselineInputs) -> Personalizer:
    from personakit.baselines import Memory

    settings = inputs.settings
    base = open_base(inputs.base, settings.endpoint)
    return Memory(base, settings.context_tokens, _decoding(settings))


def _oracle(inputs: BaselineInputs) -> Personalizer:
    from personakit.baselines import KnownAnswers

    return KnownAnswers(inputs.oracle)


def _peer(inputs: BaselineInputs) -> Personalizer:
    from personakit.baselines import CopyInput, KnownAnswers

    return KnownAnswers(inputs.peers, otherwise=CopyInput())


def _decoding(settings: TrainRPO) -> Any:
    from personakit.baselines import DecodingOptions

    return DecodingOptions(settings.decoding.max_new_tokens)


def _classes(inputs: BaselineInputs) -> str | None:
    from personakit.tasks import get_task

    if not any(get_task(task).labels for task in inputs.tasks):
        return "no task has classes"
    return _counts(inputs)


def _counts(inputs: BaselineInputs) -> str | None:
    from personakit.tasks import get_task

    labelled = [task for task in inputs.tasks if get_task(task).labels]
    counted = all(inputs.train_golds.get(task) for task in labelled)
    return None if counted else "the data has no training split to count answers"


def _traits(inputs: BaselineInputs) -> str | None:
    return None if inputs.oracle else "the data does not contain the users' traits"


def _shared_texts(inputs: BaselineInputs) -> str | None:
    return (
        None
        if inputs.peers
        else "the data does not say what others answered to the same texts (imported rewrites do)"
    )


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A row of `eval lamp` that needs no run of a method.

    `why_not` returns why the data does not allow it, or None. `only_if_named` says why it is not a default
    row (empty: no note). `curves` lists the curves it appears in.
    """

    label: str
    open: Callable[[BaselineInputs], Personalizer]
    why_not: Callable[[BaselineInputs], str | None] = lambda inputs: None
    only_if_named: str | None = None
    curves: tuple[str, ...] = ()


BASELINES: dict[str, Baseline] = {
    "generic": Baseline(label="generic", open=_generic),
    "copy": Baseline(label="copy the input", open=_copy),
    "majority": Baseline(label="majority class", open=_majority, why_not=_classes),
    "profile": Baseline(label="profile mode or mean", open=_profile, why_not=_counts, curves=("history",)),
    "context": Baseline(label=f"context injection{ZERO_SHOT}", open=_context, curves=("history", "k")),
    "memory": Baseline(
        label=f"memory, facts extracted once{ZERO_SHOT}",
        open=_memory,
        only_if_named="it takes several requests per user; name it with --baseline",
    ),
    "peer": Baseline(
        label="another user's answer to the same text",
        open=_peer,
        why_not=_shared_texts,
        only_if_named="",
    ),
    "oracle": Baseline(label="oracle", open=_oracle, why_not=_traits),
}
"""Untrained baselines by their names for `--baseline`, in the order of the table."""


def baselines() -> dict[str, Baseline]:
    """Return `BASELINES` and those of installed packages, which only run if named."""
    return BASELINES | {
        name: Baseline(label=name, open=partial(open_baseline, name), only_if_named="")
        for name in plugin_names(PLUGINS)
        if name not in BASELINES
    }
