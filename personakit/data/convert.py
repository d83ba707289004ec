"""Converts a split of LaMP files to Arrow as a stream. `store.open_store` calls this once per split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from personakit.data.arrow_profiles import ProfileBatch, checked_batch, quick_batches
from personakit.data.json_stream import ListReader
from personakit.data.lamp import QuestionChecks, read_golds
from personakit.data.lamp_formats import TaskFormat
from personakit.data.sidecar import Sidecar
from personakit.data.user_groups import UserGroups, item_digests
from personakit.errors import UserError
from personakit.files import write_json

PROFILES, QUERIES, ABOUT = "profiles.arrow", "queries.arrow", "about.json"
_BLOCK_BYTES = 1 << 22
_CHECKED_ITEMS = 8_192
_CHECKED_QUERIES = 512


def convert(
    questions: Path, outputs: Path | None, sidecar: Sidecar | None, folder: Path, *, task: str | None = None
) -> None:
    """Write `profiles.arrow` (input, profile), `queries.arrow` (id, user_id, gold, items) and `about.json`.

    `about.json` lists the lengths of the record batches in `profiles.arrow`. User ids come from the sidecar,
    else from the questions file, else they are derived from shared profile items (`user_groups`). Raises
    `UserError` for the first invalid item.
    """
    import pyarrow as pa

    checks = QuestionChecks(questions, task)
    groups = UserGroups()
    rows: dict[str, list[Any]] = {"id": [], "user_id": [], "items": []}
    batch_sizes: list[int] = []
    dated = False
    with _BatchWriter(folder / PROFILES) as writer:
        for batch in _batches(questions, checks):
            assert checks.format is not None
            writer.write(batch.columns)
            sizes = batch.sizes
            batch_sizes.append(len(sizes))
            rows["id"] += batch.ids
            rows["user_id"] += batch.user_ids or []
            rows["items"] += sizes
            dates = batch.item_column("date")
            dated = dated or dates.null_count < len(dates)
            if sidecar is None and batch.user_ids is None:
                groups.add(item_digests([batch.item_column(key) for key in checks.format.item_keys]), sizes)
    if checks.format is None:
        raise UserError(
            f"{questions} is an empty list, expected at least one question", hint="fetch the file again"
        )
    rows["gold"] = _golds(rows["id"], questions, outputs, checks.format)
    derived_user_ids = sidecar is None and not checks.has_user_ids
    if sidecar is not None:
        rows["user_id"] = [sidecar.user_id(id) for id in rows["id"]]
    elif derived_user_ids:
        rows["user_id"] = [f"user-of-{rows['id'][first]}" for first in groups.first_queries()]
    strings = {name: pa.array(rows[name], pa.string()) for name in ("id", "user_id", "gold")}
    table = pa.table({**strings, "items": pa.array(rows["items"], pa.int64())})
    with pa.ipc.new_file(str(folder / QUERIES), table.schema) as queries:
        queries.write_table(table)
    about = {
        "task": checks.format.task,
        "dated": dated,
        "made_user_ids": derived_user_ids,
        "batches": batch_sizes,
    }
    write_json(folder / ABOUT, about)


def _batches(questions: Path, checks: QuestionChecks) -> Iterator[ProfileBatch]:
    with ListReader(questions, chunk_bytes=_BLOCK_BYTES) as reader:
        while reader.more():
            block = None if checks.format is None else reader.guess_block()
            quick = None
            if block is not None and checks.format is not None:
                quick = quick_batches(block, checks.format)
            if block is None or quick is None:
                yield _checked_batch(reader, checks, _CHECKED_QUERIES if block is None else block.count)
                continue
            reader.skip_block(block)
            for batch in quick:
                user_ids: Sequence[str | None] = batch.user_ids or [None] * len(batch.ids)
                for id, text, user_id in zip(batch.ids, batch.inputs, user_ids, strict=True):
                    checks.check_question(id, text, user_id)
                yield batch


def _checked_batch(reader: ListReader, checks: QuestionChecks, max_queries: int) -> ProfileBatch:
    """Return the current element and some that follow, validated one by one.

    The first element of a file is returned alone: it determines the task, and later blocks take the fast
    path.
    """
    first = checks.format is None
    examples = [checks.example(reader.element())]
    items = len(examples[0].profile.items)
    while not first and items < _CHECKED_ITEMS and len(examples) < max_queries and reader.more():
        examples.append(checks.example(reader.element()))
        items += len(examples[-1].profile.items)
    assert checks.format is not None
    return checked_batch(examples, checks.format, user_ids=checks.has_user_ids)


class _BatchWriter:
    """Writes record batches to an Arrow file in a background thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: Any = None
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._writing: Future[None] | None = None

    def write(self, batch: Any) -> None:
        """Start writing `batch`. Raises the error of the previous write, if any."""
        import pyarrow as pa

        if self._file is None:
            self._file = pa.ipc.new_file(str(self._path), batch.schema)
        self._finish()
        self._writing = self._thread.submit(self._file.write_batch, batch)

    def _finish(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def __enter__(self) -> _BatchWriter:
        return self

    def __exit__(self, *raised: object) -> None:
        try:
            self._finish()
        finally:
            self._thread.shutdown()
            if self._file is not None:
                self._file.close()


def _golds(ids: list[str], questions: Path, outputs: Path | None, format: TaskFormat) -> list[str | None]:
    if outputs is None:
        return [None] * len(ids)
    golds = read_golds(outputs, format)
    for id in ids:
        if id not in golds:
            raise UserError(
                f'{outputs}: no gold for id "{id}" of {questions.name}, expected one for every question',
                hint="put the questions and outputs of one split together",
            )
    if len(golds) > len(ids):
        extra = min(golds.keys() - set(ids))
        raise UserError(
            f'{outputs}: gold for id "{extra}", which is not in {questions.name}',
            hint="put the questions and outputs of one split together",
        )
    return [golds[id] for id in ids]
