"""Which of the launched processes this is, and the two things they do together.

`accelerate launch` (or torchrun) starts the same command once a device and tells each its place in the
environment. The first process decides and writes; the others are given what it decided. All of it is
accelerate's `PartialState`; on one process nothing is imported and nothing is sent.
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

#: How long one process may keep the others waiting: generic answers from an endpoint can take hours. A
#: process that dies is noticed at once, by the launcher.
_PATIENCE = datetime.timedelta(hours=24)


def process_count() -> int:
    """How many processes were launched together; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def process_rank() -> int:
    """This process's place among them, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_first() -> bool:
    """Whether this process decides, writes and speaks for all."""
    return process_rank() == 0


def from_first(work: Callable[[], Value]) -> Value:
    """Let the first process do `work`; return what it returned, on every process.

    What `work` raises ends the first process, and with it, by the launcher, the others. The value is
    pickled on its way.
    """
    if process_count() == 1:
        return work()
    from accelerate.utils import broadcast_object_list

    _state()
    values: list[Any] = [work() if is_first() else None]
    broadcast_object_list(values)
    decided: Value = values[0]
    return decided


def in_shares(items: Sequence[Item], work: Callable[[Sequence[Item]], list[Value]]) -> list[Value]:
    """Let each process do `work` on its share of `items`; return all of it, in order, on every process.

    `work` returns one value an item.
    """
    if process_count() == 1:
        return work(items)
    from accelerate.utils import gather_object

    with _state().split_between_processes(list(items)) as share:
        values = work(share) if share else []
    gathered: list[Value] = gather_object(values)
    return gathered


def first_on_this_machine() -> AbstractContextManager[None]:
    """A block that the first process of each machine goes through before the others do.

    For what is made once and kept in the cache folder: the others find it there.
    """
    if process_count() == 1:
        return contextlib.nullcontext()
    turn: AbstractContextManager[None] = _state().local_main_process_first()
    return turn


def wait_for_all() -> None:
    """Return once every process has come here."""
    if process_count() > 1:
        _state().wait_for_everyone()


def _state() -> Any:
    """accelerate's state; the first call joins the processes."""
    import torch
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    cpu = not torch.cuda.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU")
    return PartialState(cpu=cpu, timeout=_PATIENCE)
