"""Finds the tasks and splits in a data folder and opens them.

A data folder holds one task's files directly, or one sub-folder for each task
(`LaMP_1/`, ..., `LaMP_7/`, `rewriting/`). The name `lamp-mini` stands for the built-in benchmark,
which is generated when it is first asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from personakit.data.json_stream import stream_list
from personakit.data.lamp import QUESTIONS, QuestionChecks
from personakit.data.lamp_formats import task_format
from personakit.errors import UserError

if TYPE_CHECKING:
    from personakit.data.store import ExampleStore

LAMP_MINI = "lamp-mini"


def open_examples(path: str | Path, task: str | None = None, split: str = "dev") -> ExampleStore:
    """Open one task's split of a data folder (or of `lamp-mini`) as a lazy sequence of examples.

    `task` may be left out where the folder holds only one. Raises `UserError` where the folder, the
    task or the split is not there, naming those that are.
    """
    from personakit.data.store import open_store

    folder = data_folder(path)
    found = task_folders(folder)
    if task is None and len(found) > 1:
        raise UserError(
            f"{path} holds {len(found)} tasks: {', '.join(found)}, expected one to be chosen",
            hint=f"add the task, for example {next(iter(found))}",
        )
    wanted = next(iter(found)) if task is None else _match(task, found)
    if wanted is None:
        raise UserError(
            f'{path} has no task "{task}", it holds {", ".join(found)}', hint="name one of these tasks"
        )
    splits = _splits(found[wanted])
    if split not in splits:
        raise UserError(
            f'{found[wanted]} has no split "{split}" ({split}{QUESTIONS}), it holds {", ".join(splits)}',
            hint="name one of these splits",
        )
    return open_store(found[wanted], split, task=wanted)


def available(path: str | Path) -> list[tuple[str, str]]:
    """Return the (task, split) pairs of a data folder: tasks by name, train before dev before test."""
    found = task_folders(data_folder(path))
    return [(task, split) for task, folder in found.items() for split in _splits(folder)]


def data_folder(path: str | Path) -> Path:
    """Return the folder that `path` names; `lamp-mini` is generated the first time."""
    if str(path) == LAMP_MINI:
        from personakit.data.lamp_mini import folder

        generated: Path = folder()
        return generated
    chosen = Path(path).expanduser()
    if not chosen.is_dir():
        what = "is a file" if chosen.exists() else "does not exist"
        raise UserError(
            f"{chosen} {what}, expected a folder of LaMP files or the name {LAMP_MINI}",
            hint="give the folder of train_questions.json, or run `personakit data import` on the file",
        )
    return chosen


def holds_questions(folder: Path) -> bool:
    """Tell whether a data folder holds any of LaMP's files (one of preferences alone does not)."""
    return any(folder.glob(f"?*{QUESTIONS}")) or any(folder.glob(f"*/?*{QUESTIONS}"))


def task_folders(folder: Path) -> dict[str, Path]:
    """Return the folder of each task in a data folder, by task name.

    The task is read from the wording of the first question, not from the folder's name.
    """
    found: dict[str, Path] = {}
    for place in (folder, *sorted(child for child in folder.iterdir() if child.is_dir())):
        splits = [] if place.name.startswith(".") else _splits(place)
        if not splits:
            continue
        task = first_task(place / f"{splits[0]}{QUESTIONS}")
        if task in found:
            raise UserError(
                f"{place} and {found[task]} both hold {task}, expected one folder a task",
                hint="give one of the two folders instead",
            )
        found[task] = place
    if not found:
        raise UserError(
            f"{folder} holds no *{QUESTIONS}, nor do its sub-folders; expected LaMP's files",
            hint="`personakit data import` makes such a folder from reviews, rewrites or a history",
        )
    return found


def first_task(questions: Path) -> str:
    """Return the task of a questions file by its first element, without reading further."""
    checks = QuestionChecks(questions)
    for raw in stream_list(questions, chunk_bytes=1 << 18):
        checks.example(raw)
        break
    if checks.format is None:
        raise UserError(
            f"{questions} is an empty list, expected at least one question", hint="fetch the file again"
        )
    return checks.format.task


def _match(task: str, found: dict[str, Path]) -> str | None:
    wanted = task_format(task)
    if wanted.task in found:
        return wanted.task
    return next((name for name in found if task_format(name).file_task == wanted.task), None)


def _splits(folder: Path) -> list[str]:
    order = {"train": 0, "dev": 1, "test": 2}
    names = [path.name.removesuffix(QUESTIONS) for path in folder.glob(f"?*{QUESTIONS}")]
    return sorted(names, key=lambda name: (order.get(name, len(order)), name))


class _Split(Protocol):
    """A split of data of any kind."""

    def __len__(self) -> int: ...

    def subset(self: S, which: list[int], /) -> S:
        """Return the examples at some places."""
        ...


S = TypeVar("S", bound=_Split)


def spread(split: S, limit: int | None) -> S:
    """Return at most `limit` examples, evenly spread over a split so that many users are among them."""
    if limit is None or limit >= len(split):
        return split
    return split.subset([place * len(split) // limit for place in range(limit)])
