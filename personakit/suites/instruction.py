"""`personakit eval instruction`: what selects prompts for instructions (PILLOW and its controls)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from personakit.data.folders import take_evenly
from personakit.data.instructions import InstructionStore, leaking_prompts, open_instructions
from personakit.errors import UserError
from personakit.evaluation.candidates import Candidate
from personakit.evaluation.charts import curve_chart
from personakit.evaluation.judge import estimate_verdicts, judge_samples
from personakit.evaluation.leaks import Leak, QueryDigest, training_leaks
from personakit.evaluation.runner import Answering
from personakit.evaluation.samples import Sample, append_batch, make_sample, read_samples
from personakit.evaluation.sections import Charts, Section, Table, Text, interval, number, percent
from personakit.files import atomic_file
from personakit.methods import FinishedRun, newest_run, open_base, open_prompted, read_run
from personakit.models.cost import CostEstimate, token_counter
from personakit.models.open import check_model, is_endpoint
from personakit.pillow.training_cost import cost_ratio, training_costs
from personakit.records import Example, Profile, Query
from personakit.suites.base import COMMON, Options, Row, Suite, World, check_comparable
from personakit.suites.passes import PassRunner, trained_on
from personakit.tasks.scoring import text_metric
from personakit.training.training_digests import training_digest

if TYPE_CHECKING:
    from personakit.evaluation.measurements import Costs
    from personakit.evaluation.results import Claims
    from personakit.pillow.answering import Order, SelectionInput

ALONE, METHOD, FULL, COSINE, GREEDY = "LoRA alone", "PILLOW", "full fine-tuning", "cosine", "greedy oracle"

#: The rows by the names `--baseline` takes, in the table's order.
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
#: Rows whose score is measured against the number of prompts.
CURVES = ("cosine", "pillow")
#: Prompts beyond the run's own number that those curves go to.
MORE_PROMPTS = 2
ORDERS: dict[str, Order] = {"reversed": "reversed", "shuffled": "shuffled"}
#: The training stages of a row by their names in the run; all other rows need the tuned model only.
STAGES = {FULL: ("full-fine-tuning",), METHOD: ("lora", "matching")}
VARIANTS_FILE, JUDGED_FILE = "variants.jsonl", "judged.jsonl"
#: Prompts listed on the page and on the terminal.
PAGE_PROMPTS, TERMINAL_PROMPTS = 30, 10


@dataclass(kw_only=True)
class InstructionWorld(World):
    """Instructions as examples, and for each, by id, the pool it may be shown prompts from."""

    instructions: InstructionStore
    inputs: Mapping[str, SelectionInput]


class InstructionSuite(Suite):
    """Evaluate what selects prompts for instructions (PILLOW) against what else could.

    Several --run that differ in their seed are one row, with intervals over instructions and seeds. Also
    reports the cost of training, the score by number and order of prompts, and which prompts help with
    what. Work on dev: an evaluation on test is recorded in the run.
    """

    name = "instruction"
    options: ClassVar[Sequence[str]] = (
        *(name for name in COMMON if name != "curves"),
        "judge",
        "judge_tokens",
        "variants",
    )
    help_of: ClassVar[Mapping[str, str]] = {
        "data": "lamp-mini, or a data folder; by default the run's own data.",
        "judge": "A model that compares every answer with that of the tuned model without prompts, in both "
        "orders.",
        "limit": "At most N instructions.",
        "strict": "Stop before the first answer where a run was trained on an instruction. Else that is "
        "counted and listed.",
    }
    curve_places: ClassVar[Mapping[str, Sequence[int]]] = {}
    row_names = tuple(name for name in ROWS if name != "pillow")
    by_run = True

    def load(self, options: Options, note: Callable[[str], None]) -> InstructionWorld:
        """Read runs, instructions and the pool."""
        from personakit.evaluation.measurements import TaskMetrics
        from personakit.evaluation.metrics import JUDGE
        from personakit.evaluation.prompt_analysis import METRICS, TASK

        runs = _runs(options)
        data = options.data or runs[0].data_path
        instructions = take_evenly(open_instructions(data, options.split), options.limit)
        if options.judge is not None:
            check_model(options.judge)
        inputs = _selection_inputs(runs, instructions)
        examples = [
            Example(
                Query(one.id, TASK, f"{one.instruction}\n{one.input}".strip(), one.input, user, one.output),
                Profile(user, ()),
            )
            for one, user in zip(instructions.rows, instructions.user_ids, strict=True)
        ]
        metrics = METRICS if options.judge is None else (*METRICS, JUDGE)
        world = InstructionWorld(
            options=options,
            runs=runs,
            data=data,
            examples={TASK: examples},
            facts={TASK: TaskMetrics(metrics)},
            fingerprints={"instructions": instructions.fingerprint, "pool": _pool(inputs).fingerprint},
            zero=ALONE,
            users_are="instructions",
            base=runs[0].settings.model,
            instructions=instructions,
            inputs=inputs,
        )
        note(_kept_out_sentence(_kept_out(world)))
        return world

    def rows(self, world: InstructionWorld) -> list[Row]:
        """Return the tuned model without prompts, selectors, oracles, and full fine-tuning."""
        return [
            Row(
                name=name,
                label=label,
                open=partial(
                    _open, name, 0 if name in ("alone", "full") else world.runs[0].settings.matcher.m, None
                ),
                trained=True,
                required=name == "pillow",
                why_not=_no_full_model if name == "full" else lambda world: None,
            )
            for name, label in ROWS.items()
        ]

    def answering(self, world: InstructionWorld) -> Answering:
        """Answer each instruction, and score the answer and the reference's likelihood."""
        return _Scored({one.id: one.kind or "" for one in world.instructions.rows}, token_counter(world.base))

    def claims(self, world: InstructionWorld, labels: Sequence[str]) -> Claims:
        """Compare PILLOW with every other row."""
        from personakit.evaluation.results import Claims

        others = [label for label in labels if label != METHOD]
        return Claims(compared=[(METHOD, other) for other in others], gaps=[(METHOD, COSINE, GREEDY)])

    def leaks(self, world: InstructionWorld) -> list[Leak]:
        """Look for training instructions; prompts with an instruction's answer are kept out of its pool."""
        from personakit.evaluation.prompt_analysis import TASK
        from personakit.pillow.encoding import instruction_text

        digests = [
            QueryDigest(one.id, user, training_digest(instruction_text(one), one.output))
            for one, user in zip(world.instructions.rows, world.instructions.user_ids, strict=True)
        ]
        return list(training_leaks(TASK, digests, trained_on(world.runs)[0]))

    def made_by(self, world: InstructionWorld, rows: Sequence[Row]) -> dict[str, Any]:
        """Record rows, number of prompts and the judge."""
        options = world.options
        return {
            "rows": [row.name for row in rows],
            "variants": options.variants,
            "m": world.runs[0].settings.matcher.m,
            "judge": options.judge,
            "pools": 1,
        }

    def plan(self, world: InstructionWorld, rows: Sequence[Row]) -> dict[str, Any]:
        """Return the number of instructions and of passes for variants."""
        variants = _variants(world, rows)
        passes = sum(len(row.candidates(world)) for row in variants.rows)
        return {"instructions": len(world.instructions), "variant_passes": passes}

    def requests(self, world: InstructionWorld, rows: Sequence[Row]) -> list[CostEstimate]:
        """Estimate the requests to a judge behind an API."""
        judge = world.options.judge
        if judge is None or not is_endpoint(judge):
            return []
        compared = sum(len(row.candidates(world)) for row in rows if row.label != ALONE)
        requests = [example.query.text for some in world.examples.values() for example in some]
        longest = world.runs[0].settings.rl.reward.max_new_tokens
        return [
            estimate_verdicts(
                judge,
                requests,
                comparisons=compared,
                answer_tokens=longest,
                verdict_tokens=world.options.judge_tokens,
            )
        ]

    def known(self, world: InstructionWorld, rows: Sequence[Row]) -> dict[str, Any]:
        """Return the cost of training, and how many prompts were kept out of pools."""
        computes = [run.facts.get("compute", {}) for run in world.runs]
        training = training_costs({row.label: STAGES.get(row.label, ("lora",)) for row in rows}, computes)
        return {
            "training": training,
            "prices": cost_ratio(training, METHOD, FULL),
            "kept_out": _kept_out(world),
        }

    def further(
        self,
        world: InstructionWorld,
        rows: Sequence[Row],
        passes: PassRunner,
        log: Path,
        results: dict[str, Any],
    ) -> Path:
        """Answer with other numbers and orders of prompts, and have answers judged."""
        from personakit.evaluation.bootstrap import RESAMPLES
        from personakit.evaluation.prompt_analysis import analyse_prompts

        variants = _variants(world, rows)
        logs = [log, passes.folder / VARIANTS_FILE]
        if variants.rows:
            candidates = [each for row in variants.rows for each in row.candidates(world)]
            candidates.sort(key=lambda each: [str(run.folder) for run in world.runs].index(str(each.run)))
            passes(candidates, world.examples, self.answering(world), VARIANTS_FILE)
        prompts = [
            (each.id, f"{each.instruction} {each.input} => {each.output}")
            for each in _pool(world.inputs).prompts
        ]
        results["matching"] = analyse_prompts(
            logs,
            by_number=variants.by_number,
            orders=variants.orders,
            row=METHOD,
            prompts=prompts,
            resamples=RESAMPLES,
            seed=world.options.seed,
        )
        results["unread_verdicts"] = {}
        if world.options.judge is not None:
            log, results["unread_verdicts"] = _judged(world, log, passes.folder / JUDGED_FILE)
        return log

    def notes(self, results: Mapping[str, Any]) -> list[str]:
        """Say how spread the selected prompts are, what order and training cost, and verdicts unread."""
        from personakit.evaluation.prompt_analysis import PRIMARY

        analysis = _matching(results)
        notes = [_kept_out_sentence(results["kept_out"])]
        notes += [
            f"{one['method']}: entropy of the selected prompts {one['entropy']:.2f} of "
            f"{one['of_entropy']:.2f} nats, {percent(one['coverage'])} of the pool selected, the most "
            f"frequent prompt for {percent(one['most_shown'])} of the queries."
            for one in analysis["selections"]
        ]
        notes += [
            f"{one['row']}: {number(one[PRIMARY]['value'], signed=True)} "
            f"{interval(one[PRIMARY], signed=True)} against the selected order."
            for one in analysis["order"]
        ]
        for one in results["prices"]:
            flops = "" if one["flops"] is None else f" and {percent(one['flops'])} of the operations"
            share = f"{percent(one['bytes'])} of the gradient and optimizer bytes{flops}"
            notes.append(f"{one['method']} trains with {share} of {one['against']}.")
        for method, count in results.get("unread_verdicts", {}).items():
            notes.append(f"{method}: {count} verdicts of the judge are missing or unreadable, not scored.")
        return notes

    def sections(self, results: Mapping[str, Any], costs: Mapping[str, Costs]) -> list[Section]:
        """Return scores, comparisons, findings, the cost of training, and which prompts help."""
        from personakit.evaluation import common_sections as common

        read = "Likelihood: of the reference answer, in nats per token."
        training = (
            "Operations and seconds are summed over a row's training stages; bytes and memory are those "
            "of its largest stage. Memory is the peak of the process."
        )
        helped = (
            "Gain: what the selected prompt added to the likelihood of the reference answer, after the "
            "prompts selected before it, in nats per token."
        )
        helping = _matching(results)["paid"]
        return [
            common.score_section(results, ALONE, _scores(results), note=read),
            common.comparison_section(results),
            common.findings_section(results),
            Section("Cost of training", [_training_table(results), Text(training)]),
            Section("Number of prompts", [_number_table(results), _number_charts(results)]),
            Section("Which prompts help", [*_prompt_tables(results), Text(helped)] if helping else []),
            common.curve_section(results),
            common.user_section(results),
            common.cost_section(results, costs),
        ]


@dataclass(frozen=True)
class _Variants:
    """Passes with another number or order of prompts.

    `by_number` maps a row's label to its labels by number of prompts, `orders` an order to (label, label of
    the same prompts in the selected order).
    """

    rows: Sequence[Row]
    by_number: Mapping[str, Mapping[int, str]]
    orders: Mapping[str, tuple[str, str]]


def _variants(world: InstructionWorld, rows: Sequence[Row]) -> _Variants:
    m = world.runs[0].settings.matcher.m
    smallest = min(len(each.pool) for each in world.inputs.values())
    numbers = [number for number in range(1, min(m + MORE_PROMPTS, smallest) + 1) if number != m]
    wanted = world.options.variants
    curves = [row for row in rows if row.name in CURVES] if wanted else []
    by_number = {
        row.label: {0: ALONE, m: row.label} | {n: f"{row.label}, m={n}" for n in numbers} for row in curves
    }
    orders = {order: (f"{METHOD}, {order}", METHOD) for order in ORDERS} if wanted and m > 1 else {}
    variants = [
        replace(row, label=by_number[row.label][number], open=partial(_open, row.name, number, None))
        for row in curves
        for number in numbers
    ]
    variants += [
        Row(label=label, open=partial(_open, "pillow", m, ORDERS[order]), trained=True)
        for order, (label, _) in orders.items()
    ]
    return _Variants(variants, by_number, orders)


@dataclass(frozen=True)
class _Scored:
    """Answers instructions; `likelihood` is per token, with one token more for the end of the answer."""

    kinds: Mapping[str, str]
    count_tokens: Callable[[str], int]

    def __call__(
        self, candidate: Candidate, opened: Any, examples: Sequence[Example], profiles: Sequence[Profile]
    ) -> list[Sample]:
        from personakit.evaluation.prompt_analysis import EXACT, KIND, LIKELIHOOD, PRIMARY, TASK

        queries = [example.query for example in examples]
        golds = [query.gold or "" for query in queries]
        answers = opened.respond(queries, profiles)
        log_probabilities = opened.score(queries, profiles, golds)
        samples = []
        for place, given in enumerate(answers):
            scores = {name: text_metric(name, given.text, golds[place]) for name in (PRIMARY, EXACT)}
            scores[LIKELIHOOD] = round(log_probabilities[place] / (self.count_tokens(golds[place]) + 1), 6)
            samples.append(
                make_sample(
                    candidate,
                    examples[place],
                    profiles[place],
                    replace(given, trace={**given.trace, KIND: self.kinds[queries[place].id]}),
                    task=TASK,
                    scores=scores,
                    utility=scores[PRIMARY],
                    unparsable=not given.text.strip(),
                )
            )
        return samples


def _runs(options: Options) -> list[FinishedRun]:
    runs = [read_run(folder, "pillow") for folder in options.runs or [newest_run("pillow")]]
    for run in runs:
        if run.settings.data.tasks:
            raise UserError(
                f"{run.folder} selects from users' histories, expected a run with one pool of prompts",
                hint=f"evaluate it with `personakit eval lamp --run {run.folder}`",
            )
    check_comparable(runs)
    return runs


def _selection_inputs(
    runs: Sequence[FinishedRun], instructions: InstructionStore
) -> dict[str, SelectionInput]:
    """The pool of each instruction, without the prompts that would give its answer away."""
    from personakit.pillow.answering import SelectionInput
    from personakit.pillow.opening import pool_of

    pools = [pool_of(run) for run in runs]
    pool = pools[0]
    for run, other in zip(runs, pools, strict=True):
        if pool is None or other is None or other.fingerprint != pool.fingerprint:
            raise UserError(
                f"{run.folder} was not trained with the pool of prompts of {runs[0].folder}",
                hint="evaluate runs with the same pool together",
            )
    assert pool is not None
    return {
        one.id: SelectionInput(one, pool, out)
        for one, out in zip(instructions.rows, leaking_prompts(instructions, pool), strict=True)
    }


def _pool(inputs: Mapping[str, SelectionInput]) -> Any:
    return next(iter(inputs.values())).pool


def _open(name: str, m: int, order: Order | None, world: InstructionWorld, run: FinishedRun) -> Any:
    def selection_input(query: Query, profile: Profile) -> SelectionInput:
        return world.inputs[query.id]

    return open_prompted(run, name, m, selection_input, order=order)


def _no_full_model(world: InstructionWorld) -> str | None:
    from personakit.pillow.opening import FULL as FULL_FOLDER
    from personakit.pillow.opening import model_folder

    missing = [run.folder for run in world.runs if model_folder(run, FULL_FOLDER) is None]
    return f"{missing[0]} has none (controls.full_fine_tuning)" if missing else None


def _kept_out(world: InstructionWorld) -> dict[str, int]:
    return {
        "queries": sum(bool(each.excluded) for each in world.inputs.values()),
        "prompts": sum(len(each.excluded) for each in world.inputs.values()),
    }


def _kept_out_sentence(counts: Mapping[str, int]) -> str:
    return (
        f"{counts['prompts']} prompts were kept out of the pools of {counts['queries']} queries: they would "
        "give the answer away."
    )


def _judged(world: InstructionWorld, log: Path, judged: Path) -> tuple[Path, dict[str, int]]:
    """Write the samples with a judge's score against the tuned model alone, which itself gets 0.5."""
    from personakit.evaluation.metrics import JUDGE

    samples = list(read_samples(log))
    opponents = {sample.method: ALONE for sample in samples if sample.method != ALONE}
    judgement = judge_samples(
        samples,
        opponents,
        open_base(str(world.options.judge)),
        max_new_tokens=world.options.judge_tokens,
    )
    scored = []
    for place, sample in enumerate(samples):
        verdict = 0.5 if sample.method == ALONE else judgement.verdicts.get(place)
        scores = None if sample.scores is None else dict(sample.scores)
        if verdict is not None and scores is not None:
            scores[JUDGE] = verdict
        scored.append(replace(sample, scores=scores))
    with atomic_file(judged) as temporary:
        append_batch(temporary, scored)
    return judged, dict(judgement.unread)


def _matching(results: Mapping[str, Any]) -> Any:
    """The analysis of the prompts; empty in partial results."""
    return results.get("matching") or {"curve": [], "order": [], "selections": [], "paid": []}


def _scores(results: Mapping[str, Any]) -> Table:
    from personakit.evaluation.common_sections import methods
    from personakit.evaluation.prompt_analysis import PRIMARY, TASK

    cells = {(row["method"], row["metric"]): row for row in results["rows"] if row["task"] == TASK}
    others = [metric for metric in dict.fromkeys(metric for _, metric in cells) if metric != PRIMARY]
    rows = []
    for method in methods(results):
        first = cells[method, PRIMARY]
        values = [number(cells[method, metric]["value"]) for metric in others]
        rows.append(
            [method, number(first["value"]), interval(first), *values, f"{first['context_tokens']:.0f}"]
        )
    return Table(["method", PRIMARY, "95 %\ninterval", *others, "context\ntokens"], rows)


def _training_table(results: Mapping[str, Any]) -> Table:
    def megabytes(value: float | None) -> str:
        return "-" if value is None else f"{value / 1e6:.1f}"

    rows = [
        [
            one["method"],
            "-" if one["flops"] is None else f"{one['flops']:.2e}",
            megabytes(one["gradient_optimizer_bytes"]),
            megabytes(one["peak_bytes"]),
            "-" if one["seconds"] is None else f"{one['seconds']:.0f}",
        ]
        for one in results["training"]
    ]
    return Table(["method", "operations", "gradients +\noptimizer, MB", "peak\nMB", "seconds"], rows)


def _number_table(results: Mapping[str, Any]) -> Table:
    from personakit.evaluation.prompt_analysis import LIKELIHOOD, PRIMARY

    rows = [
        [
            one["method"],
            str(one["m"]),
            number(one[PRIMARY]["value"]),
            interval(one[PRIMARY]),
            number(one[LIKELIHOOD]["value"]),
            f"{one['context_tokens']:.0f}",
        ]
        for one in _matching(results)["curve"]
    ]
    return Table(["method", "m", PRIMARY, "95 %\ninterval", LIKELIHOOD, "context\ntokens"], rows)


def _number_charts(results: Mapping[str, Any]) -> Any:
    from personakit.evaluation.prompt_analysis import LIKELIHOOD, METRICS, PRIMARY

    names = {PRIMARY: "ROUGE-L", LIKELIHOOD: "likelihood of the reference, nats per token"}
    charts = []
    for metric in METRICS:
        lines: dict[str, list[tuple[float, float]]] = {}
        for row in _matching(results)["curve"]:
            if row[metric]["value"] is not None:
                lines.setdefault(row["method"], []).append((float(row["m"]), row[metric]["value"]))
        if drawn := [(method, points) for method, points in lines.items() if len(points) > 1]:
            charts.append(curve_chart(names.get(metric, metric), drawn))
    return Charts(charts, unit="prompt")


def _prompt_tables(results: Mapping[str, Any]) -> list[Table]:
    """The prompts that helped most: with their most frequent kind of instruction, and by all kinds."""
    from personakit.evaluation.prompt_analysis import PRIMARY

    found = _matching(results)["paid"]
    terminal = []
    for one in found[:TERMINAL_PROMPTS]:
        kind, most = max(one["kinds"].items(), key=lambda item: int(item[1]["shown"]))
        gain = number(one["likelihood"], signed=True)
        often = f"{kind} ({most['shown']}, {number(most['likelihood'], signed=True)})"
        terminal.append([one["prompt"], str(one["shown"]), gain, number(one[PRIMARY], signed=True), often])
    columns = ["prompt", "selected", "gain", PRIMARY, "most often for"]
    some = found[:PAGE_PROMPTS]
    kinds = sorted({kind for one in some for kind in one["kinds"]})
    largest = max((abs(cell["likelihood"]) for one in some for cell in one["kinds"].values()), default=0) or 1
    rows, heat, tooltips = [], {}, {}
    for number_of_row, one in enumerate(some):
        cells = [one["prompt"], str(one["shown"]), number(one["likelihood"], signed=True)]
        tooltips[number_of_row, 0] = one["text"]
        for kind in kinds:
            cell = one["kinds"].get(kind)
            if cell is not None:
                heat[number_of_row, len(cells)] = round(cell["likelihood"] / largest, 3)
                tooltips[number_of_row, len(cells)] = f"selected {cell['shown']} times"
            cells.append("" if cell is None else number(cell["likelihood"], signed=True))
        rows.append(cells)
    page_columns = ["prompt", "selected", "gain", *kinds]
    return [
        Table(columns, terminal, on="terminal"),
        Table(page_columns, rows, on="page", heat=heat, tooltips=tooltips),
    ]
