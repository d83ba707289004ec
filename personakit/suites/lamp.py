"""`personakit eval lamp`: LaMP's seven tasks by LaMP's rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from personakit.baselines import ContextInjection, DecodingOptions, Generic, Memory
from personakit.data import available, open_examples
from personakit.data.folders import all_tasks, data_folder, imported_format, take_users_evenly
from personakit.data.lamp_formats import WRITING
from personakit.data.lamp_leaderboard import METRICS, SPLITS, published_rows, recognised_split
from personakit.data.lamp_mini import is_lamp_mini, known_facts
from personakit.errors import UserError
from personakit.evaluation.leaks import Leak, find_leaks
from personakit.evaluation.runner import Answering, answered_and_scored
from personakit.evaluation.sections import Section, Table, Text
from personakit.method import Control
from personakit.methods import (
    METHODS,
    BaselineInputs,
    FinishedRun,
    OpenOptions,
    available_methods,
    baseline_settings,
    newest_run,
    open_baseline,
    open_provider,
    open_run,
    read_run,
)
from personakit.methods.baselines import BASELINES, Baseline, baselines
from personakit.models.cost import CostEstimate, RequestMeter, approximate_token_counter
from personakit.models.open import check_model, endpoint_addresses, is_endpoint
from personakit.rpo.choices import uses_given_text
from personakit.suites.base import COMMON, Options, Row, Suite, World, check_comparable
from personakit.suites.passes import trained_on
from personakit.tasks import Task, get_task
from personakit.tasks.content import entities_and_numbers
from personakit.tasks.predictions import IGNORED_BY_ROUGE
from personakit.tasks.scoring import mostly_ignored_by_rouge

if TYPE_CHECKING:
    from personakit.data.store import ExampleStore
    from personakit.evaluation.measurements import Costs
    from personakit.evaluation.results import Claims

GENERIC, COPY, MAJORITY, ORACLE = "generic", BASELINES["copy"].label, "majority class", "oracle"
CONTEXT = BASELINES["context"].label
EMPTY, OTHER = "empty history", "another user's history"
CHECKED = "content checked"
_PUBLISHED = (
    "Published: LaMP's leaderboard on its {split}-based test split. Other models and other queries than "
    "in the table: a reference, not a comparison."
)


@dataclass(kw_only=True)
class LampWorld(World):
    """Examples of LaMP's tasks, the runs of the method under test and of others, and what baselines need.

    `method` is the label of the method under test, whose controls are in the table; `main` are its runs and
    `others` those of other methods by label. With `given_texts` the drafts are the texts to rewrite: the row
    that copies them is the generic one, and `base` is the model of context injection and memory.
    """

    examples: Mapping[str, ExampleStore]
    tasks: Mapping[str, Task]
    main: Sequence[FinishedRun]
    others: Mapping[str, Sequence[FinishedRun]]
    method: str
    around: BaselineInputs
    published: dict[str, Any] | None
    given_texts: bool = False


class LampSuite(Suite):
    """Evaluate on LaMP's tasks by LaMP's rules.

    Several --run that differ in their seed are one row, with intervals over users and seeds. Writes
    results.json, every sample, prediction files in LaMP's format, and report.html. Work on dev: an
    evaluation on test is recorded in the run.
    """

    name = "lamp"
    options: ClassVar[Sequence[str]] = (
        *COMMON,
        *("no_run", "bases", "tasks", "sample_ids", "concurrency", "max_new_tokens", "max_edit"),
        "published",
    )
    curve_places: ClassVar[Mapping[str, Sequence[int]]] = {
        "history": (0, 1, 2, 4, 8, 16),
        "k": (1, 2, 4, 8, 16),
    }
    predictions = True
    scores_files: ClassVar[bool] = True

    @property
    def row_names(self) -> Sequence[str]:
        """Baselines, the controls of all methods, the content check, and the controls of the history."""
        controls = dict.fromkeys(name for method in available_methods() for name in method.controls)
        return [*BASELINES, *controls, "checked", "empty", "other"]

    def load(self, options: Options, note: Callable[[str], None]) -> LampWorld:
        """Read runs and examples."""
        from personakit.evaluation.measurements import task_metrics
        from personakit.evaluation.style import TaskStyle

        runs = _runs(options)
        by_method: dict[str, list[FinishedRun]] = {}
        for run in sorted(runs, key=_method_order):
            by_method.setdefault(label_of(run), []).append(run)
        for some in by_method.values():
            check_comparable(some)
        method = next(iter(by_method), "")
        main = by_method.pop(method, [])
        data = options.data or (runs[0].data_path if runs else "lamp-mini")
        examples = self._examples(options, data)
        around = _surroundings(options, main, data, examples)
        tasks = {task: get_task(task) for task in examples}
        given_texts = all(uses_given_text(around.settings.draft, task) for task in tasks.values())
        if given_texts and main:
            around = replace(around, base=around.settings.model)
        find_facts = known_facts if is_lamp_mini(data_folder(data)) else entities_and_numbers
        retrieval = around.settings.retrieval
        measured = {
            task: TaskStyle(each, examples[task], open_examples(data, task, options.split), retrieval)
            for task, each in tasks.items()
            if each.kind == "generation"
        }
        styles = {task: style for task, style in measured.items() if style.measurable}
        grouped = any(store.has_derived_user_ids for store in examples.values())
        return LampWorld(
            options=options,
            runs=runs,
            data=data,
            examples=examples,
            facts={task: task_metrics(each, find_facts, styles.get(task)) for task, each in tasks.items()},
            fingerprints={task: store.fingerprint for task, store in examples.items()},
            zero=COPY if given_texts else GENERIC,
            users_are="groups of queries whose profiles share items" if grouped else "users",
            base=around.base,
            unseen_bases=[
                base
                for base in dict.fromkeys(options.bases)
                if (given_texts or base != around.base) and (main or given_texts)
            ],
            requests_at_once=around.settings.endpoint.requests_at_once,
            tasks=tasks,
            main=main,
            others=by_method,
            method=method,
            around=around,
            published=_published(options.published, data, examples),
            given_texts=given_texts,
        )

    def rows(self, world: LampWorld) -> list[Row]:
        """Return baselines, the method with its controls, unseen base models, other methods."""
        method, both = world.method, ("history", "k")
        found = baselines()
        left_out = {"oracle", *(["generic"] if world.given_texts else [])}
        rows = [_baseline_row(name, found[name], world) for name in BASELINES if name not in left_out]
        controls = _controls(world).items()
        if world.main:
            curves = both if hasattr(world.main[0].settings, "retrieval") else ("history",)
            own = [(each, _control_row(name, each, world, curves)) for name, each in controls]
            rows += [row for control, row in own if control.is_baseline]
            rows.append(Row(label=method, open=_open_run, trained=True, runs=world.main, curves=curves))
            rows += [row for control, row in own if not control.is_baseline]
            rows += _history_controls(method, world.main)
        rows += _light_rows(world)
        rows.append(_baseline_row("oracle", found["oracle"], world))
        for base in world.unseen_bases:
            rows.append(Row(label=with_base(GENERIC, base), open=partial(_open_generic, base)))
            if not world.given_texts:
                behind = partial(_open_run, base=base)
                rows.append(Row(label=with_base(method, base), open=behind, trained=True, runs=world.main))
        rows += [_baseline_row(name, found[name], world) for name in found if name not in BASELINES]
        for label, runs in world.others.items():
            rows.append(Row(label=label, open=_open_run, trained=True, runs=runs, curves=("history",)))
            rows += _history_controls(label, runs)
        return rows

    def at(self, world: LampWorld, row: Row, kind: str, place: int) -> Row:
        """Return a row with the newest items of the history, or with another number of retrieved ones."""
        return replace(row, items=place) if kind == "history" else replace(row, open=_WithK(row.open, place))

    def answering(self, world: LampWorld) -> Answering:
        """Respond to each query and score it by its task, and its style where that is measured."""
        from personakit.evaluation.style import with_style

        styles = {task: facts.style for task, facts in world.facts.items() if facts.style is not None}
        return with_style(answered_and_scored(world.tasks), styles)

    def claims(self, world: LampWorld, labels: Sequence[str]) -> Claims:
        """Compare the method with every baseline and control, and other methods with the main baselines."""
        from personakit.evaluation.results import Claims

        method, own = world.method, _controls(world)
        controls = [control.label for control in own.values()]
        tuned = [control.label for control in own.values() if control.is_baseline]
        plugins = [name for name in baselines() if name not in BASELINES and name in labels]
        others = [*plugins, *world.others]
        untrained = [baseline.label for baseline in BASELINES.values() if baseline.label != ORACLE]
        against = (*untrained, *controls)
        rewriting = method if world.given_texts else None
        light = [light_label(method, world.options.max_edit), f"{method}, {CHECKED}"]
        unseen = {
            base: (rewriting or with_base(method, base), with_base(GENERIC, base))
            for base in world.unseen_bases
        }
        return Claims(
            compared=[
                *((method, other) for other in against),
                *((one.label, own[name].label) for one in own.values() for name in one.compared_with),
                *((label, other) for label in light for other in (world.zero, method)),
                *unseen.values(),
                *((label, other) for label in others for other in (world.zero, CONTEXT, *tuned)),
                *((method, label) for label in others),
            ],
            wrong_user=[(label, f"{label}, {OTHER}", f"{label}, {EMPTY}") for label in (method, *others)],
            gaps=[(row, world.zero, ORACLE) for row in (*untrained, *controls, method) if row != world.zero],
            transfers={}
            if world.given_texts
            else {base: (*pair, method, GENERIC) for base, pair in unseen.items()},
        )

    def leaks(self, world: LampWorld) -> list[Leak]:
        """Look for answers and queries in histories, for training users, and for training queries.

        The writer of own texts is in training by design: their newest texts are held out.
        """
        from personakit.data.own.sources import holds_own_texts

        there = set() if holds_own_texts(world.data) else set(available(world.data))
        tasks = [task for task in world.examples if (task, "train") in there]
        training = {task: open_examples(world.data, task, "train") for task in tasks}
        return find_leaks(world.examples, training, trained_on(world.runs)[0])

    def check_rows(self, world: LampWorld, rows: Sequence[Row]) -> None:
        """Raise `UserError` now where a row needs a model that is not there."""
        names = {row.name for row in rows}
        models: list[str] = []
        if (world.main and not world.given_texts) or {"generic", "context", "memory"} & names:
            models.append(world.base)
        models += world.unseen_bases
        for run in world.runs:
            models += map(str, METHODS[run.method].models(run))
            if run in world.main:
                controls = _controls(world)
                models += [str(run.path(controls[name].folder)) for name in controls if name in names]
        for model in dict.fromkeys(models):
            check_model(model)

    def made_by(self, world: LampWorld, rows: Sequence[Row]) -> dict[str, Any]:
        """Record where models behind an API are."""
        addresses = endpoint_addresses([world.base, *world.unseen_bases])
        chosen = {name: getattr(world.options, name) for name in ("max_new_tokens", "max_edit")}
        return ({"endpoints": addresses} if addresses else {}) | {
            name: value for name, value in chosen.items() if value is not None
        }

    def known(self, world: LampWorld, rows: Sequence[Row]) -> dict[str, Any]:
        """Return the published figures of the data set, where it is recognised."""
        return {"published_lamp": world.published} if world.published else {}

    def requests(self, world: LampWorld, rows: Sequence[Row]) -> list[CostEstimate]:
        """Estimate the requests to base models behind an API.

        Every rewriting row starts from the generic answers, which are cached: only the generic row, context
        injection and memory cost requests.
        """
        settings, names = world.around.settings, {row.name for row in rows}
        decoding = DecodingOptions(settings.decoding.max_new_tokens)
        tokens = settings.context_tokens
        estimates = []
        for base in filter(is_endpoint, dict.fromkeys([world.base, *world.unseen_bases])):
            count = approximate_token_counter(str(world.main[0].folder / "model")) if world.main else None
            meter = RequestMeter(base, tokens=count)
            asking: list[tuple[str, Any]] = []
            if base in world.unseen_bases or (world.main and not world.given_texts) or "generic" in names:
                asking.append(("generic answers", Generic(meter, decoding)))
            if base == world.base and "context" in names:
                provider = open_provider(settings)
                asking.append(("context injection", ContextInjection(meter, provider, tokens, decoding)))
            if base == world.base and "memory" in names:
                asking.append(("memory: its notes; as many answers follow", Memory(meter, tokens, decoding)))
            for purpose, personalizer in asking:
                for store in world.examples.values():
                    examples = list(store)
                    personalizer.respond([one.query for one in examples], [one.profile for one in examples])
                estimates.append(meter.estimate(purpose))
        return estimates

    def warnings(self, world: LampWorld) -> list[str]:
        """Say how many golds LaMP's ROUGE cannot read."""
        found = []
        for task, store in world.examples.items():
            if world.tasks[task].kind == "generation":
                unseen = sum(gold is not None and mostly_ignored_by_rouge(gold) for gold in store.golds)
                if unseen:
                    found.append(f"{task}: {unseen} of {len(store)} {IGNORED_BY_ROUGE}.")
        return found

    def shown(self, results: Mapping[str, Any]) -> list[str]:
        """Show the samples of methods and baselines, not of controls."""
        from personakit.evaluation.common_sections import methods

        hidden = {_zero(results), MAJORITY, ORACLE, *(one["generic"] for one in results.get("transfer", ()))}
        return [
            label for label in methods(results) if label not in hidden and not label.endswith((EMPTY, OTHER))
        ]

    def sections(self, results: Mapping[str, Any], costs: Mapping[str, Costs]) -> list[Section]:
        """Return scores, style, published figures, comparisons, findings, transfer, curves, users, costs."""
        from personakit.evaluation import common_sections as common
        from personakit.evaluation.style_section import style_section

        zero = _zero(results)
        transfer = (
            "The same rewriter with base models that it was not trained with; gains are over the generic "
            "answers of the same base model. Above 100 %: it also corrects what that model does worse."
        )
        return [
            common.score_section(results, zero),
            style_section(results),
            _published_section(results),
            common.comparison_section(results),
            common.findings_section(results),
            common.transfer_section(results, transfer),
            common.curve_section(results),
            common.user_section(results),
            common.task_section(results, zero),
            common.cost_section(results, costs),
        ]

    def _examples(self, options: Options, data: str) -> dict[str, ExampleStore]:
        """The examples of each task, at most `limit` of each, of as many users as possible."""
        tasks = options.tasks or self._tasks(options, data, available(data))
        stores = [open_examples(data, task, options.split) for task in tasks]
        if options.sample_ids:
            return _with_ids(stores, options.sample_ids)
        return {store.task: take_users_evenly(store, options.limit) for store in stores}

    def _tasks(self, options: Options, data: str, there: Sequence[tuple[str, str]]) -> list[str]:
        tasks = [task for task in all_tasks(data, options.split) if task.startswith(("LaMP", WRITING))]
        if not tasks:
            splits = sorted({split for _, split in there})
            raise UserError(
                f'{data} has no LaMP or writing task with the split "{options.split}"',
                hint=f"it has the splits {', '.join(splits)}; rewrites are for `personakit eval rewriting`",
            )
        return tasks


def with_base(label: str, base: str) -> str:
    """Return the label of a row with another base model than the run's."""
    return f"{label}, {base}"


def _zero(results: Mapping[str, Any]) -> str:
    return str(results["made_by"].get("zero", GENERIC))


def label_of(run: FinishedRun) -> str:
    """Return the label of a run's method."""
    return METHODS[run.method].label


def _method_order(run: FinishedRun) -> int:
    return list(METHODS).index(run.method)


def _controls(world: LampWorld) -> Mapping[str, Control]:
    """The controls that the method under test may have trained."""
    return METHODS[world.main[0].method].controls if world.main else {}


def _baseline_row(name: str, baseline: Baseline, world: LampWorld) -> Row:
    return Row(
        name=name,
        label=baseline.label,
        open=lambda world, run: baseline.open(world.around),
        why_not=lambda world: baseline.why_not(world.around),
        only_if_named=baseline.only_if_named,
        aliases=("generic",) if world.given_texts and name == "copy" else (),
        required=baseline.label == world.zero and bool(world.unseen_bases),
        curves=baseline.curves,
    )


def _control_row(name: str, control: Control, world: LampWorld, curves: Sequence[str]) -> Row:
    return Row(
        name=name,
        label=control.label,
        open=partial(_open_control, control),
        trained=True,
        runs=world.main,
        why_not=partial(_not_trained, control),
        curves=curves if control.is_baseline else (),
    )


def light_label(method: str, max_edit: float | None) -> str:
    """Return the label of the row of light edits."""
    return f"{method}, at most {max_edit or 0:.0%} of the words changed"


def _light_rows(world: LampWorld) -> list[Row]:
    """The method with light edits, where asked for, and with the content check alone, where named."""
    if not world.main or not METHODS[world.main[0].method].rewrites:
        if world.options.max_edit is not None:
            reason = f"{world.method} does not rewrite drafts" if world.main else "there is no run"
            raise UserError(
                f"--max-edit {world.options.max_edit:g}: {reason}", hint="leave it out, or name a run of RPO"
            )
        return []
    rows = [
        Row(
            name="checked",
            label=f"{world.method}, {CHECKED}",
            open=partial(_open_run, check_content=True),
            trained=True,
            runs=world.main,
            only_if_named="",
        )
    ]
    if world.options.max_edit is not None:
        rows.append(
            Row(
                label=light_label(world.method, world.options.max_edit),
                open=partial(_open_run, max_edit=world.options.max_edit, check_content=True),
                trained=True,
                runs=world.main,
            )
        )
    return rows


def _history_controls(label: str, runs: Sequence[FinishedRun]) -> list[Row]:
    """The method without a history and with another user's: what is left is no personalisation."""
    return [
        Row(
            name="empty",
            label=f"{label}, {EMPTY}",
            open=partial(_open_run, without_history=True),
            trained=True,
            profiles="empty",
            runs=runs,
        ),
        Row(
            name="other",
            label=f"{label}, {OTHER}",
            open=_open_run,
            trained=True,
            profiles="other",
            runs=runs,
            why_not=_no_other_user,
        ),
    ]


@dataclass(frozen=True, eq=False)
class _WithK:
    """Opens a row that shows `k` retrieved items."""

    open: Callable[[Any, Any], Any]
    k: int

    def __call__(self, world: LampWorld, run: FinishedRun | None) -> Any:
        around = replace(world.around, settings=self._shown(world.around.settings))
        changed = None if run is None else replace(run, settings=self._shown(run.settings))
        return self.open(replace(world, around=around), changed)

    def _shown(self, settings: Any) -> Any:
        return replace(settings, retrieval=replace(settings.retrieval, k=self.k))


def _open_run(
    world: LampWorld,
    run: FinishedRun,
    *,
    base: str | None = None,
    without_history: bool = False,
    max_edit: float | None = None,
    check_content: bool = False,
) -> Any:
    """Open a run; runs of the method under test answer with `base`, by default the world's base model."""
    if label_of(run) != world.method:
        return open_run(run)
    if base is None and not world.given_texts:
        base = world.base
    return open_run(
        run,
        base=base,
        rewrite_without_history=without_history,
        max_edit=max_edit,
        check_content=check_content,
    )


def _open_control(control: Control, world: LampWorld, run: FinishedRun) -> Any:
    return control.open(run, OpenOptions(base=None if world.given_texts else world.base))


def _open_generic(base: str, world: LampWorld, run: None) -> Any:
    return open_baseline("generic", replace(world.around, base=base))


def _no_other_user(world: LampWorld) -> str | None:
    one_user = any(len(set(store.user_ids)) < 2 for store in world.examples.values())
    return "there is only one user" if one_user else None


def _not_trained(control: Control, world: LampWorld) -> str | None:
    missing = any(run.path(control.folder) is None for run in world.main)
    return f"the run was not trained with {control.setting}" if missing else None


def _runs(options: Options) -> list[FinishedRun]:
    if options.no_run:
        if options.runs:
            raise UserError(f"--no-run and --run {options.runs[0]} were both given", hint="leave one out")
        return []
    runs = [read_run(folder) for folder in options.runs or [newest_run()]]
    return [replace(run, settings=_as_asked(run.settings, options)) for run in runs]


def _as_asked(settings: Any, options: Options) -> Any:
    """The settings with what the options change, where the method has such settings."""
    from personakit.methods import with_max_new_tokens

    if options.concurrency is not None and hasattr(settings, "endpoint"):
        endpoint = replace(settings.endpoint, requests_at_once=options.concurrency)
        settings = replace(settings, endpoint=endpoint)
    return with_max_new_tokens(settings, options.max_new_tokens)


def _with_ids(stores: Sequence[ExampleStore], ids: Sequence[str]) -> dict[str, ExampleStore]:
    """The examples whose queries have these ids, of the tasks that have any."""
    missing = set(ids) - {id for store in stores for id in store.query_ids}
    if missing:
        raise UserError(
            f"--sample-id {min(missing)}: no query of {', '.join(store.task for store in stores)} has "
            "this id",
            hint="ids are in the questions file, and in an evaluation's samples.jsonl",
        )
    found = {}
    for store in stores:
        if places := [place for place, id in enumerate(store.query_ids) if id in set(ids)]:
            found[store.task] = store.subset(places)
    return found


def _surroundings(
    options: Options, runs: Sequence[FinishedRun], data: str, examples: Mapping[str, ExampleStore]
) -> BaselineInputs:
    from personakit.config import TrainRPO

    settings = _as_asked(baseline_settings(runs[0]) if runs else TrainRPO(), options)
    if not runs and len(options.bases) > 1:
        raise UserError(
            f"--no-run with --base {' and --base '.join(options.bases)}: expected one base model",
            hint="evaluate each separately, or name a --run to use it with all of them",
        )
    base = settings.base if runs or not options.bases else options.bases[0]
    there = set(available(data))
    train_golds = {
        task: [gold for gold in open_examples(data, task, "train").golds if gold is not None]
        for task in examples
        if (task, "train") in there
    }
    oracle, peers = (
        {
            id: str(known[kind])
            for store in examples.values()
            for id in store.query_ids
            if (known := store.traits(id)) is not None and kind in known
        }
        for kind in ("oracle", "peer")
    )
    return BaselineInputs(
        settings=settings,
        base=base,
        train_golds=train_golds,
        oracle=oracle,
        peers=peers,
        tasks=tuple(examples),
    )


def _published(split: str | None, data: str, examples: Mapping[str, ExampleStore]) -> dict[str, Any] | None:
    """The published rows of LaMP's split that was asked for, or that the data is recognised as; else None."""
    if split is not None and split not in SPLITS:
        raise UserError(f'unknown --published "{split}"', hint=f"there is {', '.join(SPLITS)}")
    if is_lamp_mini(data_folder(data)) or imported_format(data) not in (None, "lamp"):
        if split is not None:
            raise UserError(
                f"--published {split}: {data} is not LaMP, and LaMP's figures do not apply to it",
                hint="leave it out",
            )
        return None
    if split is None:
        stores = [open_examples(data, task, store.split) for task, store in examples.items()]
        sizes = {store.task: len(store) for store in stores}
        split = recognised_split(sizes, dated=any(store.dated for store in stores))
    rows = published_rows(split, list(examples)) if split is not None else []
    return {"split": split, "rows": rows} if rows else None


def _published_section(results: Mapping[str, Any]) -> Section:
    """The published figures in a results document; empty where there are none."""
    found = results.get("published_lamp")
    if not found:
        return Section("Published figures", [])
    tasks = list(dict.fromkeys(row["task"] for row in found["rows"]))
    cells: dict[tuple[str, str], list[str]] = {}
    for row in found["rows"]:
        cells.setdefault((row["model"], row["task"]), []).append(f"{row['value']:.3f}")
    models = dict.fromkeys(row["model"] for row in found["rows"])
    first = {task: METRICS[task][0] for task in tasks}
    terminal = Table(
        ["method", *(f"{task.replace('_', chr(10), 1)}\n{first[task]}" for task in tasks)],
        [
            [f"published: {model}", *(cells.get((model, task), ["-"])[0] for task in tasks)]
            for model in models
        ],
        on="terminal",
    )
    page = Table(
        ["published by others", *tasks],
        [[model, *(" / ".join(cells.get((model, task), ["-"])) for task in tasks)] for model in models],
        on="page",
    )
    return Section("Published figures", [terminal, page, Text(_PUBLISHED.format(split=found["split"]))])
