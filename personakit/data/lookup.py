"""Finds the profile for a query: of a user in the data, from a file, or an empty one."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from personakit.data.folders import available, data_folder, holds_questions, open_examples
from personakit.data.history import read_history
from personakit.data.instructions import instruction_files, open_instructions
from personakit.data.lamp_formats import profile_item, task_format
from personakit.data.preferences import PreferenceStore, open_preferences, preference_files
from personakit.data.preferences.profiles import as_profile, as_signals
from personakit.data.preferences.signal_file import read_signal_file
from personakit.data.queries import DEFAULT_TASK, INSTRUCTION, PREFERENCE, make_query
from personakit.data.skips import SkipCount, SkipCounts
from personakit.errors import UserError
from personakit.records import Example, PreferenceUser, Profile, Query

if TYPE_CHECKING:
    from personakit.data.store import ExampleStore

_KINDS: dict[str, Literal["preferences", "instructions"]] = {
    "preferences": "preferences",
    "preference": "preferences",
    "instructions": "instructions",
    "instruction": "instructions",
}


def data_kind(path: str, task: str | None = None) -> Literal["questions", "preferences", "instructions"]:
    """Return the kind of data that `task` names; without one, questions if the folder has any."""
    if task is not None:
        return _KINDS.get(task.casefold(), "questions")
    folder = data_folder(path)
    if holds_questions(folder):
        return "questions"
    if preference_files(folder):
        return "preferences"
    return "instructions" if instruction_files(folder) else "questions"


@dataclass
class ProfileLookup:
    """Finds profiles in one split of a data folder, and in files.

    `user` or `profile` (a file) is the default for queries that give neither. `columns` maps item fields to a
    file's columns. With `preferences`, profiles are users' signals, else their histories. `on_skip` is called
    with a file and its skipped rows by reason, `on_read` with a file and what was missing in it.
    """

    data: str
    split: str
    user: str | None = None
    profile: Path | None = None
    columns: Mapping[str, str] | None = None
    preferences: bool = False
    on_skip: Callable[[Path, Mapping[str, SkipCount]], None] = lambda path, skipped: None
    on_read: Callable[[Path, Mapping[str, SkipCount]], None] = lambda path, found: None

    def __post_init__(self) -> None:
        self._examples = cache(self._open_examples)
        self._first_of_user = cache(self._index_users)
        self._of_file = cache(self._read_file)

    def find(
        self,
        text: str,
        task: str | None,
        *,
        id: str = "query",
        user: str | None = None,
        profile: Path | Sequence[Mapping[str, Any]] | None = None,
    ) -> tuple[Query, Profile]:
        """Return the query for `text`, and the profile of `user` or in `profile` (a file or a list)."""
        user = user or (None if profile is not None else self.user)
        source = profile if profile is not None else None if user is not None else self.profile
        query = make_query(text, task=PREFERENCE if self.preferences else task, id=id, user_id=user or "")
        if user is not None:
            return query, self._of_user(user, query.task)
        if source is None:
            return query, Profile("", ())
        if not isinstance(source, Path):
            return query, self._of_items(source, query.task, id)
        found = self._of_file(source, query.task)
        return (replace(query, user_id=found.user_id) if self.preferences else query), found

    def sample(self, task: str | None) -> tuple[Query, Profile]:
        """Return a query and its profile: the user's first, or the first with a non-empty profile."""
        if self.profile is not None:
            raise UserError(
                f"--profile {self.profile} was given without a query",
                hint="give the query, or - to read it from stdin",
            )
        if self.preferences:
            user = self.signals(self.user)
            text = user.pairs[0].prompt
            query = Query(f"{user.user_id}/1", PREFERENCE, text, text, user.user_id)
            return query, as_profile(user.user_id, user.signals)
        if task == INSTRUCTION:
            instruction = open_instructions(self.data, self.split)[0]
            text = f"{instruction.instruction} {instruction.input}".strip()
            return Query(instruction.id, INSTRUCTION, text, text, "", instruction.output), Profile("", ())
        example = self.examples(task)[0]
        return example.query, example.profile

    def examples(self, task: str | None) -> list[Example]:
        """Return a user's examples of a task, by default the first user's with a non-empty profile."""
        examples = self._examples(self._task(task))
        users, sizes = examples.user_ids, examples.profile_sizes
        if self.user is not None and self.user not in users:
            raise self._unknown(self.user, users, examples.task)
        user = self.user or next((user for user, size in zip(users, sizes, strict=True) if size), users[0])
        return [examples[index] for index, other in enumerate(users) if other == user]

    def signals(self, user: str | None) -> PreferenceUser:
        """Return a user of the data, by default the first, with their signals or their profile as signals."""
        if not self.preferences:
            _, profile = replace(self, user=user, profile=None).sample(None)
            return PreferenceUser(profile.user_id, as_signals(profile), ())
        users = self.store.user_ids
        if user is not None and user not in users:
            raise self._unknown(user, users, "preferences")
        return self.store[0 if user is None else users.index(user)]

    def signals_of_file(self, path: Path, user_id: str = "you") -> PreferenceUser:
        """Return the signals of a file. `user_id` is used if the file has none."""
        counts = SkipCounts()
        user, skipped = read_signal_file(path, user_id, counts)
        self.on_read(path, counts.report)
        self.on_skip(path, skipped)
        return user

    @cached_property
    def store(self) -> PreferenceStore:
        """The split's preferences."""
        return open_preferences(self.data, self.split)

    def _task(self, task: str | None) -> str | None:
        if task is not None:
            return task
        tasks = list(dict.fromkeys(name for name, _ in available(self.data)))
        return DEFAULT_TASK if DEFAULT_TASK in tasks else tasks[0]

    def _of_user(self, user: str, task: str) -> Profile:
        if self.preferences:
            return as_profile(user, self.signals(user).signals)
        examples = self._examples(task)
        index = self._first_of_user(task).get(user)
        if index is None:
            raise self._unknown(user, examples.user_ids, examples.task)
        return examples[index].profile

    def _open_examples(self, task: str | None) -> ExampleStore:
        return open_examples(self.data, task, self.split)

    def _index_users(self, task: str) -> dict[str, int]:
        users = self._examples(task).user_ids
        return {user: index for index, user in reversed(list(enumerate(users)))}

    def _read_file(self, path: Path, task: str) -> Profile:
        if self.preferences:
            user = self.signals_of_file(path)
            return as_profile(user.user_id, user.signals)
        counts = SkipCounts()
        profiles = read_history(path, task, columns=self.columns, counts=counts)
        self.on_read(path, counts.report)
        if len(profiles) > 1:
            raise UserError(
                f"{path} holds {len(profiles)} users, expected one",
                hint="keep one user's rows, or import the file with `personakit data import`",
            )
        return profiles[0]

    def _of_items(self, items: Sequence[Mapping[str, Any]], task: str, id: str) -> Profile:
        if self.preferences:
            raise UserError(
                "a line of a batch cannot contain signals",
                hint='give a file as "profile", or a "user" of the data',
            )
        keys = task_format(task).item_keys
        profile_items = []
        for number, item in enumerate(items, start=1):
            for key in keys:
                if not isinstance(item, Mapping) or not isinstance(item.get(key), str):
                    raise UserError(
                        f'query "{id}", profile item {number}: "{key}" is missing or not a text',
                        hint=f"{task} items have {', '.join(keys)}",
                    )
            profile_items.append(
                profile_item(task, str(item.get("id", number)), {key: item[key] for key in keys})
            )
        return Profile("", tuple(profile_items))

    def _unknown(self, user: str, users: Sequence[str], task: str) -> UserError:
        similar = difflib.get_close_matches(user, users, n=1)
        return UserError(
            f'{self.data} ({task}, {self.split}) has no user "{user}"',
            hint=f"did you mean {similar[0]}?"
            if similar
            else f"there are {len(set(users))}, such as {users[0]}",
        )
