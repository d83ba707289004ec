"""A split of instructions, held in memory (Alpaca's 52,000 take 60 MB)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

from personakit.data.folders import LAMP_MINI, data_folder, open_examples
from personakit.data.instructions import native
from personakit.data.instructions.splitting import SPLITS
from personakit.data.instructions.tasks import profile_pool, task_instruction
from personakit.data.lamp_mini.facts import is_lamp_mini
from personakit.data.lamp_mini.instructions import kind_of
from personakit.errors import UserError
from personakit.records import Instruction, Pool


@dataclass(frozen=True)
class InstructionStore(Sequence[Instruction]):
    """The instructions of one split. A slice is a store, too.

    `user_ids` has one entry per instruction: its user, or the instruction's id if the data has no users.
    `pools` holds each user's own prompts for instructions made from a LaMP task, else None. Every instruction
    has a kind: the data's own, or the first word of the instruction.
    """

    name: str
    rows: tuple[Instruction, ...]
    user_ids: tuple[str, ...]
    pools: tuple[Pool, ...] | None = None

    @property
    def fingerprint(self) -> str:
        """Hash of the instructions, answers and per-user prompts."""
        pools = [prompt for pool in self.pools or () for prompt in pool.prompts]
        return native.fingerprint([*self.rows, *pools])

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Instruction: ...
    @overload
    def __getitem__(self, index: slice) -> InstructionStore: ...
    def __getitem__(self, index: int | slice) -> Instruction | InstructionStore:
        if isinstance(index, slice):
            return self.subset(range(*index.indices(len(self))))
        return self.rows[index]

    def subset(self, which: int | Sequence[int]) -> InstructionStore:
        """Return the first `which` instructions, or those at the given indices, as a store."""
        indices = range(min(which, len(self))) if isinstance(which, int) else which
        return InstructionStore(
            self.name,
            tuple(self.rows[index] for index in indices),
            tuple(self.user_ids[index] for index in indices),
            None if self.pools is None else tuple(self.pools[index] for index in indices),
        )


def open_instructions(
    path: str | Path = LAMP_MINI, split: str = "dev", *, task: str | None = None
) -> InstructionStore:
    """Open one split of the instructions of a data folder or of lamp-mini, or of a LaMP task with `task`.

    Raises `UserError` if the folder or split does not exist; the message lists those that do.
    """
    if task is not None:
        return _store_of_task(path, task, split)
    folder = data_folder(path)
    files = instruction_files(folder)
    if not files:
        raise UserError(
            f"{path} holds no instructions ({native.FOLDER}/*.jsonl)",
            hint="import an Alpaca, Dolly or self-instruct file with `personakit data import`, or give a "
            "task to use a LaMP task as instructions",
        )
    if split not in files:
        raise UserError(
            f'{path} has no instructions for the split "{split}", expected one of {", ".join(files)}',
            hint="choose one of these splits",
        )
    lamp_mini = is_lamp_mini(folder)
    rows = tuple(with_kind(row, lamp_mini=lamp_mini) for row in native.read_instructions(files[split]))
    return InstructionStore(f"{path}, instructions, {split}", rows, tuple(row.id for row in rows))


def instruction_files(folder: Path) -> dict[str, Path]:
    """Return the instruction file of each split in a data folder, without the pool."""
    found = {path.stem: path for path in (folder / native.FOLDER).glob("*.jsonl") if path.stem != "pool"}
    order = [*(split for split in SPLITS if split in found), *sorted(found.keys() - set(SPLITS))]
    return {split: found[split] for split in order}


def with_kind(instruction: Instruction, *, lamp_mini: bool = False) -> Instruction:
    """Return the instruction with a kind: its own, else lamp-mini's department, else its first word."""
    if instruction.kind is not None:
        return instruction
    first = instruction.instruction.split(maxsplit=1)[0].casefold().strip(".,:;!?\"'")
    return replace(instruction, kind=(kind_of(instruction) if lamp_mini else None) or first or "other")


def _store_of_task(path: str | Path, task: str, split: str) -> InstructionStore:
    examples = open_examples(path, task, split)
    if any(gold is None for gold in examples.golds):
        raise UserError(
            f"{path}, {task}, {split}: some queries have no gold answer, expected one for each",
            hint="instructions need reference answers: use a split with outputs",
        )
    rows, users, pools = [], [], []
    for example in examples:
        rows.append(task_instruction(example.query))
        users.append(example.query.user_id)
        pools.append(profile_pool(example.query.task, example.profile))
    return InstructionStore(f"{path}, {task}, {split}", tuple(rows), tuple(users), tuple(pools))
