"""A split as a memory-mapped sequence of examples, converted once and cached by content.

`open_store` converts LaMP files to Arrow in `files.cache_folder()/data/<digest>` as a stream. The digest
covers the files' bytes and `READER_VERSION`, so changed input is converted again and equal input never.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from personakit.data.convert import ABOUT, PROFILES, QUERIES, convert
from personakit.data.json_stream import unreadable
from personakit.data.lamp import outputs_path, questions_path
from personakit.data.lamp_formats import profile_item, search_text, task_format
from personakit.data.sidecar import Sidecar
from personakit.data.user_groups import item_digests
from personakit.errors import UserError
from personakit.files import atomic_folder, cache_folder
from personakit.records import Example, Profile, Query

if TYPE_CHECKING:
    import numpy as np

READER_VERSION = "2"
_CHUNK_BYTES = 1 << 20


class ExampleStore(Sequence[Example]):
    """The examples of one task and split, read from disk on access. A slice is a store, too.

    `fingerprint` depends on content and selection. `user_ids` and `query_ids` have one entry per example and
    do not read the profiles. Iteration in order holds one batch in memory; indexing uses a memory map.
    """

    def __init__(
        self, folder: Path, split: str, sidecar: Sidecar | None = None, indices: Sequence[int] | None = None
    ) -> None:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        self.task: str = about["task"]
        self.split = split
        self.dated: bool = about["dated"]
        self.has_derived_user_ids: bool = about["made_user_ids"]
        self.sidecar = sidecar
        self._folder = folder
        self._indices = indices
        self._starts: list[int] = [0, *accumulate(about["batches"])]
        self._rows = _read_columns(folder / QUERIES)
        self._batches: Any = None
        self.fingerprint = folder.name
        if indices is not None:
            chosen = json.dumps(list(indices)).encode()
            self.fingerprint = hashlib.sha256(self.fingerprint.encode() + chosen).hexdigest()

    def __len__(self) -> int:
        return self._starts[-1] if self._indices is None else len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> ExampleStore: ...
    def __getitem__(self, index: int | slice) -> Example | ExampleStore:
        if isinstance(index, slice):
            return self.subset(range(*index.indices(len(self))))
        index = range(len(self))[index]  # raises IndexError and resolves negative indices
        row = index if self._indices is None else self._indices[index]
        batch_number = bisect_right(self._starts, row) - 1
        if self._batches is None:
            self._batches = _open_batches(self._folder / PROFILES, mapped=True)
        return self._example(self._batches.get_batch(batch_number), row, row - self._starts[batch_number])

    def __iter__(self) -> Iterator[Example]:
        if self._indices is not None:
            for index in range(len(self)):
                yield self[index]
            return
        batches = _open_batches(self._folder / PROFILES, mapped=False)
        for batch_number, start in enumerate(self._starts[:-1]):
            batch = batches.get_batch(batch_number)
            for offset_in_batch in range(batch.num_rows):
                yield self._example(batch, start + offset_in_batch, offset_in_batch)

    def subset(self, selection: int | Sequence[int]) -> ExampleStore:
        """Return the first `which` examples, or those at the given indices, as a store."""
        indices = range(min(selection, len(self))) if isinstance(selection, int) else selection
        rows = [self._row(index) for index in indices]
        return ExampleStore(self._folder, self.split, self.sidecar, rows)

    @property
    def query_ids(self) -> list[str]:
        """The query id of each example, in order."""
        return self._column("id")

    @property
    def user_ids(self) -> list[str]:
        """The user id of each example, in order."""
        return self._column("user_id")

    @property
    def golds(self) -> list[str | None]:
        """The gold answer of each example, or None if the data has none."""
        return self._column("gold")

    @property
    def profile_sizes(self) -> list[int]:
        """The number of profile items of each example."""
        return self._column("items")

    @property
    def inputs(self) -> list[str]:
        """The query text of each example, in order, without reading the profiles."""
        batches = _open_batches(self._folder / PROFILES, mapped=False)
        texts: list[str] = []
        for batch_number in range(len(self._starts) - 1):
            texts += batches.get_batch(batch_number).column("input").to_pylist()
        return texts if self._indices is None else [texts[row] for row in self._indices]

    def item_digests(self) -> tuple[np.ndarray[Any, Any], list[int]]:
        """Return a hash of each profile item (uint64, concatenated) and the number of items per profile.

        Equal items have equal hashes (`user_groups.item_digests`), also across stores of the task.
        """
        import numpy as np

        keys = task_format(self.task).item_keys
        batches = _open_batches(self._folder / PROFILES, mapped=False)
        digests = []
        for batch_number in range(len(self._starts) - 1):
            profiles = batches.get_batch(batch_number).column("profile")
            items = profiles.flatten()
            digests.append(item_digests([items.field(key) for key in keys]))
        all_digests = np.concatenate(digests) if digests else np.zeros(0, dtype=np.uint64)
        sizes: list[int] = self._rows["items"]
        if self._indices is None:
            return all_digests, list(sizes)
        starts = [0, *accumulate(sizes)]
        parts = [all_digests[starts[row] : starts[row + 1]] for row in self._indices]
        return np.concatenate([all_digests[:0], *parts]), [sizes[row] for row in self._indices]

    def traits(self, query_id: str) -> Mapping[str, Any] | None:
        """Return the sidecar's entry for a query, or None."""
        return None if self.sidecar is None else self.sidecar.get(query_id)

    def _row(self, index: int) -> int:
        index = range(len(self))[index]
        return index if self._indices is None else self._indices[index]

    def _column(self, name: str) -> list[Any]:
        column: list[Any] = self._rows[name]
        return list(column) if self._indices is None else [column[row] for row in self._indices]

    def _example(self, batch: Any, row: int, offset_in_batch: int) -> Example:
        profiles = batch.column("profile")
        offsets = profiles.offsets
        start = offsets[offset_in_batch].as_py()
        items = profiles.values.slice(start, offsets[offset_in_batch + 1].as_py() - start)
        keys = task_format(self.task).item_keys
        columns = [items.field(key).to_pylist() for key in keys]
        fields = [dict(zip(keys, values, strict=True)) for values in zip(*columns, strict=True)]
        ids, dates = items.field("id").to_pylist(), items.field("date").to_pylist()
        text = batch.column("input")[offset_in_batch].as_py()
        user_id = self._rows["user_id"][row]
        return Example(
            Query(
                id=self._rows["id"][row],
                task=self.task,
                text=text,
                search_text=search_text(self.task, text),
                user_id=user_id,
                gold=self._rows["gold"][row],
            ),
            Profile(
                user_id,
                tuple(
                    profile_item(self.task, id, item_fields, date)
                    for id, item_fields, date in zip(ids, fields, dates, strict=True)
                ),
            ),
        )


def open_store(folder: Path, split: str, *, task: str | None = None) -> ExampleStore:
    """Open `{split}_questions.json` in `folder`, converting it on first use.

    `{split}_outputs.json` and `{split}_traits.json` are joined if present. Raises `UserError` if a file is
    invalid; nothing is cached then.
    """
    questions, outputs = questions_path(folder, split), outputs_path(folder, split)
    sidecar = Sidecar.find(folder, split)
    digest = _content_digest(questions, outputs, None if sidecar is None else sidecar.path)
    converted = cache_folder() / "data" / digest
    if not converted.is_dir():
        with atomic_folder(converted) as temporary:
            convert(questions, outputs if outputs.exists() else None, sidecar, temporary, task=task)
    store = ExampleStore(converted, split, sidecar)
    if task is not None and task_format(task).task not in (store.task, task_format(store.task).file_task):
        raise UserError(f"{questions} holds {store.task}, expected {task}", hint="give the task of the file")
    return store


def _content_digest(questions: Path, outputs: Path, sidecar: Path | None) -> str:
    import xxhash  # a dependency of `datasets`; much faster than SHA, and a cache key needs no security

    digest = xxhash.xxh3_128(READER_VERSION.encode())
    for path in (questions, outputs, sidecar):
        if path is None or (path is outputs and not path.exists()):
            digest.update(b"absent")
            continue
        try:
            digest.update(path.stat().st_size.to_bytes(8, "big"))
            with path.open("rb") as handle:
                while chunk := handle.read(_CHUNK_BYTES):
                    digest.update(chunk)
        except OSError as error:
            raise unreadable(path, error) from error
    return digest.hexdigest()


def _open_batches(path: Path, *, mapped: bool) -> Any:
    import pyarrow as pa

    # Touched pages of a memory map count as resident memory, so a full pass uses plain reads.
    return pa.ipc.open_file(pa.memory_map(str(path)) if mapped else pa.OSFile(str(path)))


def _read_columns(path: Path) -> dict[str, list[Any]]:
    import pyarrow as pa

    table: dict[str, list[Any]] = pa.ipc.open_file(pa.memory_map(str(path))).read_all().to_pydict()
    return table
