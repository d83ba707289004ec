"""What a suite is: it names its rows, loads its examples, answers, declares comparisons and checks for leaks.

`run.py` runs every suite through the same pipeline. A new suite is a subclass of `Suite` in a file of its
own and one line in `suites/__init__.py`; the command `personakit eval NAME` follows from its `name`, its
docstring and its `options`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from personakit.errors import UserError
from personakit.evaluation.candidates import Candidate, Profiles
from personakit.evaluation.judge import VERDICT_TOKENS
from personakit.evaluation.leaks import Leak
from personakit.evaluation.runner import Answering
from personakit.evaluation.sections import Section
from personakit.methods import FinishedRun
from personakit.models.cost import CostEstimate
from personakit.records import Example
from personakit.suites.passes import PassRunner

if TYPE_CHECKING:
    from personakit.evaluation.measurements import Costs, TaskMetrics
    from personakit.evaluation.results import Claims

#: Options that every suite takes.
COMMON = (
    *("runs", "baselines", "data", "split", "limit", "curves"),
    *("seed", "output", "resume", "dry_run", "strict"),
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """One evaluation, as asked for; `cli/eval.py` has the help text of each option."""

    runs: Sequence[Path] = ()
    no_run: bool = False
    bases: Sequence[str] = ()
    baselines: Sequence[str] = ()
    data: str | None = None
    tasks: Sequence[str] = ()
    split: str = "dev"
    limit: int | None = None
    seed: int = 0
    output: Path | None = None
    resume: bool = False
    dry_run: bool = False
    strict: bool = False
    curves: Sequence[str] = ()
    sample_ids: Sequence[str] = ()
    concurrency: int | None = None
    max_new_tokens: int | None = None
    max_edit: float | None = None
    published: str | None = None
    judge: str | None = None
    judge_tokens: int = VERDICT_TOKENS
    per_user: bool = True
    variants: bool = True


@dataclass(kw_only=True)
class World:
    """What a suite has loaded for one evaluation.

    `examples` and `facts` are keyed by task. `zero` is the label of the row that knows nothing about the
    user, `users_are` what the resampled units are called. `models` are the names of all models that rows
    will open, `fingerprints` those of the data.
    """

    options: Options
    runs: Sequence[Any]
    data: str
    examples: Mapping[str, Sequence[Example]]
    facts: Mapping[str, TaskMetrics]
    fingerprints: Mapping[str, str]
    zero: str
    users_are: str = "users"
    base: str = ""
    unseen_bases: Sequence[str] = ()
    requests_at_once: int = 1


def allowed(world: Any) -> str | None:
    """Return no objection: the row is always possible."""
    return None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of the table.

    `name` is what `--baseline` takes; rows without a name, and `required` ones, are always there. `open` gets
    the world and, for a trained row, one of `runs` (None: all of the world's) at a time. `profiles` says
    whose history the row gets, and `items` how many of its newest items. `why_not` says why the row is
    impossible, or None; `only_if_named` why it is not among the default rows (empty: without a note).
    `curves` are the kinds of curves that the row is drawn in. `aliases` are further names for `--baseline`.
    """

    label: str
    open: Callable[[Any, Any], Any]
    name: str = ""
    trained: bool = False
    profiles: Profiles = "own"
    items: int | None = None
    why_not: Callable[[Any], str | None] = allowed
    only_if_named: str | None = None
    required: bool = False
    runs: Sequence[FinishedRun] | None = None
    curves: Sequence[str] = ()
    aliases: Sequence[str] = ()

    def candidates(self, world: World) -> list[Candidate]:
        """Return one candidate, or one per run where the row is trained."""
        runs: Sequence[FinishedRun | None] = [None]
        if self.trained:
            runs = world.runs if self.runs is None else self.runs
        return [
            Candidate(
                self.label,
                partial(self.open, world, run),
                self.profiles,
                None if run is None else run.seed,
                None if run is None else str(run.folder),
                self.items,
            )
            for run in runs
        ]


class Suite(ABC):
    """One kind of evaluation; the docstring of a subclass is the help text of its command."""

    name: ClassVar[str]
    options: ClassVar[Sequence[str]] = COMMON
    help_of: ClassVar[Mapping[str, str]] = {}
    """Help texts of options that differ from the common ones."""
    curve_places: ClassVar[Mapping[str, Sequence[int]]] = {"history": (0, 1, 2, 4, 8, 16)}
    """The curves that can be measured, and the places on their axis."""
    predictions: ClassVar[bool] = False
    """Whether answers are written as prediction files in LaMP's format."""
    scores_files: ClassVar[bool] = False
    """Whether the command also scores prediction files made elsewhere."""
    by_run: ClassVar[bool] = False
    """Whether all rows of one run follow each other, because they share its model."""

    @abstractmethod
    def load(self, options: Options, note: Callable[[str], None]) -> World:
        """Read runs and data; raises `UserError` for what cannot be evaluated."""

    @abstractmethod
    def rows(self, world: Any) -> Sequence[Row]:
        """Return all rows that there may be, in the table's order."""

    @abstractmethod
    def answering(self, world: Any) -> Answering:
        """Return what makes scored samples from examples."""

    @abstractmethod
    def claims(self, world: Any, labels: Sequence[str]) -> Claims:
        """Return the comparisons between the rows with these labels."""

    @abstractmethod
    def leaks(self, world: Any) -> list[Leak]:
        """Return what would make a score too good to be true."""

    @abstractmethod
    def sections(self, results: Mapping[str, Any], costs: Mapping[str, Costs]) -> list[Section]:
        """Return the sections of the report, from the results alone."""

    def check_rows(self, world: Any, rows: Sequence[Row]) -> None:  # noqa: B027 (optional)
        """Raise `UserError` for a model that a row needs and that is not there, before anything runs."""

    def at(self, world: Any, row: Row, kind: str, place: int) -> Row:
        """Return a row at a place of a curve."""
        return replace(row, items=place)

    def made_by(self, world: Any, rows: Sequence[Row]) -> dict[str, Any]:
        """Return what the results depend on beyond the common parts."""
        return {}

    def known(self, world: Any, rows: Sequence[Row]) -> dict[str, Any]:
        """Return further keys of the results that need no answers; partial results have them too."""
        return {}

    def further(
        self, world: Any, rows: Sequence[Row], passes: PassRunner, log: Path, results: dict[str, Any]
    ) -> Path:
        """Run passes beyond the table's rows, add what they show to `results`; return the log to score.

        `log` is that of the rows. What was added before a failure is in the partial results.
        """
        return log

    def notes(self, results: Mapping[str, Any]) -> list[str]:
        """Return sentences for the findings; partial results lack what `further` adds."""
        return []

    def plan(self, world: Any, rows: Sequence[Row]) -> dict[str, Any]:
        """Return what `--dry-run` shows beyond rows and the number of queries."""
        return {}

    def requests(self, world: Any, rows: Sequence[Row]) -> list[CostEstimate]:
        """Estimate the requests to models behind an API, and their price."""
        return []

    def warnings(self, world: Any) -> list[str]:
        """Return what a reader must know about the data, a sentence each."""
        return []

    def shown(self, results: Mapping[str, Any]) -> list[str] | None:
        """Return the rows whose samples the page shows; None for all but the zero row."""
        return None

    @property
    def row_names(self) -> Sequence[str]:
        """What `--baseline` takes, for its help text."""
        return ()

    @property
    def help(self) -> str:
        """The help text of the command."""
        return str(type(self).__doc__)


def choose_rows(suite: Suite, world: World, named: Sequence[str], note: Callable[[str], None]) -> list[Row]:
    """Return the rows to run: those named with `--baseline`, or all that data and runs allow.

    `all` stands for the default rows. Raises `UserError` for an unknown or impossible name.
    """
    rows = suite.rows(world)
    alias = {other: row.name for row in rows for other in row.aliases}
    named = [alias.get(name, name) for name in named]
    names = list(dict.fromkeys(row.name for row in rows if row.name))
    unknown = set(named) - {*names, "all"}
    if unknown & set(suite.row_names):
        name = min(unknown & set(suite.row_names))
        raise UserError(f"--baseline {name}: there is no run for it", hint="leave it out")
    if unknown:
        raise UserError(f'unknown --baseline "{min(unknown)}"', hint=f"there is {', '.join(names)}, and all")
    defaults = not named or "all" in named
    chosen = []
    for row in rows:
        if not row.name or row.required:
            chosen.append(row)
            continue
        if row.name not in named and not defaults:
            continue
        reason = row.why_not(world)
        if reason is not None and row.name in named:
            raise UserError(f"--baseline {row.name}: {reason}", hint="leave it out")
        if reason is None and row.name not in named:
            reason = row.only_if_named
        if reason is None:
            chosen.append(row)
        elif reason:
            note(f"no row for {row.label}: {reason}")
    if not chosen:
        raise UserError("nothing to evaluate: neither a run nor a baseline", hint="name one with --baseline")
    return chosen


def check_comparable(runs: Sequence[FinishedRun]) -> None:
    """Raise `UserError` where runs of one method differ in more than their seed: they are not one row."""
    for run in runs[1:]:
        if replace(runs[0].settings, seed=0) != replace(run.settings, seed=0):
            raise UserError(
                f"{runs[0].folder} and {run.folder} were trained with different settings",
                hint="runs that differ in their seed only are one row; evaluate the others separately",
            )
