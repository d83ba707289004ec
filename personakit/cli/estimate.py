"""`--dry-run`: which models would be asked how often, and for how much, told before the first request."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from personakit.cli.output import Result, console, note, table

if TYPE_CHECKING:
    from rich.console import Console

    from personakit.cli.comparison import Examples
    from personakit.methods import FinishedRun, Surroundings
    from personakit.models.cost import CostEstimate


#: What a request is taken to take: the progress bar knows better as soon as some are answered.
SECONDS_A_REQUEST = 2.0


def estimate_evaluation(
    rows: Sequence[str],
    runs: Sequence[FinishedRun],
    around: Surroundings,
    examples: Examples,
    unseen: Sequence[str],
) -> list[CostEstimate]:
    """Count the requests of an evaluation to endpoints; raises `UserError` for a base there is not.

    Every row that rewrites starts from the generic answers, so two rows ask the base: generic, and
    context injection.
    """
    from personakit.baselines import ContextInjection, DecodingOptions, Generic, Memory
    from personakit.methods import open_provider
    from personakit.models.cost import RequestMeter, approximate_token_counter
    from personakit.models.open import check_model, is_endpoint

    settings = around.settings
    decoding = DecodingOptions(settings.decoding.max_new_tokens)
    estimates = []
    for base in [around.base, *unseen]:
        if not is_endpoint(base):
            check_model(base)
            continue
        tokens = approximate_token_counter(str(runs[0].folder / "model")) if runs else None
        meter = RequestMeter(base, tokens=tokens)
        if runs or "generic" in rows:
            _ask(Generic(meter, decoding), examples)
            estimates.append(meter.estimate("generic answers"))
        if base == around.base and "context" in rows:
            provider = open_provider(settings)
            _ask(ContextInjection(meter, provider, settings.controls.context_tokens, decoding), examples)
            estimates.append(meter.estimate("context injection"))
        if base == around.base and "memory" in rows:
            _ask(Memory(meter, settings.controls.context_tokens, decoding), examples)
            estimates.append(meter.estimate("memory (its notes; as many answers come on top)"))
    return estimates


def _ask(personalizer: Any, examples: Examples) -> None:
    for store in examples.values():
        some = list(store)
        personalizer.respond([each.query for each in some], [each.profile for each in some])


def planned_evaluation(document: dict[str, Any], estimates: Sequence[CostEstimate]) -> Result:
    """What `eval --dry-run` prints: the rows, the examples of each task, the requests."""

    def show(out: Console) -> None:
        out.print(f"rows: {', '.join(document['rows'])}")
        table(out, ("task", "queries"), document["queries"].items())
        show_estimates(out, estimates)

    note("dry run: nothing was asked or written")
    return Result({**document, "requests": in_json(estimates)}, show)


def tell_cost(estimates: Sequence[CostEstimate], *, at_once: int) -> None:
    """Say on stderr what is about to be asked of APIs, and for how much; nothing where nothing is."""
    if any(each.requests for each in estimates):
        show_estimates(console(sys.stderr), estimates, at_once=at_once)


def show_estimates(out: Console, estimates: Sequence[CostEstimate], *, at_once: int | None = None) -> None:
    """Print the table of requests, and what its figures are worth; with the time where `at_once` is given."""
    from personakit.models.cost import PRICES

    if not estimates:
        out.print("no request to an API: every model is on this machine")
        return
    columns = ("model", "for", "requests", "in the cache", "prompt tokens", "answer tokens, at most", "money")
    table(
        out,
        columns,
        [
            (
                each.model,
                each.purpose,
                each.requests,
                each.known,
                each.prompt_tokens,
                each.completion_tokens,
                "?" if each.money is None else f"{each.money:.2f}",
            )
            for each in estimates
        ],
    )
    known = [each.money for each in estimates if each.money is not None]
    if len(known) == len(estimates):
        out.print(f"at most {sum(known):.2f} in all, by the prices in {PRICES}")
    else:
        out.print(f'no price for "?": set {PRICES} to MODEL=INPUT/OUTPUT,... for a million tokens')
    out.print("tokens are an estimate: the server's own tokenizer is not known")
    if at_once is not None:
        seconds = sum(each.requests for each in estimates) * SECONDS_A_REQUEST / at_once
        out.print(
            f"about {max(1, round(seconds / 60))} min, at {at_once} requests at once "
            f"and {SECONDS_A_REQUEST:g} s each"
        )


def in_json(estimates: Sequence[CostEstimate]) -> list[dict[str, Any]]:
    """The same for `--json`."""
    return [asdict(each) for each in estimates]
