"""What `eval` looks for before it asks anybody: leaks, which make a score too good to be true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personakit.cli.output import note
from personakit.errors import UserError

if TYPE_CHECKING:
    from personakit.cli.comparison import Examples
    from personakit.evaluation.leaks import Leak
    from personakit.methods import FinishedRun

LEAKS_FILE = "leaks.jsonl"

Found = tuple[list["Leak"], list[str]]
"""The leaks, and the runs that have not written down what they were trained on."""


def look_for_leaks(data: str, runs: Sequence[FinishedRun], examples: Examples, *, strict: bool) -> Found:
    """Return the leaks in `examples`, and say how many there are of each kind.

    Raises `UserError` where there is one and `strict` was asked for.
    """
    from personakit.data import available, open_examples
    from personakit.evaluation.leaks import find_leaks, leak_sentences, leaks_document
    from personakit.training.seen import read_trained_on

    there = set(available(data))
    training = {task: open_examples(data, task, "train") for task in examples if (task, "train") in there}
    seen = {str(run.folder): read_trained_on(run.folder) for run in runs}
    known = {run: digests for run, digests in seen.items() if digests is not None}
    leaks = find_leaks(examples, training, known)
    unknown = [run for run in seen if run not in known]
    sentences = list(leak_sentences(leaks_document(leaks, unknown)))
    for sentence in sentences:
        note(sentence)
    if leaks and strict:
        raise UserError(
            f"--strict: {len({(leak.task, leak.query_id) for leak in leaks})} queries leak; {sentences[0]}",
            hint="take them out of the data, or evaluate without --strict, which counts and lists them",
        )
    return leaks, unknown


def write_leaks(folder: Path, leaks: Sequence[Leak], unknown: Sequence[str]) -> dict[str, Any]:
    """List all leaks in the evaluation's folder, and return what its results say of them."""
    import orjson

    from personakit.evaluation.leaks import leaks_document
    from personakit.files import write_text

    if leaks:
        lines = [orjson.dumps(asdict(leak), option=orjson.OPT_APPEND_NEWLINE).decode() for leak in leaks]
        write_text(folder / LEAKS_FILE, "".join(lines))
    return leaks_document(leaks, unknown)
