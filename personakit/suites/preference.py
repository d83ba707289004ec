"""`personakit eval preference`: held-out preference pairs, and the cost of personalising (POPI)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, ClassVar

from personakit.data.folders import data_folder, split_by_prompt, take_evenly
from personakit.data.preferences import PreferenceStore, open_preferences, preference_files
from personakit.errors import UserError
from personakit.evaluation.candidates import Candidate, ExamplesWithTraits
from personakit.evaluation.judge import estimate_verdicts, judge_samples
from personakit.evaluation.leaks import Leak, find_pair_leaks
from personakit.evaluation.runner import Answering
from personakit.evaluation.samples import Sample, append_batch, make_sample, read_samples
from personakit.evaluation.sections import IntervalRow, Intervals, Section, Table, Text, interval, number
from personakit.files import atomic_file
from personakit.methods import (
    ZERO_SHOT,
    FinishedRun,
    newest_run,
    open_base,
    open_heuristic,
    open_popi,
    popi_lacks,
    read_run,
)
from personakit.models.cost import CostEstimate
from personakit.models.open import check_model, is_endpoint
from personakit.popi.held_out_pairs import held_out_pairs
from personakit.popi.published import published_accuracies
from personakit.records import Example, Profile
from personakit.suites.base import COMMON, Options, Row, Suite, World, check_comparable
from personakit.suites.passes import PassRunner, trained_on
from personakit.tasks.signals import render_signals

if TYPE_CHECKING:
    from personakit.evaluation.measurements import Costs
    from personakit.evaluation.results import Claims

METHOD = "POPI"
BASE, POPULATION, LORA = "base, no summary", "population DPO", "a LoRA per user"
HISTORY, RECENT = f"raw history{ZERO_SHOT}", f"raw history, cut, newest{ZERO_SHOT}"
BM25, RAW_DPO = f"raw history, cut, BM25{ZERO_SHOT}", "raw history, DPO"
PROMPTED, FROZEN = f"prompted summary{ZERO_SHOT}", "POPI, frozen generator"
OTHER, ORACLE = "POPI, another user's summary", "oracle persona"
LENGTH, LOOKUP = "length alone", "persona looked up"
WITH_SUMMARY, WITHOUT_SUMMARY = f", POPI's summary{ZERO_SHOT}", ", no summary"

ANSWERS_TASK, WIN_RATE = "answers", "win rate"
ANSWERS_FILE, JUDGED_FILE = "answers.jsonl", "judged.jsonl"
_JUDGE_REQUEST = (
    "{request}\n\nOf the person who asks this is known: {known}\n"
    "The better answer is the one that this person would prefer."
)


@dataclass(kw_only=True)
class PreferenceWorld(World):
    """Held-out pairs as examples, the rejected answer of each by query id, and the users behind them.

    `personas` are those of the users where the data has them, `train_personas` those of training users.
    `black_boxes` are base models that can only answer. `skipped` counts pairs left out, by reason.
    """

    examples: Mapping[str, ExamplesWithTraits]
    store: PreferenceStore
    rejected: Mapping[str, str]
    personas: Mapping[str, str]
    train_personas: set[str]
    bases: Sequence[str]
    black_boxes: Sequence[str]
    skipped: Mapping[str, int]
    published: Sequence[Mapping[str, Any]]


class PreferenceSuite(Suite):
    """Evaluate on held-out pairs: is the answer that this user preferred favoured, and at what cost?

    Several --run that differ in their seed are one row, with intervals over users and seeds. Writes
    results.json, every pair's margin and report.html. Work on dev: an evaluation on test is recorded in
    the run.
    """

    name = "preference"
    options: ClassVar[Sequence[str]] = (*COMMON, "bases", "judge", "judge_tokens", "per_user", "published")
    help_of: ClassVar[Mapping[str, str]] = {
        "bases": "A frozen model that has never seen a summary, repeatable: what it prefers with and without "
        "POPI's, and the share of POPI's gain that it keeps.",
        "data": "lamp-mini, or a folder of imported preferences; by default the run's own data.",
        "judge": "A model that compares the answers to each user's first held-out request with those of "
        "a row that does not know the user, in both orders; it is given the user's persona or signals.",
        "limit": "At most N users.",
        "published": "Show published accuracies: the name of the imported data set, which you vouch for: "
        "ELIX, Review, Roleplay, 'AlignX DEMO', ...",
    }
    curve_places: ClassVar[Mapping[str, Sequence[int]]] = {"history": (0, 1, 2, 4, 8)}
    row_names = (
        *("base", "length", "persona-lookup", "population", "lora-per-user", "history", "history-recent"),
        *("history-bm25", "history-dpo", "prompted", "frozen-generator", "other", "oracle"),
    )

    def load(self, options: Options, note: Callable[[str], None]) -> PreferenceWorld:
        """Read runs and users, and keep the pairs that fit all models."""
        from personakit.evaluation.pair_scoring import FACTS, TASK

        runs = _runs(options)
        bases, black_boxes = _bases(options)
        data = options.data or runs[0].data_path
        store = open_preferences(data, options.split)
        for reason, skip in store.skipped.items():
            note(f"left out of {options.split}: {skip.count} {reason} (first: {skip.first})")
        store = take_evenly(store, options.limit)
        personas = {user.user_id: user.persona for user in store if user.persona is not None}
        named = set(options.baselines) or {"all"}
        whole_history = bool(named & {"history", "history-dpo", "all"})
        pairs = held_out_pairs(store, runs[0].settings, bases, whole_history=whole_history)
        if personas and named & {"oracle", "all"} and not _trained_on_personas(runs):
            note(f"{ORACLE}: POPI's generator answers; controls.oracle_generator=true trains its own")
        trained = all(popi_lacks(run, "population") is None for run in runs)
        return PreferenceWorld(
            options=options,
            runs=runs,
            data=data,
            examples={TASK: ExamplesWithTraits(pairs.examples, pairs.traits)},
            facts={TASK: FACTS},
            fingerprints={TASK: store.fingerprint},
            users_are="clusters of prompts" if split_by_prompt(data) else "users",
            zero=POPULATION if trained and named & {"population", "all"} else BASE,
            base=runs[0].settings.model,
            unseen_bases=[*bases, *black_boxes],
            store=store,
            rejected=pairs.rejected,
            personas=personas,
            train_personas=_train_personas(data) if personas else set(),
            bases=bases,
            black_boxes=black_boxes,
            skipped=pairs.skipped,
            published=published_accuracies(options.published, data),
        )

    def rows(self, world: PreferenceWorld) -> list[Row]:
        """Return baselines and controls around POPI, then frozen models with and without its summaries."""

        def row(name: str, label: str, **how: Any) -> Row:
            return Row(
                name=name,
                label=label,
                open=partial(_open, name),
                why_not=how.pop("why_not", partial(_not_trained, name)),
                **how,
            )

        reads_history = {"curves": ("history",)}
        none_per_user = None if world.options.per_user else "--no-per-user was given"
        return [
            row("base", BASE),
            Row(name="length", label=LENGTH, open=partial(_open_heuristic, "length")),
            Row(
                name="persona-lookup",
                label=LOOKUP,
                open=partial(_open_heuristic, "persona-lookup"),
                why_not=_no_known_persona,
            ),
            row("population", POPULATION, trained=True),
            row("lora-per-user", LORA, why_not=lambda world: none_per_user, **reads_history),
            row("history", HISTORY, **reads_history),
            row("history-recent", RECENT),
            row("history-bm25", BM25),
            row("history-dpo", RAW_DPO, trained=True, **reads_history),
            row("prompted", PROMPTED, **reads_history),
            row("frozen-generator", FROZEN, trained=True),
            row("popi", METHOD, trained=True, required=True, **reads_history),
            row("other", OTHER, trained=True, profiles="other", why_not=_no_other_user),
            row("oracle", ORACLE, trained=True, why_not=_no_persona),
            *(each for base in world.bases for each in _with_and_without_summary(base)),
        ]

    def answering(self, world: PreferenceWorld) -> Answering:
        """Score both answers of each pair under the row's model and its references."""
        from personakit.evaluation.pair_scoring import scored_pairs

        return scored_pairs(world.rejected)

    def claims(self, world: PreferenceWorld, labels: Sequence[str]) -> Claims:
        """Compare POPI with every other row; frozen models with a summary with those without."""
        from personakit.evaluation.results import Claims

        moved = {base: (base + WITH_SUMMARY, base + WITHOUT_SUMMARY) for base in world.bases}
        frozen = {label for pair in moved.values() for label in pair}
        others = [label for label in labels if label != METHOD and label not in frozen]
        return Claims(
            compared=[*((METHOD, label) for label in others), *moved.values()],
            wrong_user=[(METHOD, OTHER, world.zero)],
            gaps=[
                (label, world.zero, ORACLE)
                for label in (LORA, HISTORY, RECENT, BM25, RAW_DPO, PROMPTED, FROZEN, METHOD)
            ],
            transfers={base: (*pair, METHOD, world.zero) for base, pair in moved.items()},
        )

    def leaks(self, world: PreferenceWorld) -> list[Leak]:
        """Look for pairs among the user's signals, for training users, and for training pairs."""
        from personakit.evaluation.pair_scoring import TASK

        users: set[str] = set()
        if world.options.split != "train" and "train" in preference_files(data_folder(world.data)):
            users = set(open_preferences(world.data, "train").user_ids)
        examples = world.examples[TASK]
        rejected = [world.rejected[example.query.id] for example in examples]
        return find_pair_leaks(TASK, examples, rejected, users, trained_on(world.runs)[0])

    def made_by(self, world: PreferenceWorld, rows: Sequence[Row]) -> dict[str, Any]:
        """Record the judge, beta, and which generator the oracle row uses."""
        made: dict[str, Any] = {"beta": world.runs[0].settings.joint.beta}
        if world.options.judge is not None:  # a judge may be added on resume
            made["judge"] = world.options.judge
        if any(row.name == "oracle" for row in rows):
            trained = _trained_on_personas(world.runs)
            made["oracle"] = "a generator trained on personas" if trained else "POPI's generator"
        return made

    def plan(self, world: PreferenceWorld, rows: Sequence[Row]) -> dict[str, Any]:
        """Return users, pairs, and the judge's requests: two per answer it compares."""
        pairs = sum(map(len, world.examples.values()))
        answers = len(_answering_rows(world, rows)) * len(world.store) if world.options.judge else 0
        return {"users": len(world.store), "pairs": pairs, "answers": answers, "judge_requests": 2 * answers}

    def requests(self, world: PreferenceWorld, rows: Sequence[Row]) -> list[CostEstimate]:
        """Estimate the requests to a judge behind an API."""
        from personakit.popi.answering import ANSWER_TOKENS

        judge = world.options.judge
        if judge is None or not is_endpoint(judge):
            return []
        compared = sum(len(row.candidates(world)) for row in _answering_rows(world, rows))
        known = _known(world.store)
        requests = [f"{user.pairs[0].prompt} {known[user.user_id]}" for user in world.store if user.pairs]
        return [
            estimate_verdicts(
                judge,
                requests,
                comparisons=compared,
                answer_tokens=ANSWER_TOKENS,
                verdict_tokens=world.options.judge_tokens,
            )
        ]

    def known(self, world: PreferenceWorld, rows: Sequence[Row]) -> dict[str, Any]:
        """Return the numbers of pairs left out, by reason, and published accuracies."""
        published = {"published_accuracies": world.published} if world.published else {}
        return {"skipped": dict(world.skipped), **published}

    def further(
        self,
        world: PreferenceWorld,
        rows: Sequence[Row],
        passes: PassRunner,
        log: Path,
        results: dict[str, Any],
    ) -> Path:
        """Have answers judged, and count what was left out of prompts and what per-user adapters cost."""
        results |= {"left_out": _left_out(log), "adapters": _adapters(log)}
        if world.options.judge is not None:
            results["judged"] = _judged(world, rows, passes)
        return log

    def notes(self, results: Mapping[str, Any]) -> list[str]:
        """Say what was left out, what adapters cost, and published figures."""
        notes = [f"left out: {count} {reason}." for reason, count in results["skipped"].items()]
        judged = results.get("judged", {})
        for method, count in judged.get("unread", {}).items():
            if count and not judged["rows"]:
                notes.append(f"{method}: none of the judge's {count} verdicts could be read.")
        for method, count in judged.get("failed", {}).items():
            notes.append(f"{method}: {count} requests without an answer, not judged.")
        for method, count in judged.get("cut", {}).items():
            notes.append(f"{method}: {count} answers cut by the token limit, judged as they are.")
        for method, count in judged.get("refused", {}).items():
            notes.append(
                f"{method}: {count} requests refused by the model, judged as they are: mostly empty."
            )
        for method, cost in results.get("adapters", {}).items():
            notes.append(
                f"{method}: one adapter for each of {cost['users']} users, {cost['bytes'] / 1e3:.0f} kB and "
                f"{cost['training_tokens']:.0f} training tokens per user."
            )
        for method, counts in results.get("left_out", {}).items():
            kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items() if kind != "users")
            notes.append(
                f"{method}: the signals of {counts['users']} users did not all fit the prompt ({kinds})."
            )
        for row in results.get("published_accuracies", ()):
            value = f"{row['accuracy']:.2f} % ({row['source']})"
            notes.append(f"published accuracy on {row['data']}, {row['method']}: {value}")
        return notes

    def sections(self, results: Mapping[str, Any], costs: Mapping[str, Costs]) -> list[Section]:
        """Return scores, comparisons, findings, transfer, judged answers, curves, users, costs."""
        from personakit.evaluation import common_sections as common

        zero = str(results["made_by"].get("zero", BASE))
        read = (
            "Accuracy: the share of held-out pairs whose preferred answer has the higher implicit reward "
            "beta (log p - log ref), ties half; ref does not see the context. Same context: ref sees "
            "the same context as the scored model (0.5 by definition for untrained rows). Bits: 1 + log2 "
            "sigmoid(margin), 0 for no knowledge; differences between rows are gains of cross-entropy. "
            "Zero-shot: nothing in the row was trained for its context."
        )
        differences = (
            "Accuracy, paired over users and seeds, with p after Holm's correction over the rows; bits."
        )
        transfer = "Frozen models that have never seen a summary: the gain of POPI's over none."
        judged = results.get("judged") or {}
        wins = (
            "Wins: the share of answers that the judge, given the user and asked in both orders, "
            "prefers "
            "to those of the other row; ties half. Unread: verdicts that are missing or unreadable, not "
            "scored."
        )
        return [
            common.score_section(results, zero, _scores(results), note=read),
            common.comparison_section(results, _comparisons(results), Text(differences)),
            common.findings_section(results),
            common.transfer_section(results, transfer),
            Section("Judged answers", [_wins(judged), Text(wins)] if judged.get("rows") else []),
            common.curve_section(results),
            common.user_section(results),
            common.cost_section(results, costs),
        ]


def _runs(options: Options) -> list[FinishedRun]:
    runs = [read_run(folder, "popi") for folder in options.runs or [newest_run("popi")]]
    check_comparable(runs)
    return runs


def _bases(options: Options) -> tuple[list[str], list[str]]:
    """The frozen models asked for: those that can score texts, and black boxes; all exist."""
    bases = list(dict.fromkeys(options.bases))
    for name in [*bases, *([] if options.judge is None else [options.judge])]:
        check_model(name)
    black_boxes = [base for base in bases if is_endpoint(base)]
    if black_boxes and options.judge is None:
        raise UserError(
            f"--base {black_boxes[0]}: a black box cannot score given texts: only a judge can say what a "
            "summary does to its answers",
            hint="add --judge MODEL, or name a model on this machine",
        )
    return [base for base in bases if base not in black_boxes], black_boxes


def _train_personas(data: str) -> set[str]:
    if "train" not in preference_files(data_folder(data)):
        return set()
    return {user.persona for user in open_preferences(data, "train") if user.persona is not None}


def _open(name: str, world: PreferenceWorld, run: FinishedRun | None) -> Any:
    return open_popi(run or world.runs[0]).row(name, world.personas)


def _open_heuristic(name: str, world: PreferenceWorld, run: None) -> Any:
    return open_heuristic(name, world.data, world.personas, world.runs[0].settings.joint.beta)


def _open_base(base: str, summary: bool, world: PreferenceWorld, run: FinishedRun | None) -> Any:
    return open_popi(run or world.runs[0]).row_of_model(open_base(base), with_summary=summary)


def _with_and_without_summary(base: str) -> list[Row]:
    return [
        Row(label=base + WITHOUT_SUMMARY, open=partial(_open_base, base, False)),
        Row(label=base + WITH_SUMMARY, open=partial(_open_base, base, True), trained=True),
    ]


def _trained_on_personas(runs: Sequence[FinishedRun]) -> bool:
    from personakit.popi.opening import ORACLE_GENERATOR, adapters_of

    return all(ORACLE_GENERATOR in adapters_of(run.folder) for run in runs)


def _not_trained(name: str, world: PreferenceWorld) -> str | None:
    return next((reason for run in world.runs if (reason := popi_lacks(run, name)) is not None), None)


def _no_other_user(world: PreferenceWorld) -> str | None:
    return "there is only one user" if len(world.store) < 2 else None


def _no_persona(world: PreferenceWorld) -> str | None:
    return None if world.personas else "the data does not know its users' personas"


def _no_known_persona(world: PreferenceWorld) -> str | None:
    known = world.train_personas & set(world.personas.values())
    return None if known else "no user has a persona that occurs in training"


def _answering_rows(world: PreferenceWorld, rows: Sequence[Row]) -> list[Row]:
    """The rows whose answers are judged: all with a model, and black boxes, which only answer."""
    models = [row for row in rows if row.label not in (LENGTH, LOOKUP)]
    return [*models, *(each for base in world.black_boxes for each in _with_and_without_summary(base))]


def _judged(world: PreferenceWorld, rows: Sequence[Row], passes: PassRunner) -> dict[str, Any]:
    """Answer each user's first request with every row, have the answers judged, and return the win rates.

    `against` names the row that a row's answers are compared with; `asked` and `unread` count verdicts by
    row, `failed` missing answers (in neither), `cut` and `refused` those that are judged as they are.
    """
    from personakit.evaluation.measurements import TaskMetrics
    from personakit.evaluation.pair_scoring import TASK
    from personakit.evaluation.results import compute_results

    first: dict[str, Example] = {}
    for example in world.examples[TASK]:
        first.setdefault(example.query.user_id, example)
    examples = world.examples[TASK].of(list(first.values()))
    candidates = [each for row in _answering_rows(world, rows) for each in row.candidates(world)]
    log = passes(candidates, {ANSWERS_TASK: examples}, _answers, ANSWERS_FILE)
    samples = list(read_samples(log))
    known, opponents = _known(world.store), _opponents(candidates, world.zero)
    judgement = judge_samples(
        samples,
        opponents,
        open_base(str(world.options.judge)),
        lambda sample: _JUDGE_REQUEST.format(request=sample.query, known=known[sample.user_id]),
        max_new_tokens=world.options.judge_tokens,
    )
    scored = [
        replace(
            samples[place],
            scores=None if verdict is None else {WIN_RATE: verdict},
            utility=verdict,
            unparsable=verdict is None,
        )
        for place, verdict in judgement.verdicts.items()
    ]
    with atomic_file(passes.folder / JUDGED_FILE) as temporary:
        append_batch(temporary, scored)
    found = {
        "against": opponents,
        "asked": dict(judgement.judged),
        "unread": {method: judgement.unread[method] for method in judgement.judged},
        "failed": dict(Counter(each.method for each in samples if each.error is not None)),
        "cut": dict(Counter(each.method for each in samples if each.cut)),
        "refused": dict(Counter(each.method for each in samples if each.refused is not None)),
    }
    if not any(each.scores for each in scored):
        return {"rows": [], **found}
    results = compute_results(
        passes.folder / JUDGED_FILE, {ANSWERS_TASK: TaskMetrics((WIN_RATE,))}, seed=world.options.seed
    )
    return {"rows": [row for row in results["rows"] if row["metric"] == WIN_RATE], **found}


def _answers(
    candidate: Candidate, row: Any, examples: Sequence[Example], profiles: Sequence[Profile]
) -> list[Sample]:
    """Answers without scores: the judge compares them."""
    answers = row.policy.respond([example.query for example in examples], profiles)
    return [
        make_sample(candidate, *each, task=ANSWERS_TASK)
        for each in zip(examples, profiles, answers, strict=True)
    ]


def _opponents(candidates: Sequence[Candidate], zero: str) -> dict[str, str]:
    """The row that each row's answers are compared with: the one that does not know the user."""
    labels = list(dict.fromkeys(candidate.method for candidate in candidates))
    found = {}
    for label in labels:
        base = label.removesuffix(WITH_SUMMARY)
        if base != label and base + WITHOUT_SUMMARY in labels:
            found[label] = base + WITHOUT_SUMMARY
        elif label != zero and (label == BASE or not label.endswith((WITH_SUMMARY, WITHOUT_SUMMARY))):
            found[label] = zero
    return found


def _known(store: PreferenceStore) -> dict[str, str]:
    """What the judge is given about each user: the persona, or the signals in words."""
    return {
        user.user_id: user.persona
        or render_signals(user.signals, count_tokens=lambda text: len(text.split()), max_length=2000)[0]
        for user in store
    }


def _left_out(log: Path) -> dict[str, dict[str, int]]:
    """How many users of each row had signals left out of a prompt, and how many signals of each kind."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    met: set[tuple[str, int | None, str]] = set()
    for sample in read_samples(log):
        dropped = sample.trace.get("left out")
        key = (sample.method, sample.seed, sample.user_id)
        if dropped is None or key in met:
            continue
        met.add(key)
        counts[sample.method]["users"] += 1
        for part in dropped.split(", "):
            count, _, kind = part.partition(" ")
            counts[sample.method][kind] += int(count)
    return {method: dict(some) for method, some in counts.items()}


def _adapters(log: Path) -> dict[str, dict[str, float]]:
    """Mean bytes and training tokens of per-user adapters, by row."""
    found: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    for sample in read_samples(log):
        numbers = [int(word) for word in sample.trace.get("adapter", "").split() if word.isdigit()]
        if len(numbers) == 2:
            found[sample.method][sample.user_id] = (numbers[0], numbers[1])
    return {
        method: {
            "users": len(costs),
            "bytes": fmean(size for size, _ in costs.values()),
            "training_tokens": round(fmean(tokens for _, tokens in costs.values()), 1),
        }
        for method, costs in found.items()
    }


def _scores(results: Mapping[str, Any]) -> Any:
    from personakit.evaluation.common_sections import methods
    from personakit.evaluation.pair_scoring import ACCURACY, BITS, SAME_CONTEXT

    cells = {(row["method"], row["metric"]): row for row in results["rows"]}
    rows = []
    for method in methods(results):
        accuracy = cells[method, ACCURACY]
        rows.append(
            [
                method,
                number(accuracy["value"]),
                interval(accuracy),
                number(cells[method, SAME_CONTEXT]["value"]),
                number(cells[method, BITS]["value"], signed=True),
                f"{accuracy['context_tokens']:.1f}",
            ]
        )
    columns = ["method", "accu-\nracy", "95 %\ninterval", "same\ncontext", "bits", "context\ntokens"]
    return Table(columns, rows)


def _comparisons(results: Mapping[str, Any]) -> Intervals:
    from personakit.evaluation.pair_scoring import BITS

    bits = {(row["method"], row["against"]): row for row in results["comparisons"] if row["metric"] == BITS}
    rows = [
        IntervalRow(
            [one["method"], one["against"]],
            one["difference"],
            one["low"],
            one["high"],
            [
                number(one.get("p_holm")),
                number(bits[one["method"], one["against"]]["difference"], signed=True),
                interval(bits[one["method"], one["against"]], signed=True),
            ],
        )
        for one in results["beats"]
    ]
    columns = ["method", "against", "differ-\nence", "p", "bits", "95 %\ninterval"]
    return Intervals(
        columns, rows, "Paired differences", "positive is better", line=0.0, style="signed", page_details=1
    )


def _wins(judged: Mapping[str, Any]) -> Intervals:
    rows = [
        IntervalRow(
            [row["method"], judged["against"][row["method"]]],
            row["value"],
            row["low"],
            row["high"],
            [f"{judged['unread'][row['method']]}/{judged['asked'][row['method']]}"],
        )
        for row in judged["rows"]
    ]
    return Intervals(["method", "against", "wins", "un-\nread"], rows, "Judged answers", line=0.5)
