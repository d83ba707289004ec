"""Looks a data folder over: what it holds, and what would spoil an experiment with it.

Anything that is not in LaMP's format, or in that of preferences or instructions, is an error (`UserError`,
from the readers); what is allowed and still suspicious is a warning here.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from personakit.data.folders import available, data_folder, holds_questions, open_examples
from personakit.data.instructions.check import InstructionCheck, check_instructions
from personakit.data.instructions.store import instruction_files
from personakit.data.lamp_formats import task_format
from personakit.data.near_duplicates import normalized
from personakit.data.preferences.check import PreferenceCheck, check_preferences
from personakit.data.preferences.store import preference_files
from personakit.records import Example

if TYPE_CHECKING:
    from personakit.data.store import ExampleStore

_MIN_VERBATIM_WORDS = 3  # shorter answers turn up in a profile by chance


@dataclass(frozen=True, slots=True)
class SplitCheck:
    """What one split holds.

    `items` are the quartiles and maximum of items per profile. `gold_in_profile` counts generation
    queries whose gold answer (of at least three words) stands word for word in their own profile,
    `query_in_profile` those whose own text is an item of it. `unknown_labels` counts profile items
    whose label is not in the task's list.
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
    empty_golds: int


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The splits of a data folder, its preferences and instructions, and warnings, each one sentence."""

    path: str
    splits: Sequence[SplitCheck]
    warnings: Sequence[str]
    preferences: Sequence[PreferenceCheck] = ()
    instructions: Sequence[InstructionCheck] = ()


def check_data(path: str | Path) -> CheckReport:
    """Read every split of a data folder and report on it.

    Raises `UserError` at the first thing that is not in its format.
    """
    splits: list[SplitCheck] = []
    warnings: list[str] = []
    inputs: dict[str, dict[str, set[int]]] = {}
    users: dict[str, dict[str, set[str]]] = {}
    folder = data_folder(path)
    files = preference_files(folder)
    asked = instruction_files(folder)
    for task, split in available(path) if holds_questions(folder) or not (files or asked) else ():
        store = open_examples(path, task, split)
        check, texts = _check_split(store)
        splits.append(check)
        warnings += _split_warnings(check)
        for other, seen in inputs.get(task, {}).items():
            if common := len(texts & seen):
                warnings.append(f"{task}: {common} inputs of {split} are also in {other}")
        for other, known in users.get(task, {}).items():
            common = 0 if check.made_user_ids or check.dated else len(known.intersection(store.user_ids))
            if common:
                warnings.append(
                    f"{task}: {common} users of {split} are also in {other}, without dates to tell apart"
                )
        inputs.setdefault(task, {})[split] = texts
        users.setdefault(task, {})[split] = set(store.user_ids)
    preferences, about_preferences = check_preferences(files)
    instructions, about_instructions = check_instructions(folder)
    warnings = [*warnings, *about_preferences, *about_instructions]
    return CheckReport(str(path), splits, warnings, preferences, instructions)


def _check_split(store: ExampleStore) -> tuple[SplitCheck, set[int]]:
    counts: Counter[str] = Counter()
    texts: set[int] = set()
    for example in store:
        counts.update(_suspicions(example))
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
        made_user_ids=store.made_user_ids,
        golds=sum(gold is not None for gold in golds),
        dated=store.dated,
        empty_profiles=sizes.count(0),
        items=_quartiles(sizes),
        repeated_inputs=counts["repeated input"],
        repeated_items=counts["repeated item"],
        gold_in_profile=counts["gold in profile"],
        query_in_profile=counts["query in profile"],
        unknown_labels=counts["unknown label"],
        empty_golds=sum(gold is not None and not gold.strip() for gold in golds),
    )
    return check, texts


def _suspicions(example: Example) -> Counter[str]:
    query, items = example.query, example.profile.items
    format = task_format(query.task)
    found: Counter[str] = Counter()
    found["repeated item"] = len(items) - len({tuple(item.fields.values()) for item in items})
    asked_key = format.input_key or format.output_key
    found["query in profile"] = any(item.fields[asked_key].strip() == query.search_text for item in items)
    if format.labels and format.output_key in ("tag", "category"):
        found["unknown label"] = sum(item.fields[format.output_key] not in format.labels for item in items)
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
    said = [
        (check.gold_in_profile, "queries have their gold answer word for word in their own profile"),
        (check.query_in_profile, "queries have their own text as an item of their profile"),
        (check.repeated_inputs, "inputs are repeated"),
        (check.repeated_items, "profile items are repeated within their profile"),
        (check.unknown_labels, "profile items have a label that is not in the task's list"),
        (check.empty_golds, "gold answers are empty"),
        (check.empty_profiles, "queries have an empty profile: they get the generic answer"),
    ]
    warnings = [f"{place}: {count} {what}" for count, what in said if count]
    if check.golds == 0:
        warnings.append(f"{place}: no gold answers, so it can be answered but not scored")
    return warnings
