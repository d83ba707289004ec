"""Every task by its name."""

from __future__ import annotations

from personakit.data.lamp_formats import FORMATS, task_format
from personakit.plugins import TASKS as PLUGIN_TASKS
from personakit.plugins import load_plugin
from personakit.tasks.base import Task
from personakit.tasks.lamp import LAMP
from personakit.tasks.rewriting import REWRITING

TASKS: dict[str, Task] = {task.name: task for task in (*LAMP, REWRITING)}
#: What files say; `LaMP_2` stands for two tasks.
FILE_TASKS = tuple(dict.fromkeys(form.file_task for form in FORMATS.values()))


def get_task(name: str) -> Task:
    """Return the task called `name`, in any of the spellings `LaMP_3`, `LaMP-3`, `lamp_3`.

    A name that is none of ours may be that of an installed package's task (`plugins.py`). Raises
    `UserError` for an unknown name.
    """
    known = task_format(name).task
    if known in TASKS:
        return TASKS[known]
    task: Task = load_plugin(PLUGIN_TASKS, known).task
    return task


def task_names() -> tuple[str, ...]:
    """Return the names of all tasks."""
    return tuple(TASKS)


def tasks_in_file(file_task: str) -> tuple[Task, ...]:
    """Return the tasks a file may mean by `file_task`: `LaMP_2` is both second tasks, movies first."""
    return tuple(TASKS[name] for name, form in FORMATS.items() if form.file_task == file_task)
