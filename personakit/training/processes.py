"""Rank of this process, and communication between the processes of one launch.

`accelerate launch` (or torchrun) starts the same command once per device, with its rank in the environment.
The main process (rank 0) decides and writes files; the others receive its decisions. Communication uses
accelerate's `PartialState`; with one process nothing is imported or sent.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")

#: Timeout of communication: generic answers from an API can take hours. If a process dies, the launcher stops
#: all.
_TIMEOUT = datetime.timedelta(hours=24)


def process_count() -> int:
    """Return the number of processes of the launch; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def process_rank() -> int:
    """Return the rank of this process, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_main_process() -> bool:
    """Return True for the process that decides, writes files and prints."""
    return process_rank() == 0


def from_main_process(work: Callable[[], Value]) -> Value:
    """Call `work` on the main process and return its value (pickled) on all processes.

    An exception of `work` ends the main process, and the launcher then ends the others.
    """
    if process_count() == 1:
        return work()
    from accelerate.utils import broadcast_object_list

    _state()
    values: list[Any] = [work() if is_main_process() else None]
    broadcast_object_list(values)
    decided: Value = values[0]
    return decided


def map_over_processes(items: Sequence[Item], work: Callable[[Sequence[Item]], list[Value]]) -> list[Value]:
    """Call `work` on each process with its share of `items`; return all values in order, on all processes.

    `work` returns one value per item.
    """
    if process_count() == 1:
        return work(items)
    from accelerate.utils import gather_object

    with _state().split_between_processes(list(items)) as share:
        values = work(share) if share else []
    gathered: list[Value] = gather_object(values)
    return gathered


def local_main_process_first() -> AbstractContextManager[None]:
    """Return a context that the first process of each machine enters before the others.

    For results that are computed once and then read from the cache folder.
    """
    if process_count() == 1:
        return contextlib.nullcontext()
    turn: AbstractContextManager[None] = _state().local_main_process_first()
    return turn


def wait_for_everyone() -> None:
    """Wait until all processes have called this."""
    if process_count() > 1:
        _state().wait_for_everyone()


def _state() -> Any:
    """Return accelerate's state; the first call connects the processes."""
    import torch
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    cpu = not torch.cuda.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU")
    return PartialState(cpu=cpu, timeout=_TIMEOUT)
