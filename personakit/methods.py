"""The one place that knows all methods: opens a run's folder, or a baseline's name, as a Personalizer."""

from __future__ import annotations

import functools
import gc
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from personakit.config import SCHEMAS, TrainRPO, load
from personakit.config.endpoint import EndpointSettings
from personakit.contracts import ContextProvider, LanguageModel, Personalizer
from personakit.errors import UserError
from personakit.plugins import METHODS as PLUGIN_METHODS
from personakit.plugins import load_plugin
from personakit.training import run as runs

if TYPE_CHECKING:
    from personakit.pillow.answering import Offer, Order
    from personakit.pillow.opening import PillowRun
    from personakit.popi.opening import OpenRun
    from personakit.popi.summary_files import WrittenSummary
    from personakit.records import Profile, Query

#: Where a run keeps the control that was trained beside its method.
TUNED_CONTEXT = Path("controls") / "context_injection"
#: Rewriters that a run keeps beside its model, by name: the one that RL began with, and the controls of RL.
REWRITERS = {
    "sft": Path("sft"),
    "sft-continued": Path("controls") / "sft_continued",
    "no-curriculum": Path("controls") / "without_curriculum",
}
_MADE_BY = {
    "sft": "stages=all keeps the model that SFT left beside RL's",
    "sft-continued": "train with controls.sft_continued=true",
    "no-curriculum": "train with controls.without_curriculum=true",
}
#: The folder that a method's training leaves last, where that is not its model.
_LAST_MADE = {"pillow": "matcher"}


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run that can answer: its folder, method and seed, and the settings it was trained with."""

    folder: Path
    method: str
    seed: int
    settings: Any
    """The method's own: `config.SCHEMAS`."""

    @property
    def tuned_context(self) -> Path | None:
        """The fine-tuned context injection model's folder, None where none was trained."""
        place = self.folder / TUNED_CONTEXT
        return place if place.is_dir() else None

    @property
    def models(self) -> list[Path]:
        """The folders of the models that the run made: POPI's two; none where PILLOW left its as it was."""
        made = self.folder / "model"
        if self.method == "popi":
            return [made / "inference", made / "generator"]
        return [made] if made.is_dir() else []

    @property
    def rewriters(self) -> dict[str, Path]:
        """The rewriters beside the run's model by name (`REWRITERS`): those that were trained."""
        places = {name: self.folder / place for name, place in REWRITERS.items()}
        return {name: place for name, place in places.items() if place.is_dir()}


def newest_run(method: str | None = None) -> Path:
    """Return the newest finished run under `runs/`; raises `UserError` where there is none."""
    folder = runs.newest_run(method=method)
    if folder is None:
        raise UserError("there is no finished run in runs/", hint="personakit train rpo makes one")
    return folder


def read_run(folder: Path) -> FinishedRun:
    """Read a run's own account of itself; raises `UserError` where it is no run, or has no model yet."""
    document = folder / "run.json"
    if not folder.is_dir():
        raise UserError(f"{folder}: no such run", hint="personakit runs lists those in runs/")
    if not document.is_file():
        raise UserError(
            f"{folder}: not a run (it has no run.json)", hint="personakit runs lists those in runs/"
        )
    try:
        facts = json.loads(document.read_text(encoding="utf-8"))
        method, seed = facts["method"], facts["seed"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{document}: not a run's account of itself ({error})", hint="train it again"
        ) from error
    if method not in SCHEMAS:
        raise UserError(
            f'{document}: "method" is "{method}"', hint=f"this version knows {', '.join(SCHEMAS)}"
        )
    if not (folder / _LAST_MADE.get(method, "model")).is_dir():
        raise UserError(
            f'{folder}: the run is "{facts.get("status")}" and has no model yet',
            hint=f"personakit train {method} --output {folder} --resume goes on with it",
        )
    return FinishedRun(folder, method, seed, load(SCHEMAS[method], folder / "config.yaml"))


def open_run(
    folder: Path | FinishedRun,
    *,
    base: str | None = None,
    rewrite_without_history: bool = False,
    rewriter: str | None = None,
) -> Personalizer:
    """Open a finished run as the Personalizer it trained.

    `base` puts another black box in front of it than the one it was trained on;
    `rewrite_without_history` is the control that rewrites even where the history is empty; `rewriter` names
    another rewriter of the run than its model (`REWRITERS`). Raises `UserError` where that was not trained.
    Behind POPI's summaries `base` answers in the place of the run's generator.
    """
    run = read_run(folder) if isinstance(folder, Path) else folder
    if run.method == "pillow":
        return _open_pillow(run.folder, base)
    if run.method == "popi":
        another = None if base in (None, run.settings.model) else open_base(str(base))
        return open_popi(run.folder).personalizer(another)
    return _open_rewriter(run, base, rewrite_without_history, rewriter)


def _open_rewriter(
    run: FinishedRun, base: str | None, rewrite_without_history: bool, rewriter: str | None
) -> Personalizer:
    from personakit.rpo.rewriter import Rewriter

    place = run.folder / "model" if rewriter is None else run.rewriters.get(rewriter)
    if place is None:
        raise UserError(f'{run.folder}: has no rewriter "{rewriter}"', hint=_MADE_BY[str(rewriter)])
    return Rewriter(
        base=open_base(base or run.settings.base, run.settings.endpoint),
        model=open_weights(place),
        provider=open_provider(run.settings),
        max_length=run.settings.prompt_tokens,
        max_draft_tokens=run.settings.decoding.max_new_tokens,
        max_trajectory_tokens=run.settings.trajectories.max_tokens,
        rewrite_without_history=rewrite_without_history,
    )


def settings_of_baselines(run: FinishedRun) -> TrainRPO:
    """Return the settings that baselines share with a run: its base, how many items, the prompt's length."""
    if run.method == "rpo":
        settings: TrainRPO = run.settings
        return settings
    baselines = TrainRPO(base=run.settings.model)
    if run.method == "pillow":
        baselines.retrieval.k = run.settings.matcher.m
        baselines.controls.context_tokens = run.settings.prompt_tokens
    return baselines


def _open_pillow(folder: Path, base: str | None) -> Personalizer:
    """PILLOW answers with items of the user's history, or with prompts of the run's pool.

    `base` answers in the place of the run's own model, which goes on to choose.
    """
    from personakit.baselines import ContextInjection
    from personakit.models.local import LocalModel
    from personakit.pillow.answering import Offer, Prompted
    from personakit.pillow.history import HistoryMatcher
    from personakit.pillow.wording import Templated
    from personakit.records import Instruction

    run = read_pillow_run(folder)
    place = run.model_folder()
    if place is None:
        raise UserError(f"{folder}: its tuned model is missing", hint="train it again")
    own = open_weights(Path(place))
    assert isinstance(own, LocalModel)
    answering = own if base is None or base == run.settings.model else open_base(base)
    pool = run.pool
    if pool is None:
        provider = HistoryMatcher(*run.network(own), run.m)
        return ContextInjection(answering, provider, run.settings.prompt_tokens)

    def offer(query: Query, profile: Profile) -> Offer:
        return Offer(Instruction(query.id, query.text, "", ""), pool)

    return Prompted(
        answering,
        Templated(run.settings.data.template),
        offer,
        selector=run.matcher(own),
        m=run.m,
        max_new_tokens=run.settings.rl.reward.max_new_tokens,
    )


def read_pillow_run(folder: Path) -> PillowRun:
    """Read a run of PILLOW; raises `UserError` where it is none, or has no matching network yet."""
    from personakit.pillow.opening import PillowRun

    run = read_run(folder)
    if run.method != "pillow":
        raise UserError(
            f"{folder}: a run of {run.method}, expected one of pillow",
            hint="personakit train pillow makes one",
        )
    return PillowRun(folder, run.settings, run.seed)


def open_prompted(
    run: PillowRun,
    name: str,
    m: int,
    offer: Callable[[Query, Profile], Offer],
    *,
    order: Order | None = None,
) -> Personalizer:
    """Open the run's model, shown `m` prompts that `name` picks.

    `name` is one of `pillow.opening.SELECTORS`, `alone` for the tuned model without prompts, or `full` for
    the fully tuned one; `order` turns the picks round.
    """
    from personakit.pillow.answering import Prompted, Reordered
    from personakit.pillow.opening import FULL, SELECTORS, TUNED
    from personakit.pillow.wording import Templated

    place = run.model_folder(FULL if name == "full" else TUNED)
    if place is None:
        raise UserError(f"{run.folder}: no model was trained for {name}", hint="leave that row out")
    model = open_weights(Path(place))
    wording = Templated(run.settings.data.template)
    selector = None if name in ("alone", "full") else SELECTORS[name](run, model, wording)
    if selector is not None and order is not None:
        selector = Reordered(selector, order)
    limit = run.settings.rl.reward.max_new_tokens
    return Prompted(model, wording, offer, selector=selector, m=m, max_new_tokens=limit)


_Named = ParamSpec("_Named")
_Opened = TypeVar("_Opened")


def _one_at_a_time(load: Callable[_Named, _Opened]) -> Callable[_Named, _Opened]:
    """Keep what was opened last for calls that ask for it again; another one takes its place.

    Unlike with `lru_cache(1)` it is let go before the next is loaded: both may not fit into memory.
    Whoever still holds it keeps it there.
    """
    held: dict[Any, _Opened] = {}

    @functools.wraps(load)
    def opened(*args: _Named.args, **kwargs: _Named.kwargs) -> _Opened:
        key = (args, *sorted(kwargs.items()))
        if key not in held:
            held.clear()
            gc.collect()  # modules may point at each other, which counting references does not free
            held[key] = load(*args, **kwargs)
        return held[key]

    return opened


@_one_at_a_time
def open_base(name: str, endpoint: EndpointSettings | None = None) -> LanguageModel:
    """Open a black box behind the answer cache: no answer of it is computed or paid for twice."""
    from personakit.models.cache import CachedModel
    from personakit.models.open import open_language_model

    return CachedModel(open_language_model(name, truncate=True, endpoint=endpoint))


@_one_at_a_time
def open_weights(folder: Path) -> LanguageModel:
    """Open a model that a run has trained."""
    from personakit.models.open import open_language_model

    return open_language_model(str(folder), truncate=True)


@_one_at_a_time
def open_popi(folder: Path) -> OpenRun:
    """Open a run of POPI: its base and all its adapters, in memory once for all that ask for it in a row."""
    from personakit.popi.opening import OpenRun

    run = read_run(folder)
    if run.method != "popi":
        raise UserError(
            f"{folder}: a run of {run.method}, which has no summaries", hint="name a run of `train popi`"
        )
    return OpenRun.load(folder, run.settings)


def open_with_summary(folder: Path, written: WrittenSummary, *, base: str | None = None) -> Personalizer:
    """Open a run of POPI that answers with a summary from elsewhere; `base` answers in its generator's place.

    Whoever asks is told of by this summary: it is refused for a query of another user than it is about.
    """
    from personakit.popi.inferring import OneSummary

    summaries = OneSummary(written.summary, written.user_id)
    return open_popi(folder).personalizer(None if base is None else open_base(base), summaries)


def open_heuristic(name: str, data: str, personas: Mapping[str, str], beta: float) -> Any:
    """Open a row of `eval preference` that needs no model: `length` or `persona-lookup`."""
    from personakit.data.preferences import open_preferences
    from personakit.popi.heuristics import Indifferent, LengthAlone, PersonaLookup
    from personakit.popi.opening import Judged

    if name == "length":
        policy: Any = LengthAlone()
    else:
        policy = PersonaLookup.from_users(open_preferences(data, "train"), personas)
    return Judged(policy, Indifferent(), policy, beta)


def popi_lacks(run: FinishedRun, row: str) -> str | None:
    """Say why a run of POPI cannot give a row of `eval preference`; None where it can."""
    from personakit.popi.opening import FROZEN_GENERATOR, POPULATION, adapters_of

    needed = {"population": POPULATION, "frozen-generator": FROZEN_GENERATOR}.get(row)
    if needed is None or needed in adapters_of(run.folder):
        return None
    return f"no {needed} was trained beside the run (controls)"


def open_provider(settings: TrainRPO) -> ContextProvider:
    """Open the retriever that the settings name."""
    from personakit.retrieval import open_retriever

    offer_runs()
    return open_retriever(settings.retrieval.name, settings.retrieval.k)


def offer_runs() -> None:
    """Let what runs have learnt stand where a retriever is named: `pillow:RUN` picks, `popi:RUN` sums up."""
    from personakit.retrieval.open import offer_provider

    offer_provider("pillow", _history_matcher)
    offer_provider("popi", lambda run, k: open_popi(Path(run)).summariser())


def _history_matcher(run: str, k: int) -> ContextProvider:
    from personakit.models.local import LocalModel
    from personakit.pillow.history import HistoryMatcher

    opened = read_pillow_run(Path(run))
    if opened.pool is not None:
        raise UserError(
            f"{run}: a run of PILLOW that picks from one pool of prompts, expected one on histories",
            hint="train one with personakit train pillow --config lamp-items",
        )
    place = opened.model_folder()
    assert place is not None
    return HistoryMatcher(*opened.network(LocalModel.load(place, truncate=True)), k)


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


def open_baseline(name: str, around: Surroundings) -> Personalizer:
    """Open a baseline by its name, ours or an installed package's; raises `UserError` for another."""
    if name in BASELINES:
        return BASELINES[name](around)
    open_own: Callable[[Surroundings], Personalizer] | None = load_plugin(PLUGIN_METHODS, name)
    if open_own is None:
        raise UserError(f'unknown baseline "{name}"', hint=f"there is {', '.join(BASELINES)}")
    return open_own(around)


def open_tuned_context(run: FinishedRun) -> Personalizer:
    """Open the context injection that was fine-tuned beside the run."""
    from personakit.baselines import ContextInjection

    if run.tuned_context is None:
        raise UserError(
            f"{run.folder}: no context injection was fine-tuned beside it",
            hint="train with controls.fine_tuned_context_injection=true",
        )
    model = open_weights(run.tuned_context)
    settings = run.settings
    return ContextInjection(
        model, open_provider(settings), settings.controls.context_tokens, _decoding(settings)
    )


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
    from personakit.baselines import Decoding

    return Decoding(settings.decoding.max_new_tokens)


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
