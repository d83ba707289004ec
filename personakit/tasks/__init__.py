"""Tasks: how to prompt, parse, reward and score. One object serves SFT, RL and evaluation."""

from personakit.tasks.base import Task, TaskPlugin
from personakit.tasks.registry import get_task, task_names

__all__ = ["Task", "TaskPlugin", "get_task", "task_names"]
