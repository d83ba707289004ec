"""Imports data into a data folder: LaMP, reviews, rewrites, histories, preferences, instructions, own texts.

The output is a data folder (`folders.py`) with one sub-folder per task and a `dataset.json` with its origin.
Preferences are stored in `preferences/`, instructions in `instructions/`. It is written atomically.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from personakit.data.folders import (
    available,
    data_folder,
    holds_questions,
    no_such_task,
    task_folders,
    unreadable_tasks,
)
from personakit.data.history import read_history
from personakit.data.holdout import hold_out
from personakit.data.instructions.detect import INSTRUCTION_FORMATS
from personakit.data.instructions.detect import detect as detect_instructions
from personakit.data.instructions.importing import InstructionReport, import_instructions
from personakit.data.lamp import QUESTIONS, MissingEmailsError, write_split
from personakit.data.lamp_formats import item_output, task_format
from personakit.data.own.importing import OwnChoice, OwnReport, import_own
from personakit.data.own.pairs import COLUMNS as PAIR_COLUMNS
from personakit.data.own.pairs import PROFILE_COLUMNS
from personakit.data.own.sources import SOURCES, recognise
from personakit.data.preferences.detect import PREFERENCE_FORMATS, detect
from personakit.data.preferences.importing import PreferenceReport, SplitBy, import_preferences
from personakit.data.reviews import read_reviews
from personakit.data.rewriting import COLUMNS, TASK, read_rewrites, split_rewrites
from personakit.data.sidecar import write_sidecar
from personakit.data.skips import SkipCount, SkipCounts
from personakit.data.splitting import SplitExamples, SplitPlan
from personakit.data.tables import SUFFIXES, read_rows
from personakit.data.utf8 import utf8
from personakit.errors import UserError
from personakit.files import atomic_folder, write_json
from personakit.records import Example, Profile

BUILT_FORMATS = ("reviews", "rewriting", "history")
OWN_FORMATS = tuple(SOURCES)
FORMATS = ("lamp", *BUILT_FORMATS, *PREFERENCE_FORMATS, *INSTRUCTION_FORMATS, *OWN_FORMATS)
_WITH_COLUMNS = (
    *(each for each in FORMATS if each not in ("lamp", "reviews", *OWN_FORMATS)),
    "pairs",
    "profile",
)
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

    `read` counts what was missing in the source (blank rows, missing values, dates). `drawn` counts the users
    of each task whose query was drawn at random, because they have no dates.
    For a preference file, only `preferences` is set; for an instruction file, only `instructions`. `own` says
    what was read of one person's own texts.
    """

    output: Path
    format: str
    tasks: Mapping[str, Mapping[str, SplitCounts]]
    dropped: Mapping[str, Mapping[str, int]]
    drawn: Mapping[str, int]
    read: Mapping[str, SkipCount]
    fingerprint: str
    preferences: PreferenceReport | None = None
    instructions: InstructionReport | None = None
    own: OwnReport | None = None


def import_data(
    source: Path,
    output: Path,
    *,
    format: str | None = None,
    task: str | None = None,
    columns: Mapping[str, str] | None = None,
    split_by: SplitBy | None = None,
    plan: SplitPlan | None = None,
    own: OwnChoice | None = None,
) -> ImportReport:
    """Write `source` as the data folder `output`, which must not exist or must be empty.

    `format` is one of `FORMATS`, detected if None. `task` is required for a history; otherwise it selects one
    of several tasks. `columns` maps fields to column names (rewrites, histories, preferences, instructions,
    pairs), among them `user_id`, and the `date` of a history or of pairs. `split_by` applies to preferences
    (`import_preferences`).
    `plan` determines the split and the held-out items. Its folds are for preferences and what has items, its
    least number of items for the latter, several queries for reviews and histories. `own` is for the formats
    of one person's texts, whose newest are held out, whatever the plan.

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
    columns, plan = dict(columns or {}), plan or SplitPlan()
    if split_by is not None and format not in PREFERENCE_FORMATS:
        raise UserError(
            f'{source} ({format}) cannot be split by "{split_by}": only preferences can',
            hint="remove the option",
        )
    for option, is_given, formats in (
        ("--column", bool(columns), _WITH_COLUMNS),
        ("--fold", plan.fold is not None, (*BUILT_FORMATS, *PREFERENCE_FORMATS)),
        ("--min-items", plan.min_items > 0, BUILT_FORMATS),
        ("--queries", plan.queries > 1, ("reviews", "history")),
        ("--task", task is not None, tuple(each for each in FORMATS if each not in OWN_FORMATS)),
        ("--me", own is not None and bool(own.me), OWN_FORMATS),
        ("--keep-names", own is not None and own.keep_names, OWN_FORMATS),
    ):
        if is_given and format not in formats:
            raise UserError(
                f"{source} ({format}): {option} is for {', '.join(formats)}", hint="remove the option"
            )
    task = None if task is None else task_format(task).task
    if output.exists():
        output.rmdir()  # empty; `atomic_folder` renames to this path
    with atomic_folder(output) as temporary:
        counts: dict[str, dict[str, SplitCounts]] = {}
        dropped: dict[str, Mapping[str, int]] = {}
        drawn: dict[str, int] = {}
        read = SkipCounts()
        preferences: PreferenceReport | None = None
        instructions: InstructionReport | None = None
        own_report: OwnReport | None = None
        if format in PREFERENCE_FORMATS:
            preferences = import_preferences(
                source,
                temporary,
                format=format,
                seed=plan.seed,
                user_column=columns.pop("user_id", None),
                columns=columns,
                split_by=split_by,
                fold=plan.fold,
                missing=read,
            )
        elif format in INSTRUCTION_FORMATS:
            instructions = import_instructions(
                source, temporary, format=format, seed=plan.seed, columns=columns, missing=read
            )
        elif format == "lamp":
            counts = _copy_lamp(source, task, temporary, read)
        else:
            if format in OWN_FORMATS:
                own_report, built = import_own(
                    source,
                    temporary,
                    format=format,
                    choice=own or OwnChoice(),
                    columns=columns,
                    counts=read,
                )
            else:
                built = list(_built_tasks(source, format, task, plan, columns, read))
            for name, splits in built:
                drawn[name] = splits.drawn
                counts[name] = _write_task(temporary / name, splits)
                dropped[name] = splits.dropped
        fingerprint = _fingerprint(temporary)
        write_json(
            temporary / DATASET,
            {
                "format_version": FORMAT_VERSION,
                "made_by": "personakit data import",
                "made_from": {
                    # the name of a chat's file is that of the other person
                    **({} if format in OWN_FORMATS else {"source": source.name}),
                    "format": format,
                    **asdict(plan),
                },
                "tasks": {
                    name: {split: asdict(split_counts) for split, split_counts in counts_by_split.items()}
                    for name, counts_by_split in counts.items()
                },
                "dropped": dropped,
                "drawn": drawn,
                "read": _without_places(read.report) if format in OWN_FORMATS else _documented(read.report),
                **({} if preferences is None else {"preferences": asdict(preferences)}),
                **({} if instructions is None else {"instructions": asdict(instructions)}),
                **({} if own_report is None else {"own": _own_document(own_report)}),
                "fingerprint": fingerprint,
            },
        )
    return ImportReport(
        output,
        format,
        counts,
        dropped,
        drawn,
        read.report,
        fingerprint,
        preferences,
        instructions,
        own_report,
    )


def _documented(counts: Mapping[str, SkipCount]) -> dict[str, Any]:
    return {reason: asdict(count) for reason, count in counts.items()}


def _own_document(report: OwnReport) -> dict[str, Any]:
    return asdict(report) | {"skipped": _without_places(report.skipped)}


def _without_places(counts: Mapping[str, SkipCount]) -> dict[str, Any]:
    """Return counts without the first places, whose paths and chats have people's names."""
    return {reason: {"count": count.count} for reason, count in counts.items()}


def detect_format(source: Path, columns: Mapping[str, str] | None = None) -> str:
    """Return the format (one of `FORMATS`) of a folder or file. Raises `UserError` if it is none of them."""
    if source.name.endswith(QUESTIONS) or (source.is_dir() and holds_questions(source)):
        return "lamp"
    recognised = recognise(source)
    if recognised is not None:
        return recognised
    if source.is_dir():
        if (source / DATASET).exists():  # preferences or instructions, or a task named badly
            return "lamp"
        raise UserError(
            f"{source} holds nothing to import, expected mail, chats, a git history, notes (.md, .txt) or "
            f"LaMP questions (*{QUESTIONS})",
            hint="give a table or another file itself; docs/data.md describes the formats",
        )
    if source.is_file() and not source.stat().st_size:
        raise UserError(f"{source} is empty, expected something to import", hint="export or copy it again")
    if source.suffix.casefold() not in SUFFIXES:
        if source.is_file():
            with source.open("rb") as handle:
                utf8(handle, str(source))  # an archive has a hint of its own
        what = "does not exist" if not source.exists() else "has an unknown file type"
        raise UserError(
            f"{source} {what}, expected a LaMP folder, a file in {', '.join(SUFFIXES)}, or own "
            "texts (mail, chats, git, notes)",
            hint="docs/data.md describes the formats; --format notes reads a text file as a note",
        )
    first = next(iter(read_rows(source)), None)
    if first is None:
        raise UserError(f"{source} has no rows, expected at least one", hint="fetch or export it again")
    given = set(first.values) | set(columns or {})
    detected = detect(given, first.place) or detect_instructions(given, first.place)
    if detected is not None:
        return detected
    if {"input", "profile"} <= given:
        raise UserError(
            f"{source} holds LaMP questions, expected a file name that gives the split",
            hint=f"rename it, for example to dev{QUESTIONS}",
        )
    if "profile" in given:
        return "reviews"
    names = {name.casefold() for name in given}
    if names.issuperset(PAIR_COLUMNS):
        return "pairs"
    if PROFILE_COLUMNS[-1] in names and any(
        names.union(map(str.casefold, row.values)).issuperset(PROFILE_COLUMNS) for row in read_rows(source)
    ):
        return "profile"  # the texts that were learned from edits, which have drafts, are its last ones
    return "rewriting" if names.issuperset(COLUMNS[1:]) else "history"


def _built_tasks(
    source: Path,
    format: str,
    task: str | None,
    plan: SplitPlan,
    columns: dict[str, str],
    counts: SkipCounts,
) -> Iterator[tuple[str, SplitExamples]]:
    if format == "rewriting":
        yield TASK, split_rewrites(read_rewrites(source, columns=columns, counts=counts), plan)
    elif format == "reviews":
        by_task = read_reviews(source, counts)
        if task is not None and task not in by_task:
            raise UserError(
                f'reviews cannot be converted to "{task}", expected one of {", ".join(by_task)}',
                hint="omit the task to convert to both",
            )
        names = [task] if task else list(by_task)
        items: dict[str, int] = {}
        for profile in chain.from_iterable(by_task[name] for name in names):
            count = len(profile.items)
            items[profile.user_id] = min(count, items.get(profile.user_id, count))
        split_of = plan.split(items)  # one split for all tasks: they share texts
        for name in names:
            yield name, hold_out(by_task[name], name, split_of, plan)
    else:
        if task is None:
            found = ", ".join(next(iter(read_rows(source))).values)
            raise UserError(
                f"{source} ({found}) is a history, and no task was given",
                hint="give the task of its items, for example --task LaMP_4; other data needs names for its "
                "columns, for example --column prompt=COLUMN",
            )
        profiles = read_history(source, task, columns=columns, counts=counts)
        usable = [_usable(profile, task, counts) for profile in profiles]
        split_of = plan.split({profile.user_id: len(profile.items) for profile in usable})
        yield task, hold_out(usable, task, split_of, plan)


def _usable(profile: Profile, task: str, counts: SkipCounts) -> Profile:
    """Return a profile without the items that cannot stand in a LaMP file, counted.

    These are items without a date where others of the user have one, and labels outside the task's list.
    """
    format = task_format(task)
    is_dated = any(item.date is not None for item in profile.items)
    items = []
    for item in profile.items:
        reason = None
        if is_dated and item.date is None:
            reason = "items left out because they have no date and others of their user have"
        elif format.labels and item_output(task, item) not in format.labels:
            reason = f"items left out because their {format.output_key} is not in the list of {task}"
        if reason is None:
            items.append(item)
        else:
            counts.add(reason, f'user "{profile.user_id}", item "{item.id}"')
    return Profile(profile.user_id, tuple(items))


def _write_task(folder: Path, built: SplitExamples) -> dict[str, SplitCounts]:
    counts = {}
    for split, examples in built.splits.items():
        if examples:
            counter = _Counter()
            write_split(folder, split, counter.iterate(examples), user_ids=True)
            if built.peers:
                write_sidecar(
                    folder, split, {each.query.id: _sidecar_row(each, built.peers) for each in examples}
                )
            counts[split] = counter.counts()
    if not counts:
        raise UserError(
            f"no example of {folder.name} is left after splitting", hint="provide more users or items"
        )
    return counts


def _sidecar_row(example: Example, peers: Mapping[str, str]) -> dict[str, str]:
    peer = peers.get(example.query.id)
    return {"user_id": example.query.user_id} | ({} if peer is None else {"peer": peer})


def _copy_lamp(
    source: Path, task: str | None, output: Path, read: SkipCounts
) -> dict[str, dict[str, SplitCounts]]:
    from personakit.data.store import open_store

    folder, single_split = (
        (source, None) if source.is_dir() else (source.parent, source.name.removesuffix(QUESTIONS))
    )
    folder = data_folder(folder)
    folders = task_folders(folder) if single_split is None else {"": folder}
    pairs = available(folder) if single_split is None else [("", single_split)]
    if task is None and single_split is None:
        for error in unreadable_tasks(folder).values():
            if not isinstance(error, MissingEmailsError):
                raise error
            read.add("tasks left out because their e-mails are missing", error.message)
    counts: dict[str, dict[str, SplitCounts]] = {}
    for name, split in pairs:
        if name and task is not None and task not in (name, task_format(name).file_task):
            continue
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
        raise no_such_task(source, str(task), folders)
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
