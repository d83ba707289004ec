"""Imports data into a data folder: LaMP, reviews, rewrites, histories, preferences, instructions.

The output is a data folder (`folders.py`) with one sub-folder per task and a `dataset.json` with its origin.
Preferences are stored in `preferences/`, instructions in `instructions/`. It is written atomically.
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
    """The size of one split of a task."""

    queries: int
    users: int
    empty_profiles: int
    items: int


@dataclass(frozen=True, slots=True)
class ImportReport:
    """The result of an import: counts by task and split, dropped rows by task and reason.

    For a preference file, only `preferences` is set; for an instruction file, only `instructions`.
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
    """Write `source` as the data folder `output`, which must not exist or must be empty.

    `format` is one of `FORMATS`, detected if None. `task` is required for a history; otherwise it selects one
    of several tasks. `columns` maps fields to column names (rewrites, histories, preferences, instructions);
    `user_column` applies to histories and preferences, `date_column` to histories. `seed` determines the
    split and the held-out items. `split_by` applies to preferences (`import_preferences`).

    Raises `UserError` with the place of the first invalid item in `source`; `output` is then not created.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(
            f"{output} already exists, expected a new folder", hint="remove it or choose another name"
        )
    if format is not None and format not in FORMATS:
        raise UserError(
            f'unknown format "{format}", expected one of {", ".join(FORMATS)}', hint="choose one of these"
        )
    format = format or detect_format(source, columns)
    if split_by is not None and format not in PREFERENCE_FORMATS:
        raise UserError(
            f'{source} ({format}) cannot be split by "{split_by}": only preferences can',
            hint="remove the option",
        )
    task = None if task is None else task_format(task).task
    if output.exists():
        output.rmdir()  # empty; `atomic_folder` renames to this path
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
            built = _built_tasks(source, format, task, seed, columns, user_column, date_column)
            for name, splits in built:
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
                    name: {split: asdict(split_counts) for split, split_counts in counts_by_split.items()}
                    for name, counts_by_split in counts.items()
                },
                "dropped": dropped,
                **({} if preferences is None else {"preferences": asdict(preferences)}),
                **({} if instructions is None else {"instructions": asdict(instructions)}),
                "fingerprint": fingerprint,
            },
        )
    return ImportReport(output, format, counts, dropped, fingerprint, preferences, instructions)


def detect_format(source: Path, columns: Mapping[str, str] | None = None) -> str:
    """Return the format (one of `FORMATS`) of a folder or file. Raises `UserError` if it is none of them."""
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
                f"{source} holds LaMP questions, expected a file name that gives the split",
                hint=f"rename it, for example to dev{QUESTIONS}",
            )
        return "reviews"
    what = "does not exist" if not source.exists() else "has an unknown file type"
    raise UserError(
        f"{source} {what}, expected a LaMP folder, or a file in .json, {', '.join(SUFFIXES)}",
        hint="docs/data.md describes the formats",
    )


def _built_tasks(
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
                f'reviews cannot be converted to "{task}", expected one of {", ".join(by_task)}',
                hint="omit the task to convert to both",
            )
        for name in [task] if task else by_task:
            yield name, hold_out(by_task[name], name, seed)
    else:
        if task is None:
            raise UserError(
                f"{source} is a history, and no task was given",
                hint="give the task of its items, for example LaMP_4",
            )
        profiles = read_history(
            source, task, columns=columns, user_column=user_column, date_column=date_column
        )
        dated = all(item.date is not None for profile in profiles for item in profile.items)
        yield task, hold_out(profiles, task, seed, newest=dated)


def _write_task(folder: Path, built: SplitExamples) -> dict[str, SplitCounts]:
    counts = {}
    for split, examples in built.splits.items():
        if examples:
            counter = _Counter()
            write_split(folder, split, counter.iterate(examples), user_ids=True)
            counts[split] = counter.counts()
    if not counts:
        raise UserError(
            f"no example of {folder.name} is left after splitting", hint="provide more users or items"
        )
    return counts


def _copy_lamp(source: Path, task: str | None, output: Path) -> dict[str, dict[str, SplitCounts]]:
    from personakit.data.store import open_store

    folder, single_split = (
        (source, None) if source.is_dir() else (source.parent, source.name.removesuffix(QUESTIONS))
    )
    folder = data_folder(folder)
    folders = task_folders(folder) if single_split is None else {"": folder}
    pairs = available(folder) if single_split is None else [("", single_split)]
    counts: dict[str, dict[str, SplitCounts]] = {}
    for name, split in pairs:
        store = open_store(folders[name], split, task=name or task)
        if task not in (None, store.task, task_format(store.task).file_task):
            continue
        counter = _Counter()
        write_split(
            output / store.task, split, counter.iterate(store), user_ids=not store.has_derived_user_ids
        )
        if store.sidecar is not None:
            shutil.copyfile(store.sidecar.path, output / store.task / store.sidecar.path.name)
        counts.setdefault(store.task, {})[split] = counter.counts()
    if not counts:
        raise UserError(
            f'{source} has no task "{task}", expected one of {", ".join(folders)}',
            hint="choose one of these tasks",
        )
    return counts


class _Counter:
    """Counts examples while they are written to a file."""

    def __init__(self) -> None:
        self._users: set[str] = set()
        self._queries = self._empty = self._items = 0

    def iterate(self, examples: Iterable[Example]) -> Iterator[Example]:
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
