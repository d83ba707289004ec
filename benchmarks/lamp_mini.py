"""Does lamp-mini have the properties it should? Measured on dev, printed as one table with the bounds.

    python benchmarks/lamp_mini.py [--seed 2026] [--run RUN] [--limit 300]

`--run` is a finished `personakit train rpo` run whose rewriter is the fine-tuned model of the table; without
it that line is left out. Writes benchmarks/results/lamp_mini-SEED.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from personakit.baselines import ContextInjection, CopyInput, Generic, Oracle
from personakit.contracts import Personalizer
from personakit.data import open_examples
from personakit.data.lamp_formats import LAMP_TASKS
from personakit.data.lamp_mini import USERS, folder
from personakit.data.lamp_mini.instructions import instruction_prompt
from personakit.evaluation.candidates import other_user_examples
from personakit.files import write_text
from personakit.methods import open_base, open_run
from personakit.models.nano import FOLDER as NANO_FOLDER
from personakit.records import Context, Example, Instruction
from personakit.retrieval import open_retriever
from personakit.retrieval.encoders import open_encoder
from personakit.tasks import get_task

RESULTS = Path(__file__).parent / "results"
MAX_LENGTH = 512
SINGLES = 40
NOTICES = 60
CHOSEN = 2


class Measured:
    """Utilities of personalizers on the dev split, task by task."""

    def __init__(self, data: Path, limit: int) -> None:
        self.examples: dict[str, Sequence[Example]] = {
            task: open_examples(data, task, "dev").subset(limit) for task in LAMP_TASKS
        }
        self.rows: dict[str, dict[str, float]] = {}

    def add(self, name: str, who: Personalizer, profiles: str = "own") -> None:
        """Measure one row."""
        self.rows[name] = {}
        for task, examples in self.examples.items():
            own = [each.profile for each in examples]
            if profiles == "other":
                own = [own[place] for place in other_user_examples(examples)]
            answers = who.respond([each.query for each in examples], own)
            golds = [each.query.gold or "" for each in examples]
            self.rows[name][task] = float(
                np.mean([get_task(task).utility(a.text, g) for a, g in zip(answers, golds, strict=True)])
            )

    def mean(self, name: str) -> float:
        """The primary figure of a row."""
        return float(np.mean(list(self.rows[name].values())))

    def closed(self, name: str) -> float:
        """The share of the gap from generic to oracle that a row closes."""
        low, high = self.mean("generic"), self.mean("oracle")
        return (self.mean(name) - low) / (high - low)


def single_items(measured: Measured, limit: int) -> tuple[float, float]:
    """The best single item of each history and BM25's first, as context injection uses them."""
    model, first = open_base("nano"), open_retriever("bm25", 1)
    best, bm25 = [], []
    for name, examples in measured.examples.items():
        task = get_task(name)
        shown = list(examples)[:limit]
        queries = [each.query for each in shown for _ in each.profile.items]
        contexts = [Context((item,)) for each in shown for item in each.profile.items]
        prompts = [
            task.prompt_with_context(query, context, count_tokens=model.count_tokens, max_length=MAX_LENGTH)
            for query, context in zip(queries, contexts, strict=True)
        ]
        texts = model.generate(prompts, max_new_tokens=task.max_new_tokens)
        paid = [
            task.utility(task.parse(text[0]) or text[0].strip(), query.gold or "")
            for query, text in zip(queries, texts, strict=True)
        ]
        place = 0
        for each, context in zip(
            shown,
            first.context([each.query for each in shown], [each.profile for each in shown]),
            strict=True,
        ):
            own = paid[place : place + len(each.profile.items)]
            place += len(own)
            best.append(max(own))
            bm25.append(own[[item.id for item in each.profile.items].index(context.items[0].id)])
    return float(np.mean(best)), float(np.mean(bm25))


def pool_choice(data: Path, limit: int) -> tuple[float, float, float]:
    """ROUGE-1 of notices with no prompt, with cosine's two prompts and with the two a greedy search picks."""
    model, task = open_base("nano"), get_task("LaMP_4")
    pool = _instructions(data / "instructions" / "pool.jsonl")
    asked = _instructions(data / "instructions" / "dev.jsonl")[:limit]

    def paid(wanted: Sequence[Instruction], shown: Sequence[Sequence[Instruction]]) -> list[float]:
        prompts = [instruction_prompt(one, some) for one, some in zip(wanted, shown, strict=True)]
        texts = model.generate(prompts, max_new_tokens=task.max_new_tokens)
        return [
            task.utility(task.parse(text[0]) or "", one.output)
            for one, text in zip(wanted, texts, strict=True)
        ]

    encoder = open_encoder(str(NANO_FOLDER))
    vectors, wanted = (
        _unit(encoder.encode([f"{each.instruction} {each.input}" for each in some])) for some in (pool, asked)
    )
    nearest = [list(np.argsort(-row, kind="stable")[:CHOSEN][::-1]) for row in wanted @ vectors.T]
    cosine = paid(asked, [[pool[index] for index in row] for row in nearest])

    chosen: list[list[Instruction]] = [[] for _ in asked]
    for _ in range(CHOSEN):
        rows = [(one, [*had, each]) for one, had in zip(asked, chosen, strict=True) for each in pool]
        scores = np.array(paid([one for one, _ in rows], [some for _, some in rows])).reshape(len(asked), -1)
        chosen = [rows[number * len(pool) + int(best)][1] for number, best in enumerate(scores.argmax(1))]
    greedy = paid(asked, chosen)
    return float(np.mean(paid(asked, [[] for _ in asked]))), float(np.mean(cosine)), float(np.mean(greedy))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--limit", type=int, default=300)
    options = parser.parse_args()
    data = folder(options.seed)
    measured = Measured(data, options.limit)
    nano = open_base("nano")
    oracle = {
        each.query.id: str((examples.traits(each.query.id) or {})["oracle"])  # type: ignore[attr-defined]
        for examples in measured.examples.values()
        for each in examples
    }
    measured.add("oracle", Oracle(oracle))
    measured.add("generic", Generic(nano))
    measured.add("copy the input", CopyInput())
    for k in (1, 4):
        measured.add(
            f"context injection, k={k}", ContextInjection(nano, open_retriever("bm25", k), MAX_LENGTH)
        )
    measured.add(
        "context injection, another user's",
        ContextInjection(nano, open_retriever("bm25", 4), MAX_LENGTH),
        "other",
    )
    if options.run:
        measured.add("fine-tuned rewriter", open_run(options.run))
    best, bm25 = single_items(measured, min(SINGLES, options.limit))
    plain, cosine, greedy = pool_choice(data, NOTICES)

    other, generic = measured.mean("context injection, another user's"), measured.mean("generic")
    checks: list[tuple[str, float, str, Callable[[float], bool]]] = [
        ("test users a task", USERS["test"], "at least 300", lambda value: value >= 300),
        ("oracle", measured.mean("oracle"), "above 0.95", lambda value: value > 0.95),
        ("another user's history - generic", other - generic, "at most 0", lambda value: value <= 0),
        (
            "gap closed by context injection, k=4",
            measured.closed("context injection, k=4"),
            "at least 0.25",
            lambda value: value >= 0.25,
        ),
        ("best single item - BM25's at k=1", best - bm25, "at least 0.05", lambda value: value >= 0.05),
        (
            "greedy - cosine prompts of the pool",
            greedy - cosine,
            "at least 0.05",
            lambda value: value >= 0.05,
        ),
    ]
    if options.run:
        checks.append(
            (
                "gap closed by a fine-tuned rewriter",
                measured.closed("fine-tuned rewriter"),
                "at most 0.80",
                lambda value: value <= 0.80,
            )
        )
    lines = [
        f"lamp-mini, seed {options.seed}, dev, {options.limit} users a task",
        "",
        "| row | " + " | ".join(LAMP_TASKS) + " | mean | of the gap |",
        "|---|" + "---|" * (len(LAMP_TASKS) + 2),
        *(
            f"| {name} | "
            + " | ".join(f"{row[task]:.3f}" for task in LAMP_TASKS)
            + f" | {measured.mean(name):.3f} | {measured.closed(name):.2f} |"
            for name, row in measured.rows.items()
        ),
        "",
        f"Notices (ROUGE-1): no prompt {plain:.3f}, cosine's two {cosine:.3f}, greedy's two {greedy:.3f}. "
        f"One item (k=1): BM25's {bm25:.3f}, the best {best:.3f}.",
        "",
        "| check | measured | wanted | holds |",
        "|---|---|---|---|",
        *(
            f"| {name} | {value:.3f} | {wanted} | {'yes' if holds(value) else 'NO'} |"
            for name, value, wanted, holds in checks
        ),
    ]
    print("\n".join(lines))
    write_text(RESULTS / f"lamp_mini-{options.seed}.md", "\n".join(lines) + "\n")


def _instructions(path: Path) -> list[Instruction]:
    return [Instruction(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


if __name__ == "__main__":
    main()
