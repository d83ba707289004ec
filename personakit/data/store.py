"""A split as a memory-mapped sequence of examples: converted once, then opened by content.

`open_store` streams LaMP's files into Arrow under `files.cache_folder()/data/<digest>`, where the
digest covers the bytes of the files and `READER_VERSION`: changed input is read again, equal input
never. Nothing is loaded whole, neither then nor later.
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
    """The examples of one task and split, read from disk as they are asked for.

    `fingerprint` changes with the content and with the selection; `user_ids` and `query_ids` run
    parallel to the examples and cost no access to the profiles. Iterating in order holds one batch
    in memory; indexing reads through a memory map.
    """

    def __init__(
        self, folder: Path, split: str, sidecar: Sidecar | None = None, indices: Sequence[int] | None = None
    ) -> None:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        self.task: str = about["task"]
        self.split = split
        self.dated: bool = about["dated"]
        self.made_user_ids: bool = about["made_user_ids"]
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
        place = range(len(self))[index]  # raises IndexError and resolves negative indices
        row = place if self._indices is None else self._indices[place]
        number = bisect_right(self._starts, row) - 1
        if self._batches is None:
            self._batches = _open_batches(self._folder / PROFILES, mapped=True)
        return self._example(self._batches.get_batch(number), row, row - self._starts[number])

    def __iter__(self) -> Iterator[Example]:
        if self._indices is not None:
            for place in range(len(self)):
                yield self[place]
            return
        batches = _open_batches(self._folder / PROFILES, mapped=False)
        for number, start in enumerate(self._starts[:-1]):
            batch = batches.get_batch(number)
            for within in range(batch.num_rows):
                yield self._example(batch, start + within, within)

    def subset(self, which: int | Sequence[int]) -> ExampleStore:
        """Return the first `which` examples, or those at the given indices, as a store."""
        places = range(min(which, len(self))) if isinstance(which, int) else which
        rows = [self._row(place) for place in places]
        return ExampleStore(self._folder, self.split, self.sidecar, rows)

    @property
    def query_ids(self) -> list[str]:
        """The id of each example's query, in order."""
        return self._column("id")

    @property
    def user_ids(self) -> list[str]:
        """The id of each example's user, in order; a user appears once for every query."""
        return self._column("user_id")

    @property
    def golds(self) -> list[str | None]:
        """The gold answer of each example, None where the data has none."""
        return self._column("gold")

    @property
    def profile_sizes(self) -> list[int]:
        """The number of profile items of each example."""
        return self._column("items")

    @property
    def inputs(self) -> list[str]:
        """The text of each example's query, in order, without a look at the profiles."""
        batches = _open_batches(self._folder / PROFILES, mapped=False)
        texts: list[str] = []
        for number in range(len(self._starts) - 1):
            texts += batches.get_batch(number).column("input").to_pylist()
        return texts if self._indices is None else [texts[row] for row in self._indices]

    def item_digests(self) -> tuple[np.ndarray[Any, Any], list[int]]:
        """Return a digest of each profile item (uint64, end to end) and the items of each profile.

        Equal items have equal digests (`user_groups.item_digests`), in other stores of the task too.
        """
        import numpy as np

        keys = task_format(self.task).item_keys
        batches = _open_batches(self._folder / PROFILES, mapped=False)
        digests = []
        for number in range(len(self._starts) - 1):
            profiles = batches.get_batch(number).column("profile")
            items = profiles.flatten()
            digests.append(item_digests([items.field(key) for key in keys]))
        whole = np.concatenate(digests) if digests else np.zeros(0, dtype=np.uint64)
        sizes: list[int] = self._rows["items"]
        if self._indices is None:
            return whole, list(sizes)
        starts = [0, *accumulate(sizes)]
        parts = [whole[starts[row] : starts[row + 1]] for row in self._indices]
        return np.concatenate([whole[:0], *parts]), [sizes[row] for row in self._indices]

    def traits(self, query_id: str) -> Mapping[str, Any] | None:
        """Return what the sidecar file tells of a query, None where there is none."""
        return None if self.sidecar is None else self.sidecar.get(query_id)

    def _row(self, place: int) -> int:
        place = range(len(self))[place]
        return place if self._indices is None else self._indices[place]

    def _column(self, name: str) -> list[Any]:
        column: list[Any] = self._rows[name]
        return list(column) if self._indices is None else [column[row] for row in self._indices]

    def _example(self, batch: Any, row: int, within: int) -> Example:
        profiles = batch.column("profile")
        offsets = profiles.offsets
        start = offsets[within].as_py()
        items = profiles.values.slice(start, offsets[within + 1].as_py() - start)
        keys = task_format(self.task).item_keys
        columns = [items.field(key).to_pylist() for key in keys]
        fields = [dict(zip(keys, values, strict=True)) for values in zip(*columns, strict=True)]
        ids, dates = items.field("id").to_pylist(), items.field("date").to_pylist()
        text = batch.column("input")[within].as_py()
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
                    profile_item(self.task, id, each, date)
                    for id, each, date in zip(ids, fields, dates, strict=True)
                ),
            ),
        )


def open_store(folder: Path, split: str, *, task: str | None = None) -> ExampleStore:
    """Open `{split}_questions.json` in `folder`, converting it the first time.

    Joined are `{split}_outputs.json` and `{split}_traits.json` where they are present. Raises
    `UserError` where anything in them is not LaMP's; the cache then holds nothing of them.
    """
    questions, outputs = questions_path(folder, split), outputs_path(folder, split)
    sidecar = Sidecar.beside(folder, split)
    digest = _content_digest(questions, outputs, None if sidecar is None else sidecar.path)
    converted = cache_folder() / "data" / digest
    if not converted.is_dir():
        with atomic_folder(converted) as temporary:
            convert(questions, outputs if outputs.exists() else None, sidecar, temporary, task=task)
    store = ExampleStore(converted, split, sidecar)
    if task is not None and task_format(task).task not in (store.task, task_format(store.task).file_task):
        raise UserError(
            f"{questions} is of {store.task}, expected {task}", hint="name the task the file holds"
        )
    return store


def _content_digest(questions: Path, outputs: Path, sidecar: Path | None) -> str:
    import xxhash  # comes with `datasets`; many times faster than SHA, and nobody forges a cache key

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

    # Pages of a memory map count as resident once touched: a pass over everything reads plainly.
    return pa.ipc.open_file(pa.memory_map(str(path)) if mapped else pa.OSFile(str(path)))


def _read_columns(path: Path) -> dict[str, list[Any]]:
    import pyarrow as pa

    table: dict[str, list[Any]] = pa.ipc.open_file(pa.memory_map(str(path))).read_all().to_pydict()
    return table
