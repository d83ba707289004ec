"""Whose history a query is answered with: a user of the data, a file of one's own, or nobody's."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personakit.cli.queries import DEFAULT_TASK, INSTRUCTION, make_query
from personakit.errors import UserError
from personakit.records import Example, Profile, Query

if TYPE_CHECKING:
    from personakit.data.store import ExampleStore


class Histories:
    """Finds the profile of each query of one call; `user` or `profile` holds for all of them."""

    def __init__(
        self,
        data: str,
        split: str,
        *,
        user: str | None = None,
        profile: Path | None = None,
        columns: Sequence[str] | None = None,
    ) -> None:
        self.data, self.split = data, split
        self.user, self.profile = user, profile
        self.columns = parse_columns(columns)
        self._examples = cache(self._open)
        self._places = cache(self._first_places)
        self._file = cache(self._read)

    def ask(
        self,
        text: str,
        task: str | None,
        *,
        id: str = "query",
        user: str | None = None,
        profile: Path | Sequence[Mapping[str, Any]] | None = None,
    ) -> tuple[Query, Profile]:
        """Return the query that `text` is, and the history for it; `user` and `profile` are its own."""
        user = user or (None if profile is not None else self.user)
        source = profile if profile is not None else None if user is not None else self.profile
        query = make_query(text, task=task, id=id, user_id=user or "")
        if user is not None:
            return query, self._of_user(user, query.task)
        if source is None:
            return query, Profile("", ())
        if isinstance(source, Path):
            return query, self._file(source, query.task)
        return query, _inline(source, query.task, id)

    def sample(self, task: str | None) -> tuple[Query, Profile]:
        """Return a query of the data: the user's first, or the first with a history."""
        if self.profile is not None:
            raise UserError(
                f"--profile {self.profile} was given without a query",
                hint="say what is asked, or - to read it from stdin",
            )
        if task == INSTRUCTION:
            return self._first_instruction()
        example = self.examples_of_user(task)[0]
        return example.query, example.profile

    def _first_instruction(self) -> tuple[Query, Profile]:
        from personakit.data.instructions import open_instructions

        one = open_instructions(self.data, self.split)[0]
        text = f"{one.instruction} {one.input}".strip()
        return Query(one.id, INSTRUCTION, text, text, "", one.output), Profile("", ())

    def examples_of_user(self, task: str | None) -> list[Example]:
        """Return the user's examples of a task; without a user, those of the first with a history."""
        examples = self._examples(self._task(task))
        users = examples.user_ids
        if self.user is not None and self.user not in users:
            raise self._unknown(self.user, examples)
        sizes = examples.profile_sizes
        user = self.user or next((user for user, size in zip(users, sizes, strict=True) if size), users[0])
        return [examples[place] for place, other in enumerate(users) if other == user]

    def _task(self, task: str | None) -> str | None:
        from personakit.data import available

        if task is not None:
            return task
        there = list(dict.fromkeys(name for name, _ in available(self.data)))
        return DEFAULT_TASK if DEFAULT_TASK in there else there[0]

    def _of_user(self, user: str, task: str) -> Profile:
        examples = self._examples(task)
        place = self._places(task).get(user)
        if place is None:
            raise self._unknown(user, examples)
        return examples[place].profile

    def _first_places(self, task: str) -> dict[str, int]:
        """Where each user's first example of a task stands."""
        users = self._examples(task).user_ids
        return {user: place for place, user in reversed(list(enumerate(users)))}

    def _open(self, task: str | None) -> ExampleStore:
        from personakit.data import open_examples

        return open_examples(self.data, task, self.split)

    def _read(self, path: Path, task: str) -> Profile:
        from personakit.data.history import read_history

        profiles = read_history(path, task, columns=self.columns)
        if len(profiles) > 1:
            raise UserError(
                f"{path} holds the histories of {len(profiles)} users, expected one user's",
                hint="keep one user's rows; a file of many is imported with `personakit data import`",
            )
        return profiles[0]

    def _unknown(self, user: str, examples: ExampleStore) -> UserError:
        users = list(dict.fromkeys(examples.user_ids))
        near = difflib.get_close_matches(user, users, n=1)
        return UserError(
            f'{self.data} ({examples.task}, {self.split}) has no user "{user}"',
            hint=f"did you mean {near[0]}?" if near else f"there are {len(users)}, such as {users[0]}",
        )


def parse_columns(columns: Sequence[str] | None) -> dict[str, str]:
    """Read `--column FIELD=COLUMN` options."""
    parsed = {}
    for option in columns or ():
        name, equals, column = option.partition("=")
        if not (name and equals and column):
            raise UserError(
                f"--column {option}: expected FIELD=COLUMN", hint="for example --column text=body"
            )
        parsed[name] = column
    return parsed


def _inline(items: Sequence[Mapping[str, Any]], task: str, id: str) -> Profile:
    """A history given inside a batch line: a list of items with the task's fields."""
    from personakit.data.lamp_formats import profile_item, task_format

    wanted = task_format(task).item_keys
    made = []
    for number, item in enumerate(items, start=1):
        for key in wanted:
            if not isinstance(item, Mapping) or not isinstance(item.get(key), str):
                raise UserError(
                    f'query "{id}", profile item {number}: "{key}" is missing or no text',
                    hint=f"{task} items have {', '.join(wanted)}",
                )
        made.append(profile_item(task, str(item.get("id", number)), {key: item[key] for key in wanted}))
    return Profile("", tuple(made))
