"""Opens a run of PILLOW: as a Personalizer, as what picks prompts, as what picks a user's items."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from personakit.contracts import ContextProvider, Personalizer
from personakit.errors import UserError
from personakit.methods.open_models import open_base, open_weights
from personakit.methods.runs import read_run

if TYPE_CHECKING:
    from personakit.pillow.answering import Offer, Order
    from personakit.pillow.opening import PillowRun
    from personakit.records import Profile, Query


def open_pillow(folder: Path, base: str | None) -> Personalizer:
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
    from personakit.models.local import LocalModel
    from personakit.pillow.answering import Prompted, Reordered
    from personakit.pillow.opening import FULL, SELECTORS, TUNED
    from personakit.pillow.wording import Templated

    place = run.model_folder(FULL if name == "full" else TUNED)
    if place is None:
        raise UserError(f"{run.folder}: no model was trained for {name}", hint="leave that row out")
    model = open_weights(Path(place))
    assert isinstance(model, LocalModel)
    wording = Templated(run.settings.data.template)
    selector = None if name in ("alone", "full") else SELECTORS[name](run, model, wording)
    if selector is not None and order is not None:
        selector = Reordered(selector, order)
    limit = run.settings.rl.reward.max_new_tokens
    return Prompted(model, wording, offer, selector=selector, m=m, max_new_tokens=limit)


def history_matcher(run: str, k: int) -> ContextProvider:
    """Open what picks `k` items of a user's history; raises `UserError` for a run that picks from a pool."""
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
