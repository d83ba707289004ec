"""Which rows stand in an evaluation's table, and which of them are set against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from personakit.cli.output import note
from personakit.errors import UserError
from personakit.evaluation.candidates import Candidate

if TYPE_CHECKING:
    from personakit.data.store import ExampleStore
    from personakit.evaluation.results import Claims
    from personakit.methods import FinishedRun, Surroundings

GENERIC, COPY, MAJORITY = "generic", "copy the input", "majority class"
PROFILE, CONTEXT = "profile mode or mean", "context injection"
TUNED, ORACLE = "context injection, fine-tuned", "oracle"
METHOD, EMPTY, OTHER = "RPO", "RPO, empty history", "RPO, another user's history"

#: The rows by the names `--baseline` takes, in the table's order; the method itself is always there.
ROWS = {
    "generic": GENERIC,
    "copy": COPY,
    "majority": MAJORITY,
    "profile": PROFILE,
    "context": CONTEXT,
    "context-tuned": TUNED,
    "empty": EMPTY,
    "other": OTHER,
    "oracle": ORACLE,
}


Examples = Mapping[str, "ExampleStore"]
"""The examples of one evaluation by task."""


@dataclass(frozen=True)
class Comparison:
    """The candidates of one evaluation, in the table's order."""

    candidates: Sequence[Candidate]

    @property
    def labels(self) -> list[str]:
        """The rows' labels."""
        return list(dict.fromkeys(candidate.method for candidate in self.candidates))

    def claims(self) -> Claims:
        """What the table is asked beside its rows."""
        from personakit.evaluation.results import Claims

        against = (GENERIC, COPY, MAJORITY, PROFILE, CONTEXT, TUNED)
        return Claims(
            compared=[(METHOD, other) for other in against],
            wrong_user=[(METHOD, OTHER, EMPTY)],
            gaps=[(method, GENERIC, ORACLE) for method in (CONTEXT, TUNED, METHOD)],
        )


def choose_rows(
    chosen: Sequence[str] | None, runs: Sequence[FinishedRun], examples: Examples, around: Surroundings
) -> list[str]:
    """Return the names of the rows to run: those asked for, or all that this data and these runs allow."""
    unknown = set(chosen or ()) - ROWS.keys()
    if unknown:
        raise UserError(f'unknown --baseline "{min(unknown)}"', hint=f"there is {', '.join(ROWS)}")
    rows = []
    for name in ROWS if chosen is None else chosen:
        reason = _why_not(name, runs, examples, around)
        if reason is None:
            rows.append(name)
        elif chosen is not None:
            raise UserError(f"--baseline {name}: {reason}", hint="leave it out")
        else:
            note(f"no row for {ROWS[name]}: {reason}")
    return rows


def _why_not(name: str, runs: Sequence[FinishedRun], examples: Examples, around: Surroundings) -> str | None:
    """Why a row cannot be run here; None where it can."""
    from personakit.tasks import get_task

    labelled = [task for task in examples if get_task(task).labels]
    if name in ("empty", "other", "context-tuned") and not runs:
        return "there is no run"
    if name == "other" and any(len(set(store.user_ids)) < 2 for store in examples.values()):
        return "there is only one user"
    if name == "context-tuned" and any(run.tuned_context is None for run in runs):
        return "none was trained beside the run (controls.fine_tuned_context_injection)"
    if name == "majority" and not labelled:
        return "no task has classes"
    if name in ("majority", "profile") and not all(around.train_golds.get(task) for task in labelled):
        return "the data has no training split whose answers could be counted"
    if name == "oracle" and not around.oracle:
        return "the data tells nothing of its users' traits"
    return None


def make_comparison(rows: Sequence[str], runs: Sequence[FinishedRun], around: Surroundings) -> Comparison:
    """Open every row's Personalizer; several runs are one row with several seeds."""
    from personakit.methods import BASELINES, open_baseline, open_run, open_tuned_context

    _check_comparable(runs)
    candidates: list[Candidate] = []
    for name, label in ROWS.items():
        if name == "empty":  # the method stands above its own controls
            candidates += [
                Candidate(METHOD, open_run(run.folder, base=around.base), seed=run.seed, run=str(run.folder))
                for run in runs
            ]
        if name not in rows:
            continue
        if name in BASELINES:
            candidates.append(Candidate(label, open_baseline(name, around)))
        elif name == "context-tuned":
            candidates += [
                Candidate(label, open_tuned_context(run), seed=run.seed, run=str(run.folder)) for run in runs
            ]
        elif name == "empty":
            candidates += [
                Candidate(
                    label,
                    open_run(run.folder, base=around.base, rewrite_without_history=True),
                    profiles="empty",
                    seed=run.seed,
                    run=str(run.folder),
                )
                for run in runs
            ]
        else:
            candidates += [
                replace(candidate, method=label, profiles="other")
                for candidate in candidates
                if candidate.method == METHOD
            ]
    if not candidates:
        raise UserError("nothing to evaluate: neither a run nor a baseline", hint="personakit train rpo")
    return Comparison(candidates)


def oracle_answers(examples: Examples) -> dict[str, str]:
    """The oracle's answer to each query; empty where the data has no sidecar."""
    return {
        id: str(traits["oracle"])
        for store in examples.values()
        for id in store.query_ids
        if (traits := store.traits(id)) is not None and "oracle" in traits
    }


def train_golds(data: str | Path, tasks: Sequence[str]) -> dict[str, list[str]]:
    """The golds of the training split of each task that has one."""
    from personakit.data import available, open_examples

    there = set(available(data))
    return {
        task: [gold for gold in open_examples(data, task, "train").golds if gold is not None]
        for task in tasks
        if (task, "train") in there
    }


def _check_comparable(runs: Sequence[FinishedRun]) -> None:
    for run in runs[1:]:
        one, other = replace(runs[0].settings, seed=0), replace(run.settings, seed=0)
        if one != other:
            raise UserError(
                f"{runs[0].folder} and {run.folder} were trained with different settings",
                hint="runs that differ in their seed only are one row; evaluate the others by themselves",
            )
