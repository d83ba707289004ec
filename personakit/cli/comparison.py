"""Which rows stand in an evaluation's table, and which of them are set against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personakit.cli.output import note
from personakit.errors import UserError
from personakit.evaluation.candidates import Candidate
from personakit.methods import METHODS, TUNED_CONTEXT
from personakit.methods import REWRITERS as REWRITER_FOLDERS
from personakit.plugins import BASELINES as PLUGIN_METHODS
from personakit.plugins import plugin_names

if TYPE_CHECKING:
    from personakit.data.store import ExampleStore
    from personakit.evaluation.results import Claims
    from personakit.methods import FinishedRun, Surroundings

GENERIC, COPY, MAJORITY = "generic", "copy the input", "majority class"
PROFILE, CONTEXT = "profile mode or mean", "context injection"
MEMORY = "memory (facts extracted once)"
TUNED, ORACLE = "context injection, fine-tuned", "oracle"
METHOD, EMPTY, OTHER = "RPO", "RPO, empty history", "RPO, another user's history"
SFT, CONTINUED, PLAIN = "RPO, SFT only", "RPO, SFT continued", "RPO, no curriculum"

#: Other trainings of the same rewriter, by the names `methods.open_run` takes.
REWRITERS = {"sft": SFT, "sft-continued": CONTINUED, "no-curriculum": PLAIN}

#: The rows by the names `--baseline` takes, in the table's order; the method itself is always there.
ROWS = {
    "generic": GENERIC,
    "copy": COPY,
    "majority": MAJORITY,
    "profile": PROFILE,
    "context": CONTEXT,
    "memory": MEMORY,
    "context-tuned": TUNED,
    "sft": SFT,
    "sft-continued": CONTINUED,
    "no-curriculum": PLAIN,
    "empty": EMPTY,
    "other": OTHER,
    "oracle": ORACLE,
}


#: Rows that are run only where `--baseline` names them, and why.
ONLY_IF_ASKED = {"memory": "it asks the base several times a user: name it with --baseline"}

Examples = Mapping[str, "ExampleStore"]
"""The examples of one evaluation by task."""


@dataclass(frozen=True)
class Comparison:
    """The candidates of one evaluation, in the table's order, and the bases the method never saw."""

    candidates: Sequence[Candidate]
    unseen: Sequence[str] = ()
    method: str = METHOD
    beside: Sequence[str] = ()
    """Rows of other methods, and of installed packages."""

    @property
    def labels(self) -> list[str]:
        """The rows' labels."""
        return list(dict.fromkeys(candidate.method for candidate in self.candidates))

    def claims(self) -> Claims:
        """What the table is asked beside its rows."""
        from personakit.evaluation.results import Claims

        against = (GENERIC, COPY, MAJORITY, PROFILE, CONTEXT, MEMORY, TUNED, *REWRITERS.values())
        method = self.method
        moved = {base: (behind(method, base), behind(GENERIC, base)) for base in self.unseen}
        return Claims(
            compared=[
                *((method, other) for other in against),
                *((PLAIN, other) for other in (SFT, CONTINUED)),  # what RL is worth without the curriculum
                *moved.values(),
                *((label, other) for label in self.beside for other in (GENERIC, CONTEXT, TUNED)),
                *((method, label) for label in self.beside),
            ],
            wrong_user=[
                (label, named(OTHER, label), named(EMPTY, label)) for label in (method, *self.beside)
            ],
            gaps=[(row, GENERIC, ORACLE) for row in (CONTEXT, MEMORY, TUNED, *REWRITERS.values(), method)],
            transfers={base: (*pair, method, GENERIC) for base, pair in moved.items()},
        )


def named(label: str, method: str) -> str:
    """Return the label of a row of RPO's as it is for another method."""
    return method + label.removeprefix(METHOD) if label.startswith(METHOD) else label


def behind(label: str, base: str) -> str:
    """Return the label of a row with another base than the run's."""
    return f"{label}, {base}"


def choose_rows(
    chosen: Sequence[str] | None, runs: Sequence[FinishedRun], examples: Examples, around: Surroundings
) -> list[str]:
    """Return the names of the rows to run: those asked for, or all that this data and these runs allow."""
    if chosen is not None and "all" in chosen:
        chosen = [*choose_rows(None, runs, examples, around), *(name for name in chosen if name != "all")]
    names = (*ROWS, *plugin_names(PLUGIN_METHODS))
    unknown = set(chosen or ()).difference(names)
    if unknown:
        raise UserError(f'unknown --baseline "{min(unknown)}"', hint=f"there is {', '.join(names)}, and all")
    rows = []
    for name in ROWS if chosen is None else chosen:
        reason = _why_not(name, runs, examples, around)
        if reason is None and chosen is None and name in ONLY_IF_ASKED:
            reason = ONLY_IF_ASKED[name]
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
    if name in ("empty", "other", "context-tuned", *REWRITERS) and not runs:
        return "there is no run"
    if name == "other" and any(len(set(store.user_ids)) < 2 for store in examples.values()):
        return "there is only one user"
    if name == "context-tuned" and any(run.path(TUNED_CONTEXT) is None for run in runs):
        return "none was trained beside the run (controls.fine_tuned_context_injection)"
    if name in REWRITERS and any(run.path(REWRITER_FOLDERS.get(name, "")) is None for run in runs):
        return "none was trained beside the run (stages, controls)"
    if name == "majority" and not labelled:
        return "no task has classes"
    if name in ("majority", "profile") and not all(around.train_golds.get(task) for task in labelled):
        return "the data has no training split whose answers could be counted"
    if name == "oracle" and not around.oracle:
        return "the data tells nothing of its users' traits"
    return None


def make_comparison(
    rows: Sequence[str],
    runs: Sequence[FinishedRun],
    around: Surroundings,
    unseen: Sequence[str] = (),
    beside: Sequence[FinishedRun] = (),
) -> Comparison:
    """Say how each row's Personalizer is opened; several runs are one row with several seeds.

    Each base in `unseen` adds its generic row, and the method's behind it; runs of other methods `beside`
    add theirs, with the controls of the history that the method has. Nothing is loaded yet; raises
    `UserError` where a model that a row asks is not there.
    """
    from personakit.methods import BASELINES, open_baseline, open_tuned_context

    check_comparable(runs)
    _check_models(rows, runs, around, unseen)
    method = METHODS[runs[0].method].label if runs else METHOD
    candidates: list[Candidate] = []
    for name, row in ROWS.items():
        label = named(row, method)
        if name == "sft":  # the method stands above its own controls
            candidates += _of_runs(method, runs, base=around.base)
        if name not in rows and not (name == "generic" and unseen):  # a share of a gain needs the gain
            continue
        if name in BASELINES:
            candidates.append(Candidate(label, partial(open_baseline, name, around)))
        elif name == "context-tuned":
            candidates += [
                Candidate(label, partial(open_tuned_context, run), seed=run.seed, run=str(run.folder))
                for run in runs
            ]
        elif name in REWRITERS:
            candidates += _of_runs(label, runs, base=around.base, rewriter=name)
        elif name == "empty":
            alone = _of_runs(label, runs, base=around.base, rewrite_without_history=True)
            candidates += [replace(candidate, profiles="empty") for candidate in alone]
        else:
            candidates += [
                replace(candidate, method=label, profiles="other")
                for candidate in candidates
                if candidate.method == method
            ]
    for base in unseen:
        generic = partial(open_baseline, "generic", replace(around, base=base))
        candidates.append(Candidate(behind(GENERIC, base), generic))
        candidates += _of_runs(behind(method, base), runs, base=base)
    others = [name for name in rows if name not in ROWS]
    candidates += [Candidate(name, partial(open_baseline, name, around)) for name in others]
    for kind in METHODS:
        some = [run for run in beside if run.method == kind]
        check_comparable(some)
        if some:
            label = METHODS[kind].label
            others.append(label)
            candidates += _with_controls(label, some, rows)
    if not candidates:
        raise UserError("nothing to evaluate: neither a run nor a baseline", hint="personakit train rpo")
    return Comparison(candidates, unseen, method, others)


def _with_controls(label: str, runs: Sequence[FinishedRun], rows: Sequence[str]) -> list[Candidate]:
    """The rows of a method that stands beside the first: with the user's history, none, another user's."""
    own = _of_runs(label, runs)
    found = list(own)
    for name, row, profiles in (("empty", EMPTY, "empty"), ("other", OTHER, "other")):
        if name in rows:
            found += [replace(one, method=named(row, label), profiles=profiles) for one in own]
    return found


def _of_runs(label: str, runs: Sequence[FinishedRun], **how: Any) -> list[Candidate]:
    """Each run opened in one way: one candidate a seed, under one label."""
    from personakit.methods import open_run

    return [
        Candidate(label, partial(open_run, run, **how), seed=run.seed, run=str(run.folder)) for run in runs
    ]


def _check_models(
    rows: Sequence[str], runs: Sequence[FinishedRun], around: Surroundings, unseen: Sequence[str]
) -> None:
    """Raise `UserError` now where a row would ask a model that is not there, hours before its turn."""
    from personakit.models.open import check_model

    names = [around.base, *unseen] if runs or {"generic", "context", "memory"} & set(rows) else []
    for run in runs:
        places = METHODS[run.method].models(run)
        wanted = [folder for name, folder in REWRITER_FOLDERS.items() if name in rows]
        wanted += [TUNED_CONTEXT] if "context-tuned" in rows else []
        places += [place for folder in wanted if (place := run.path(folder)) is not None]
        names += map(str, places)
    for name in dict.fromkeys(names):
        check_model(name)


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


def check_comparable(runs: Sequence[FinishedRun]) -> None:
    """Raise `UserError` where runs differ in more than their seed: they are no row together."""
    for run in runs[1:]:
        one, other = replace(runs[0].settings, seed=0), replace(run.settings, seed=0)
        if one != other:
            raise UserError(
                f"{runs[0].folder} and {run.folder} were trained with different settings",
                hint="runs that differ in their seed only are one row; evaluate the others by themselves",
            )
