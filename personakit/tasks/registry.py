"""All tasks by name."""

from __future__ import annotations

from personakit.data.lamp_formats import FORMATS, task_format
from personakit.plugins import TASKS as PLUGIN_TASKS
from personakit.plugins import load_plugin
from personakit.tasks.base import Task
from personakit.tasks.lamp import LAMP
from personakit.tasks.rewriting import REWRITING
from personakit.tasks.writing import WRITING

TASKS: dict[str, Task] = {task.name: task for task in (*LAMP, REWRITING, WRITING)}
#: Task names in files. `LaMP_2` stands for two tasks.
FILE_TASKS = tuple(dict.fromkeys(format_.file_task for format_ in FORMATS.values()))


def get_task(name: str) -> Task:
    """Return the task `name`, spelled `LaMP_3`, `LaMP-3` or `lamp_3`.

    Other names may belong to tasks of installed packages (`plugins.py`). Raises `UserError` for an unknown
    name.
    """
    canonical_name = task_format(name).task
    if canonical_name in TASKS:
        return TASKS[canonical_name]
    task: Task = load_plugin(PLUGIN_TASKS, canonical_name).task
    return task


def task_names() -> tuple[str, ...]:
    """Return the names of all tasks."""
    return tuple(TASKS)


def tasks_in_file(file_task: str) -> tuple[Task, ...]:
    """Return the tasks for a file's task name. `LaMP_2` gives both variants, movies first."""
    return tuple(TASKS[name] for name, format_ in FORMATS.items() if format_.file_task == file_task)
