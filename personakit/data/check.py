"""Validates a data folder: reports its contents and problems that would distort an experiment.

Invalid files raise `UserError` in the readers. Valid but suspicious content becomes a warning here.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from personakit.data.dates import in_calendar
from personakit.data.folders import available, data_folder, holds_questions, open_examples, unreadable_tasks
from personakit.data.instructions.check import InstructionCheck, check_instructions
from personakit.data.instructions.store import instruction_files
from personakit.data.lamp import MissingEmailsError
from personakit.data.lamp_formats import task_format
from personakit.data.near_duplicates import normalized
from personakit.data.own.sources import holds_own_texts
from personakit.data.preferences.check import PreferenceCheck, check_preferences
from personakit.data.preferences.store import preference_files
from personakit.data.skips import counted
from personakit.records import Example

if TYPE_CHECKING:
    from personakit.data.store import ExampleStore

_MIN_VERBATIM_WORDS = 3  # shorter answers occur in profiles by chance


@dataclass(frozen=True, slots=True)
class SplitCheck:
    """The contents of one split.

    `items` holds the quartiles and the maximum of items per profile. `gold_in_profile` counts generation
    queries whose gold answer (of at least three words) occurs verbatim in their own profile;
    `query_in_profile` counts queries whose text is an item of their profile. `unknown_labels` counts profile
    items with a label outside the task's list, `invalid_dates` those with a date that is not in the calendar.
    `made_user_ids` says that user ids were derived from profiles.
    """

    task: str
    split: str
    queries: int
    users: int
    made_user_ids: bool
    golds: int
    dated: bool
    empty_profiles: int
    items: Mapping[str, float]
    repeated_inputs: int
    repeated_items: int
    gold_in_profile: int
    query_in_profile: int
    unknown_labels: int
    invalid_dates: int
    empty_golds: int


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The contents of a data folder, and warnings of one sentence each."""

    path: str
    splits: Sequence[SplitCheck]
    warnings: Sequence[str]
    preferences: Sequence[PreferenceCheck] = ()
    instructions: Sequence[InstructionCheck] = ()


def check_data(path: str | Path) -> CheckReport:
    """Read every split of a data folder and return a report.

    Raises `UserError` for the first invalid item.
    """
    splits: list[SplitCheck] = []
    warnings: list[str] = []
    inputs: dict[str, dict[str, set[int]]] = {}
    users: dict[str, dict[str, set[str]]] = {}
    folder = data_folder(path)
    by_time = holds_own_texts(path)  # the newest are held out, dated or not
    for name, error in unreadable_tasks(folder).items() if holds_questions(folder) else ():
        if not isinstance(error, MissingEmailsError):
            raise error
        warnings.append(f"{name} is not readable: {error.message}; {error.hint}")
    files = preference_files(folder)
    instruction_splits = instruction_files(folder)
    for task, split in (
        available(path) if holds_questions(folder) or not (files or instruction_splits) else ()
    ):
        store = open_examples(path, task, split)
        check, texts = _check_split(store)
        splits.append(check)
        warnings += _split_warnings(check)
        for earlier_split, earlier_inputs in inputs.get(task, {}).items():
            if common := len(texts & earlier_inputs):
                overlap = counted(common, f"inputs of {split} that are also in {earlier_split}")
                warnings.append(f"{task}: {overlap}")
        for earlier_split, earlier_users in users.get(task, {}).items():
            common = (
                0
                if check.made_user_ids or check.dated or by_time
                else len(earlier_users.intersection(store.user_ids))
            )
            if common:
                overlap = counted(common, f"users of {split} that are also in {earlier_split}")
                warnings.append(f"{task}: {overlap}, without dates")
        inputs.setdefault(task, {})[split] = texts
        users.setdefault(task, {})[split] = set(store.user_ids)
    preferences, preference_warnings = check_preferences(files)
    instructions, instruction_warnings = check_instructions(folder)
    warnings = [*warnings, *preference_warnings, *instruction_warnings]
    return CheckReport(str(path), splits, warnings, preferences, instructions)


def _check_split(store: ExampleStore) -> tuple[SplitCheck, set[int]]:
    counts: Counter[str] = Counter()
    texts: set[int] = set()
    for example in store:
        counts.update(_issues(example))
        key = hash(normalized(example.query.text))
        counts["repeated input"] += key in texts
        texts.add(key)
    sizes = store.profile_sizes
    golds = store.golds
    check = SplitCheck(
        task=store.task,
        split=store.split,
        queries=len(store),
        users=len(set(store.user_ids)),
        made_user_ids=store.has_derived_user_ids,
        golds=sum(gold is not None for gold in golds),
        dated=store.dated,
        empty_profiles=sizes.count(0),
        items=_quartiles(sizes),
        repeated_inputs=counts["repeated input"],
        repeated_items=counts["repeated item"],
        gold_in_profile=counts["gold in profile"],
        query_in_profile=counts["query in profile"],
        unknown_labels=counts["unknown label"],
        invalid_dates=counts["invalid date"],
        empty_golds=sum(gold is not None and not gold.strip() for gold in golds),
    )
    return check, texts


def _issues(example: Example) -> Counter[str]:
    query, items = example.query, example.profile.items
    format = task_format(query.task)
    found: Counter[str] = Counter()
    found["repeated item"] = len(items) - len({tuple(item.fields.values()) for item in items})
    input_field = format.input_key or format.output_key
    found["query in profile"] = any(item.fields[input_field].strip() == query.search_text for item in items)
    if format.labels and format.output_key in ("tag", "category"):
        found["unknown label"] = sum(item.fields[format.output_key] not in format.labels for item in items)
    found["invalid date"] = sum(item.date is not None and not in_calendar(item.date) for item in items)
    gold = (query.gold or "").strip()
    if not format.labels and len(gold.split()) >= _MIN_VERBATIM_WORDS:
        found["gold in profile"] = any(gold in value for item in items for value in item.fields.values())
    return found


def _quartiles(sizes: Sequence[int]) -> dict[str, float]:
    if len(sizes) == 1:
        sizes = [sizes[0], sizes[0]]
    low, middle, high = statistics.quantiles(sizes, n=4, method="inclusive")
    return {"q1": low, "median": middle, "q3": high, "max": max(sizes)}


def _split_warnings(check: SplitCheck) -> list[str]:
    place = f"{check.task} {check.split}"
    findings = [
        (check.gold_in_profile, "queries have their gold answer word for word in their own profile"),
        (check.query_in_profile, "queries have their own text as a profile item"),
        (check.repeated_inputs, "inputs are repeated"),
        (check.repeated_items, "profile items are repeated within their profile"),
        (check.unknown_labels, "profile items have a label that is not in the task's list"),
        (check.invalid_dates, "profile items have a date that is not in the calendar"),
        (check.empty_golds, "gold answers are empty"),
        (check.empty_profiles, "queries have an empty profile: they get the generic answer"),
    ]
    warnings = [f"{place}: {count} {what}" for count, what in findings if count]
    if check.golds == 0:
        warnings.append(f"{place}: no gold answers, so it can be answered but not scored")
    return warnings
