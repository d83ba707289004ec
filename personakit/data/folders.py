"""Finds the tasks and splits in a data folder and opens them.

A data folder holds the files of one task directly, or one sub-folder per task (`LaMP_1/`, ..., `LaMP_7/`,
`rewriting/`). The name `lamp-mini` stands for the built-in benchmark, which is generated on first use.
"""

from __future__ import annotations

import functools
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from personakit.data.json_stream import stream_list
from personakit.data.lamp import QUESTIONS, MissingEmailsError, QuestionChecks
from personakit.data.lamp_formats import task_format
from personakit.errors import UserError

if TYPE_CHECKING:
    from personakit.data.store import ExampleStore

LAMP_MINI = "lamp-mini"


def open_examples(path: str | Path, task: str | None = None, split: str = "dev") -> ExampleStore:
    """Open one task's split of a data folder (or of `lamp-mini`) as a lazy sequence of examples.

    `task` may be omitted if the folder holds only one. Raises `UserError` if the folder, task or split does
    not exist; the message lists those that do.
    """
    from personakit.data.store import open_store

    folder = data_folder(path)
    folders = task_folders(folder)
    if task is None and len(folders) > 1:
        raise UserError(
            f"{path} holds {len(folders)} tasks ({', '.join(folders)}) and no task was given",
            hint=f"choose one of them, for example {next(iter(folders))}",
        )
    chosen_task = next(iter(folders)) if task is None else _match(task, folders)
    if chosen_task is None:
        assert task is not None
        raise no_such_task(path, task, folders)
    splits = _splits(folders[chosen_task])
    if split not in splits:
        raise UserError(
            f'{folders[chosen_task]} has no split "{split}" ({split}{QUESTIONS}), '
            f"expected one of {', '.join(splits)}",
            hint="choose one of these splits",
        )
    return open_store(folders[chosen_task], split, task=chosen_task)


def available(path: str | Path) -> list[tuple[str, str]]:
    """Return the (task, split) pairs of a data folder, by task name, then train, dev, test.

    Tasks that cannot be read are not among them (`unreadable_tasks`).
    """
    folders = task_folders(data_folder(path))
    return [(task, split) for task, folder in folders.items() for split in _splits(folder)]


def imported_format(path: str | Path) -> str | None:
    """Return the format that a data folder was imported from; None where it was not imported."""
    return _origin(path, "made_from", "format")


def split_by_prompt(path: str | Path) -> bool:
    """Return whether preferences were imported of too few users to split by user.

    Their users stand for clusters of prompts of the same few people.
    """
    return _origin(path, "preferences", "split_by") == "prompt"


def _origin(path: str | Path, part: str, key: str) -> str | None:
    try:
        document = json.loads((data_folder(path) / "dataset.json").read_text(encoding="utf-8"))
        return str(document[part][key])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def data_folder(path: str | Path) -> Path:
    """Return the folder that `path` names. `lamp-mini` is generated on first use."""
    if str(path) == LAMP_MINI:
        from personakit.data.lamp_mini import folder

        generated: Path = folder()
        return generated
    chosen = Path(path).expanduser()
    if not chosen.is_dir():
        what = "is a file" if chosen.exists() else "does not exist"
        raise UserError(
            f"{chosen} {what}, expected a folder of LaMP files or the name {LAMP_MINI}",
            hint="give the folder of train_questions.json, or convert the file with `personakit data import`",
        )
    return chosen


def holds_questions(folder: Path) -> bool:
    """Return whether a data folder holds LaMP questions (a folder of preferences only does not)."""
    return any(folder.glob(f"?*{QUESTIONS}")) or any(folder.glob(f"*/?*{QUESTIONS}"))


def all_tasks(path: str | Path, split: str) -> list[str]:
    """Return the tasks of a data folder with `split`, for a command that was given none.

    Raises `UserError` if a task cannot be read. LaMP_6 without its e-mails is left out, which a line on
    stderr says.
    """
    for error in unreadable_tasks(data_folder(path)).values():
        if not isinstance(error, MissingEmailsError):
            raise error
        _say_once(f"left out: {error.message}; {error.hint}")
    return [task for task, other in available(path) if other == split]


def task_folders(folder: Path) -> dict[str, Path]:
    """Return the folder of each task in a data folder that can be read, by task name.

    The task is recognised by the first question, not by the folder's name. Raises `UserError` if there is
    none, or if two folders hold one task.
    """
    folders, unreadable = _scan(folder)
    if not folders:
        for error in unreadable.values():
            raise error
        raise UserError(
            f"{folder} and its sub-folders hold no *{QUESTIONS} file, expected LaMP files",
            hint="create a data folder from reviews, rewrites or a history with `personakit data import`",
        )
    return folders


def unreadable_tasks(folder: Path) -> dict[str, UserError]:
    """Return why sub-folders with questions cannot be read, by the sub-folder's name."""
    return _scan(folder)[1]


def _scan(folder: Path) -> tuple[dict[str, Path], dict[str, UserError]]:
    folders: dict[str, Path] = {}
    unreadable: dict[str, UserError] = {}
    for candidate in (folder, *sorted(child for child in folder.iterdir() if child.is_dir())):
        splits = [] if candidate.name.startswith(".") else _splits(candidate)
        if not splits:
            continue
        try:
            task = first_task(candidate / f"{splits[0]}{QUESTIONS}")
        except UserError as error:
            unreadable[candidate.name] = error
            continue
        if task in folders:
            raise UserError(
                f"{candidate} and {folders[task]} both hold {task}, expected one folder per task",
                hint="give one of the two folders",
            )
        folders[task] = candidate
    return folders, unreadable


def no_such_task(path: str | Path, task: str, folders: Mapping[str, Path]) -> UserError:
    """Return the error for a task that no readable folder holds: of the folder that may hold it, if any."""
    wanted = task_format(task)
    for name, error in unreadable_tasks(data_folder(path)).items():
        if name.casefold().replace("-", "_") in (wanted.task.casefold(), wanted.file_task.casefold()):
            return error
    return UserError(
        f'{path} has no task "{task}", expected one of {", ".join(folders)}',
        hint="choose one of these tasks",
    )


@functools.cache
def _say_once(text: str) -> None:
    print(text, file=sys.stderr)


def first_task(questions: Path) -> str:
    """Return the task of a questions file, reading only its first element."""
    checks = QuestionChecks(questions)
    for raw in stream_list(questions, chunk_bytes=1 << 18):
        checks.example(raw)
        break
    if checks.format is None:
        raise UserError(
            f"{questions} is an empty list, expected at least one question", hint="fetch the file again"
        )
    return checks.format.task


def _match(task: str, folders: dict[str, Path]) -> str | None:
    wanted = task_format(task)
    if wanted.task in folders:
        return wanted.task
    return next((name for name in folders if task_format(name).file_task == wanted.task), None)


def _splits(folder: Path) -> list[str]:
    order = {"train": 0, "dev": 1, "test": 2}
    names = [path.name.removesuffix(QUESTIONS) for path in folder.glob(f"?*{QUESTIONS}")]
    return sorted(names, key=lambda name: (order.get(name, len(order)), name))


class _Split(Protocol):
    """A split of data of any kind."""

    def __len__(self) -> int: ...

    def subset(self: S, which: list[int], /) -> S:
        """Return the examples at the given indices."""
        ...


S = TypeVar("S", bound=_Split)
T = TypeVar("T")


def take_evenly(split: S, limit: int | None) -> S:
    """Return at most `limit` examples, evenly distributed over the split."""
    if limit is None or limit >= len(split):
        return split
    return split.subset(_evenly(range(len(split)), limit))


def take_users_evenly(store: ExampleStore, limit: int | None) -> ExampleStore:
    """Return at most `limit` examples of as many users as possible: one of each, then another, and so on.

    Those of a user are evenly distributed over what the user asked. The order stays.
    """
    if limit is None or limit >= len(store):
        return store
    places: dict[str, list[int]] = defaultdict(list)
    for place, user in enumerate(store.user_ids):
        places[user].append(place)
    counts: Counter[str] = Counter()
    while (left := limit - counts.total()) > 0:
        more = [user for user, own in places.items() if len(own) > counts[user]]
        counts.update(_evenly(more, min(len(more), left)))
    return store.subset(sorted(place for user, own in places.items() for place in _evenly(own, counts[user])))


def _evenly(some: Sequence[T], count: int) -> list[T]:
    return [some[number * len(some) // count] for number in range(count)]
