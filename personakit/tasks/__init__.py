"""Tasks: how to prompt, parse, reward and score. One object serves SFT, RL and evaluation."""

from personakit.tasks.base import Task
from personakit.tasks.registry import get_task, task_names

__all__ = ["Task", "get_task", "task_names"]
