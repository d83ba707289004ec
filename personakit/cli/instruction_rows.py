"""Which rows stand in the table of `personakit eval instruction`, and which are set against each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from personakit.cli.output import note
from personakit.errors import UserError

if TYPE_CHECKING:
    from personakit.contracts import Personalizer
    from personakit.evaluation.candidates import Candidate
    from personakit.evaluation.matching import Variants
    from personakit.evaluation.results import Claims
    from personakit.methods import FinishedRun
    from personakit.pillow.answering import Offer, Order

ALONE, METHOD, FULL, COSINE, GREEDY = "LoRA alone", "PILLOW", "full fine-tuning", "cosine", "greedy oracle"

#: The rows by the names `--baseline` takes, in the table's order; PILLOW itself is always there.
ROWS = {
    "alone": ALONE,
    "random": "random",
    "cosine": COSINE,
    "mmr": "MMR",
    "pillow": METHOD,
    "best-of": "best of 16, oracle",
    "greedy": GREEDY,
    "full": FULL,
}
#: Rows whose score is drawn against the number of prompts.
CURVES = ("cosine", "pillow")
#: Prompts beyond the run's own number that the curve goes to.
BEYOND = 2
ORDERS: dict[str, Order] = {"reversed": "reversed", "shuffled": "shuffled"}
#: The stages of a run that a row's training consists of.
STAGES = {FULL: ("full-fine-tuning",), METHOD: ("lora", "matching")}
_TUNED = ("lora",)


@dataclass(frozen=True)
class InstructionRows:
    """The passes of one evaluation: rows, their variants, and what they are asked."""

    candidates: Sequence[Candidate]
    variants: Sequence[Candidate]
    by_number: Mapping[str, Mapping[int, str]]
    orders: Mapping[str, tuple[str, str]]

    @property
    def labels(self) -> list[str]:
        """The rows' labels."""
        return list(dict.fromkeys(candidate.method for candidate in self.candidates))

    def claims(self) -> Claims:
        """What the table is asked beside its rows."""
        from personakit.evaluation.results import Claims

        others = [label for label in self.labels if label != METHOD]
        return Claims(compared=[(METHOD, other) for other in others], gaps=[(METHOD, COSINE, GREEDY)])

    def passes(self, prompts: Sequence[tuple[str, str]]) -> Variants:
        """What belongs together among rows and variants; `prompts` are the common pool's."""
        from personakit.evaluation.matching import Variants

        return Variants(self.by_number, self.orders, METHOD if prompts else None, prompts)


def choose_rows(chosen: Sequence[str] | None, runs: Sequence[FinishedRun]) -> list[str]:
    """Return the names of the rows to run, PILLOW among them: those asked for, or all there are."""
    from personakit.pillow.opening import FULL as FULL_FOLDER
    from personakit.pillow.opening import model_folder

    unknown = set(chosen or ()) - ROWS.keys()
    if unknown:
        raise UserError(f'unknown --baseline "{min(unknown)}"', hint=f"there is {', '.join(ROWS)}")
    rows = [name for name in ROWS if chosen is None or name in chosen or name == "pillow"]
    missing = [run.folder for run in runs if model_folder(run, FULL_FOLDER) is None]
    if "full" in rows and missing:
        reason = f"{missing[0]} has none (controls.full_fine_tuning)"
        if chosen is not None:
            raise UserError(f"--baseline full: {reason}", hint="leave it out")
        note(f"no row for {FULL}: {reason}")
        rows.remove("full")
    return rows


def make_rows(
    names: Sequence[str],
    runs: Sequence[FinishedRun],
    offers: Callable[[Any], Offer],
    smallest_pool: int,
    *,
    variants: bool,
) -> InstructionRows:
    """Return every pass, all rows of a run together: they share its model.

    `offers` gives an instruction's offer by its query; no more prompts than `smallest_pool` are shown.
    """
    from personakit.evaluation.candidates import Candidate

    m = runs[0].settings.matcher.m
    most = min(m + BEYOND, smallest_pool)
    numbers = [number for number in range(1, most + 1) if number != m]
    curves = [name for name in CURVES if name in names] if variants else []
    by_number = {
        ROWS[name]: {0: ALONE, m: ROWS[name]} | {n: f"{ROWS[name]}, m={n}" for n in numbers}
        for name in curves
    }
    orders = {order: (f"{METHOD}, {order}", METHOD) for order in ORDERS} if variants and m > 1 else {}
    candidates, others = [], []
    for run in runs:

        def candidate(label: str, open_: Callable[[], Personalizer], run: FinishedRun = run) -> Candidate:
            return Candidate(label, open_, seed=run.seed, run=str(run.folder))

        for name in names:
            number = 0 if name in ("alone", "full") else m
            candidates.append(candidate(ROWS[name], partial(_open, run, name, number, offers)))
        for name in curves:
            for number in numbers:
                label = by_number[ROWS[name]][number]
                others.append(candidate(label, partial(_open, run, name, number, offers)))
        for order, (label, _) in orders.items():
            others.append(candidate(label, partial(_open, run, "pillow", m, offers, ORDERS[order])))
    return InstructionRows(candidates, others, by_number, orders)


def training_of(labels: Sequence[str], computes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what each row's training took, as the runs' `compute` says, averaged over runs.

    Stages add up in operations and seconds; of bytes and memory the largest counts: they follow each other.
    """
    return [
        {
            "method": label,
            "flops": _mean([_of(compute, label, "flops", sum) for compute in computes]),
            "gradient_optimizer_bytes": _mean([_of(compute, label, "bytes", max) for compute in computes]),
            "peak_bytes": _mean([_of(compute, label, "peak_bytes", max) for compute in computes]),
            "seconds": _mean([_of(compute, label, "seconds", sum) for compute in computes]),
        }
        for label in labels
    ]


def prices_of(training: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what share of full fine-tuning's bytes and operations PILLOW's training takes."""
    rows = {row["method"]: row for row in training}
    one, other = rows.get(METHOD), rows.get(FULL)
    if one is None or other is None or not other["gradient_optimizer_bytes"]:
        return []
    if one["gradient_optimizer_bytes"] is None:
        return []
    flops = one["flops"] / other["flops"] if one["flops"] and other["flops"] else None
    return [
        {
            "method": METHOD,
            "against": FULL,
            "bytes": round(one["gradient_optimizer_bytes"] / other["gradient_optimizer_bytes"], 6),
            "flops": None if flops is None else round(flops, 6),
        }
    ]


def _open(
    run: FinishedRun, name: str, m: int, offers: Callable[[Any], Offer], order: Order | None = None
) -> Personalizer:
    from personakit.methods import open_prompted

    return open_prompted(run, name, m, lambda query, profile: offers(query), order=order)


def _of(compute: Mapping[str, Any], label: str, name: str, join: Callable[[Any], float]) -> float | None:
    stages = [compute.get(stage) for stage in STAGES.get(label, _TUNED)]
    if any(stage is None for stage in stages):
        return None
    values = [_value(stage, name) for stage in stages if stage is not None]
    known = [value for value in values if value is not None]
    return float(join(known)) if len(known) == len(values) or (join is max and known) else None


def _value(stage: Mapping[str, Any], name: str) -> float | None:
    if name == "bytes":
        if "gradient_bytes" not in stage:
            return None
        return float(stage["gradient_bytes"] + stage["optimizer_bytes"])
    value = stage.get(name)
    return None if value is None else float(value)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) and known else None
