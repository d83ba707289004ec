"""Brings what people have into a data folder: LaMP, reviews, rewrites, histories, preferences, instructions.

The result is a data folder like any other (`folders.py`): one sub-folder a task, beside a
`dataset.json` that says how it was made. Preferences lie in `preferences/`, instructions in
`instructions/`. It is written whole or not at all.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from personakit.data.folders import available, data_folder, task_folders
from personakit.data.history import read_history
from personakit.data.holdout import hold_out
from personakit.data.instructions.detect import INSTRUCTION_FORMATS
from personakit.data.instructions.detect import detect as detect_instructions
from personakit.data.instructions.importing import InstructionReport, import_instructions
from personakit.data.json_stream import stream_list
from personakit.data.lamp import QUESTIONS, write_split
from personakit.data.lamp_formats import task_format
from personakit.data.preferences.detect import PREFERENCE_FORMATS, detect
from personakit.data.preferences.importing import PreferenceReport, SplitBy, import_preferences
from personakit.data.reviews import read_reviews
from personakit.data.rewriting import COLUMNS, TASK, read_rewrites, split_rewrites
from personakit.data.splitting import SplitExamples
from personakit.data.tables import SUFFIXES, read_rows
from personakit.errors import UserError
from personakit.files import atomic_folder, write_json
from personakit.records import Example

FORMATS = ("lamp", "reviews", "rewriting", "history", *PREFERENCE_FORMATS, *INSTRUCTION_FORMATS)
FORMAT_VERSION = 1
DATASET = "dataset.json"


@dataclass(frozen=True, slots=True)
class SplitCounts:
    """How much one split of a task holds."""

    queries: int
    users: int
    empty_profiles: int
    items: int


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import wrote: counts by task and split, what was dropped by task and reason.

    `preferences` is None unless it was a file of preferences, and then all there is; so is `instructions`.
    """

    output: Path
    format: str
    tasks: Mapping[str, Mapping[str, SplitCounts]]
    dropped: Mapping[str, Mapping[str, int]]
    fingerprint: str
    preferences: PreferenceReport | None = None
    instructions: InstructionReport | None = None


def import_data(
    source: Path,
    output: Path,
    *,
    format: str | None = None,
    task: str | None = None,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
    user_column: str | None = None,
    date_column: str | None = None,
    split_by: SplitBy | None = None,
) -> ImportReport:
    """Write `source` as a data folder `output`, which must not exist yet.

    `format` is one of `FORMATS`, found from the file unless given. `task` is needed for a history
    and chooses one of several otherwise; `columns` names columns of rewrites, histories, preferences and
    instructions, `user_column` those of histories and preferences, `date_column` that of a history. `seed`
    fixes the split and what is held out; `split_by` says what of preferences is split
    (`import_preferences`).

    Raises `UserError` naming the place of anything wrong in `source`; `output` is then not made.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(
            f"{output} exists already, expected a new folder", hint="remove it or choose another name"
        )
    if format is not None and format not in FORMATS:
        raise UserError(
            f'unknown format "{format}", expected one of {", ".join(FORMATS)}', hint="name one of these"
        )
    format = format or detect_format(source, columns)
    if split_by is not None and format not in PREFERENCE_FORMATS:
        raise UserError(
            f'{source} ({format}) was to be split by "{split_by}", which only preferences can be',
            hint="leave it out",
        )
    task = None if task is None else task_format(task).task
    if output.exists():
        output.rmdir()  # empty: `atomic_folder` renames onto its name
    with atomic_folder(output) as temporary:
        counts: dict[str, dict[str, SplitCounts]] = {}
        dropped: dict[str, Mapping[str, int]] = {}
        preferences: PreferenceReport | None = None
        instructions: InstructionReport | None = None
        if format in PREFERENCE_FORMATS:
            preferences = import_preferences(
                source,
                temporary,
                format=format,
                seed=seed,
                columns=columns,
                user_column=user_column,
                split_by=split_by,
            )
        elif format in INSTRUCTION_FORMATS:
            instructions = import_instructions(source, temporary, format=format, seed=seed, columns=columns)
        elif format == "lamp":
            counts = _copy_lamp(source, task, temporary)
        else:
            made = _made_tasks(source, format, task, seed, columns, user_column, date_column)
            for name, splits in made:
                counts[name] = _write_task(temporary / name, splits)
                dropped[name] = splits.dropped
        fingerprint = _fingerprint(temporary)
        write_json(
            temporary / DATASET,
            {
                "format_version": FORMAT_VERSION,
                "made_by": "personakit data import",
                "made_from": {"source": source.name, "format": format, "seed": seed},
                "tasks": {
                    name: {split: asdict(each) for split, each in by.items()} for name, by in counts.items()
                },
                "dropped": dropped,
                **({} if preferences is None else {"preferences": asdict(preferences)}),
                **({} if instructions is None else {"instructions": asdict(instructions)}),
                "fingerprint": fingerprint,
            },
        )
    return ImportReport(output, format, counts, dropped, fingerprint, preferences, instructions)


def detect_format(source: Path, columns: Mapping[str, str] | None = None) -> str:
    """Return which of `FORMATS` a folder or file is in; raises `UserError` where it is none."""
    if source.is_dir() or source.name.endswith(QUESTIONS):
        return "lamp"
    if source.suffix.casefold() in SUFFIXES:
        first = next(iter(read_rows(source)), None)
        given = set(first.values if first else ()) | set(columns or {})
        preference = None if first is None else detect(given, first.place)
        if preference is not None:
            return preference
        instruction = None if first is None else detect_instructions(given, first.place)
        if instruction is not None:
            return instruction
        names = {name.casefold() for name in given}
        return "rewriting" if names.issuperset(COLUMNS[1:]) else "history"
    if source.suffix.casefold() == ".json":
        element = next(iter(stream_list(source)), None)
        if isinstance(element, dict):
            preference = detect(element.keys() | set(columns or {}), f"{source}, item 1")
            if preference is not None:
                return preference
            instruction = detect_instructions(element.keys() | set(columns or {}), f"{source}, item 1")
            if instruction is not None:
                return instruction
        if isinstance(element, dict) and "input" in element:
            raise UserError(
                f"{source} holds LaMP questions, expected a name that tells the split",
                hint=f"rename it, for example to dev{QUESTIONS}",
            )
        return "reviews"
    what = "does not exist" if not source.exists() else "is in no format that is known by its name"
    raise UserError(
        f"{source} {what}, expected a LaMP folder, or a file in .json, {', '.join(SUFFIXES)}",
        hint="docs/data.md describes the formats",
    )


def _made_tasks(
    source: Path,
    format: str,
    task: str | None,
    seed: int,
    columns: Mapping[str, str] | None,
    user_column: str | None,
    date_column: str | None,
) -> Iterator[tuple[str, SplitExamples]]:
    if format == "rewriting":
        yield TASK, split_rewrites(read_rewrites(source, columns=columns), seed)
    elif format == "reviews":
        by_task = read_reviews(source)
        if task is not None and task not in by_task:
            raise UserError(
                f'reviews cannot be made into "{task}", expected one of {", ".join(by_task)}',
                hint="leave the task out for both",
            )
        for name in [task] if task else by_task:
            yield name, hold_out(by_task[name], name, seed)
    else:
        if task is None:
            raise UserError(
                f"{source} is a history, and no task was named",
                hint="name the task its items are for, as LaMP_4",
            )
        profiles = read_history(
            source, task, columns=columns, user_column=user_column, date_column=date_column
        )
        dated = all(item.date is not None for profile in profiles for item in profile.items)
        yield task, hold_out(profiles, task, seed, newest=dated)


def _write_task(folder: Path, made: SplitExamples) -> dict[str, SplitCounts]:
    counts = {}
    for split, examples in made.splits.items():
        if examples:
            counter = _Counter()
            write_split(folder, split, counter.counted(examples), user_ids=True)
            counts[split] = counter.counts()
    if not counts:
        raise UserError(
            f"no example of {folder.name} is left after splitting", hint="give more users or items"
        )
    return counts


def _copy_lamp(source: Path, task: str | None, output: Path) -> dict[str, dict[str, SplitCounts]]:
    from personakit.data.store import open_store

    folder, only = (source, None) if source.is_dir() else (source.parent, source.name.removesuffix(QUESTIONS))
    folder = data_folder(folder)
    folders = task_folders(folder) if only is None else {"": folder}
    pairs = available(folder) if only is None else [("", only)]
    counts: dict[str, dict[str, SplitCounts]] = {}
    for name, split in pairs:
        store = open_store(folders[name], split, task=name or task)
        if task not in (None, store.task, task_format(store.task).file_task):
            continue
        counter = _Counter()
        write_split(output / store.task, split, counter.counted(store), user_ids=not store.made_user_ids)
        if store.sidecar is not None:
            shutil.copyfile(store.sidecar.path, output / store.task / store.sidecar.path.name)
        counts.setdefault(store.task, {})[split] = counter.counts()
    if not counts:
        raise UserError(
            f'{source} has no task "{task}", it holds {", ".join(folders)}', hint="name one of these tasks"
        )
    return counts


class _Counter:
    """Counts examples as they pass by on their way to a file."""

    def __init__(self) -> None:
        self._users: set[str] = set()
        self._queries = self._empty = self._items = 0

    def counted(self, examples: Iterable[Example]) -> Iterator[Example]:
        for example in examples:
            self._queries += 1
            self._empty += not example.profile.items
            self._items += len(example.profile.items)
            self._users.add(example.query.user_id)
            yield example

    def counts(self) -> SplitCounts:
        return SplitCounts(self._queries, len(self._users), self._empty, self._items)


def _fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted([*folder.rglob("*.json"), *folder.rglob("*.jsonl")]):
        digest.update(path.relative_to(folder).as_posix().encode())
        with path.open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()[:32]
