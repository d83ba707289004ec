"""Which rows stand in the table of `personakit eval preference`, and what they are set against."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from personakit.cli.output import note
from personakit.errors import UserError
from personakit.evaluation.candidates import Candidate

if TYPE_CHECKING:
    from personakit.evaluation.preferences import Contender
    from personakit.evaluation.results import Claims
    from personakit.methods import FinishedRun

METHOD = "POPI"
BASE, POPULATION, LORA = "base, no summary", "population DPO", "a LoRA per user"
HISTORY, RECENT, BM25 = "raw history", "raw history, cut, newest", "raw history, cut, BM25"
PROMPTED, FROZEN = "prompted summary", "POPI, frozen generator"
OTHER, ORACLE = "POPI, another user's summary", "oracle persona"
LENGTH, LOOKUP = "length alone", "persona looked up"

WITH_SUMMARY = ", POPI's summary"

#: The rows by the names `--baseline` takes, in the table's order; POPI itself is always there.
ROWS = {
    "base": BASE,
    "length": LENGTH,
    "persona-lookup": LOOKUP,
    "population": POPULATION,
    "lora-per-user": LORA,
    "history": HISTORY,
    "history-recent": RECENT,
    "history-bm25": BM25,
    "prompted": PROMPTED,
    "frozen-generator": FROZEN,
    "popi": METHOD,
    "other": OTHER,
    "oracle": ORACLE,
}


#: Rows that no model is behind: they write no answers.
HEURISTICS = {"length": LENGTH, "persona-lookup": LOOKUP}


@dataclass(frozen=True)
class PreferenceComparison:
    """The candidates in the table's order; `bases` are frozen models that are given POPI's summaries."""

    candidates: Sequence[Candidate]
    rows: Sequence[str]
    bases: Sequence[str] = ()

    @property
    def labels(self) -> list[str]:
        """The rows' labels."""
        return list(dict.fromkeys(candidate.method for candidate in self.candidates))

    @property
    def zero(self) -> str:
        """The row that knows nothing of the user: gains are measured from it."""
        return POPULATION if "population" in self.rows else BASE

    def claims(self) -> Claims:
        """What the table is asked beside its rows."""
        from personakit.evaluation.results import Claims

        moved = {base: (with_summary(base), without_summary(base)) for base in self.bases}
        others = [label for label in self.labels if label != METHOD]
        return Claims(
            compared=[
                *((METHOD, label) for label in others if label not in sum(moved.values(), ())),
                *moved.values(),
            ],
            wrong_user=[(METHOD, OTHER, self.zero)],
            gaps=[
                (label, self.zero, ORACLE)
                for label in (LORA, HISTORY, RECENT, BM25, PROMPTED, FROZEN, METHOD)
            ],
            transfers={base: (*pair, METHOD, self.zero) for base, pair in moved.items()},
        )


def with_summary(base: str) -> str:
    """Return the label of a frozen model that is given POPI's summaries."""
    return base + WITH_SUMMARY


def without_summary(base: str) -> str:
    """Return the label of a frozen model that is told nothing."""
    return f"{base}, no summary"


def choose_rows(
    chosen: Sequence[str] | None,
    runs: Sequence[FinishedRun],
    *,
    users: int,
    personas: Mapping[str, str],
    trained: Collection[str],
    per_user: bool = True,
) -> list[str]:
    """Return the names of the rows to run: those asked for, or all that the data and the runs allow.

    `personas` are the users', `trained` those of training. Without `per_user` the costly one, which trains
    for every user, has to be asked for.
    """
    unknown = set(chosen or ()) - ROWS.keys()
    if unknown:
        raise UserError(f'unknown --baseline "{min(unknown)}"', hint=f"there is {', '.join(ROWS)}")
    rows = []
    for name in ROWS:
        if chosen is not None and name not in chosen and name != "popi":
            continue
        if chosen is None and name == "lora-per-user" and not per_user:
            continue
        reason = _why_not(name, runs, users=users, personas=personas, trained=trained)
        if reason is None:
            rows.append(name)
        elif chosen is not None:
            raise UserError(f"--baseline {name}: {reason}", hint="leave it out")
        else:
            note(f"no row for {ROWS[name]}: {reason}")
    return rows


def _why_not(
    name: str,
    runs: Sequence[FinishedRun],
    *,
    users: int,
    personas: Mapping[str, str],
    trained: Collection[str],
) -> str | None:
    """Why a row cannot be run here; None where it can."""
    from personakit.methods import popi_lacks

    if name == "other" and users < 2:
        return "there is only one user"
    if name == "oracle" and not personas:
        return "the data says nothing of its users' personas"
    if name == "persona-lookup" and not set(trained) & set(personas.values()):
        return "no persona of training is met again"
    for run in runs:
        lacks = popi_lacks(run, name)
        if lacks is not None:
            return lacks
    return None


def make_comparison(
    rows: Sequence[str],
    runs: Sequence[FinishedRun],
    data: str,
    personas: Mapping[str, str],
    bases: Sequence[str],
) -> PreferenceComparison:
    """Say how each row is opened; several runs are one row with several seeds. Nothing is loaded yet."""
    from personakit.cli.comparison import check_comparable

    check_comparable(runs)
    trained = {"population", "frozen-generator", "popi", "other", "oracle"}
    candidates: list[Candidate] = []
    for name in rows:
        # Rows without training are the same whatever the seed.
        some = runs if name in trained else runs[:1]
        candidates += [
            Candidate(
                ROWS[name],
                partial(_open_heuristic, run, name, data, personas)
                if name in HEURISTICS
                else partial(_open, run, name, personas),
                profiles="other" if name == "other" else "own",
                seed=run.seed if name in trained else None,
                run=str(run.folder),
            )
            for run in some
        ]
    for base in bases:
        candidates += _behind(base, runs)
    return PreferenceComparison(candidates, rows, bases)


def with_black_boxes(
    comparison: PreferenceComparison, runs: Sequence[FinishedRun], black_boxes: Sequence[str]
) -> list[Candidate]:
    """Return the candidates that answer: all that are scored, and models that only answer."""
    return [
        *(each for each in comparison.candidates if each.method not in HEURISTICS.values()),
        *(candidate for base in black_boxes for candidate in _behind(base, runs)),
    ]


def opponents(candidates: Sequence[Candidate], zero: str) -> dict[str, str]:
    """Return the row that each row's answers are set against: the one that knows nothing of the user."""
    labels = [candidate.method for candidate in candidates]
    found = {label: zero for label in labels if label in ROWS.values() and label != zero}
    for label in labels:
        base = label.removesuffix(WITH_SUMMARY)
        if base != label and without_summary(base) in labels:
            found[label] = without_summary(base)
    return found


def _behind(base: str, runs: Sequence[FinishedRun]) -> list[Candidate]:
    """A frozen model without and with POPI's summaries."""
    alone = Candidate(without_summary(base), partial(_open_base, runs[0], base, told=False))
    return [
        alone,
        *(
            Candidate(
                with_summary(base),
                partial(_open_base, run, base, told=True),
                seed=run.seed,
                run=str(run.folder),
            )
            for run in runs
        ),
    ]


def _open(run: FinishedRun, name: str, personas: Mapping[str, str]) -> Contender:
    from personakit.methods import open_popi

    return open_popi(run.folder).judged(name, personas)


def _open_heuristic(run: FinishedRun, name: str, data: str, personas: Mapping[str, str]) -> Contender:
    from personakit.methods import open_heuristic

    contender: Contender = open_heuristic(name, data, personas, run.settings.joint.beta)
    return contender


def _open_base(run: FinishedRun, base: str, *, told: bool) -> Any:
    from personakit.methods import open_base, open_popi

    return open_popi(run.folder).judged_on(open_base(base), told=told)
