"""What `eval` looks for before it asks anybody: leaks, which make a score too good to be true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from personakit.cli.output import note
from personakit.errors import UserError

if TYPE_CHECKING:
    from personakit.cli.comparison import Examples
    from personakit.data.instructions import InstructionStore
    from personakit.evaluation.leaks import Leak
    from personakit.evaluation.preferences import PreferencePairs

LEAKS_FILE = "leaks.jsonl"


class Trained(Protocol):
    """A run of any method."""

    @property
    def folder(self) -> Path:
        """Where it is."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """The leaks, and the runs that have not written down what they were trained on."""

    leaks: Sequence[Leak]
    unknown: Sequence[str]

    def document(self) -> dict[str, Any]:
        """Return what a results document says of them."""
        from personakit.evaluation.leaks import leaks_document

        return leaks_document(self.leaks, self.unknown)

    def tell(self, *, strict: bool) -> Found:
        """Say how many there are of each kind; `UserError` where there is one and `strict` was asked for."""
        from personakit.evaluation.leaks import leak_sentences

        sentences = list(leak_sentences(self.document()))
        for sentence in sentences:
            note(sentence)
        if self.leaks and strict:
            queries = len({(leak.task, leak.query_id) for leak in self.leaks})
            raise UserError(
                f"--strict: {queries} queries leak; {sentences[0]}",
                hint="take them out of the data, or evaluate without --strict, which counts and lists them",
            )
        return self

    def write(self, folder: Path) -> dict[str, Any]:
        """List all leaks in the evaluation's folder, and return what its results say of them."""
        import orjson

        from personakit.files import write_text

        if self.leaks:
            lines = [
                orjson.dumps(asdict(leak), option=orjson.OPT_APPEND_NEWLINE).decode() for leak in self.leaks
            ]
            write_text(folder / LEAKS_FILE, "".join(lines))
        return self.document()


def look_for_leaks(data: str, runs: Sequence[Trained], examples: Examples, *, strict: bool) -> Found:
    """Return the leaks in `examples`, and say how many there are of each kind.

    Raises `UserError` where there is one and `strict` was asked for.
    """
    from personakit.data import available, open_examples
    from personakit.evaluation.leaks import find_leaks

    there = set(available(data))
    training = {task: open_examples(data, task, "train") for task in examples if (task, "train") in there}
    known, unknown = _trained_on(runs)
    return Found(find_leaks(examples, training, known), unknown).tell(strict=strict)


def look_for_pair_leaks(
    data: str, split: str, runs: Sequence[Trained], pairs: PreferencePairs, *, strict: bool
) -> Found:
    """The same of held-out pairs: whose users are in training, who are among the signals, or trained on."""
    from personakit.data.folders import data_folder
    from personakit.data.preferences import open_preferences, preference_files
    from personakit.evaluation.leaks import find_pair_leaks
    from personakit.evaluation.preferences import TASK

    users: set[str] = set()
    if split != "train" and "train" in preference_files(data_folder(data)):
        users = set(open_preferences(data, "train").user_ids)
    known, unknown = _trained_on(runs)
    return Found(find_pair_leaks(TASK, pairs, pairs.rejected, users, known), unknown).tell(strict=strict)


def look_for_instruction_leaks(runs: Sequence[Trained], asked: InstructionStore, *, strict: bool) -> Found:
    """The same of instructions, which are nobody's: those that a run was trained on."""
    from personakit.evaluation.instructions import TASK
    from personakit.evaluation.leaks import QueryDigest, seen_in_training
    from personakit.pillow.encoding import question
    from personakit.training.training_digests import seen_digest

    known, unknown = _trained_on(runs)
    digests = [
        QueryDigest(one.id, user, seen_digest(question(one), one.output))
        for one, user in zip(asked.rows, asked.user_ids, strict=True)
    ]
    return Found(list(seen_in_training(TASK, digests, known)), unknown).tell(strict=strict)


def _trained_on(runs: Sequence[Trained]) -> tuple[Mapping[str, frozenset[str]], list[str]]:
    """What each run has seen, and the runs that have not written it down."""
    from personakit.training.training_digests import read_trained_on

    seen = {str(run.folder): read_trained_on(run.folder) for run in runs}
    known = {run: digests for run, digests in seen.items() if digests is not None}
    return known, [run for run in seen if run not in known]
