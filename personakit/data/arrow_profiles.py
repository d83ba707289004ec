"""LaMP questions as Arrow record batches, built in two ways with the same result.

`quick_batches` has Arrow parse a block of JSON lines directly, without a Python object per profile item. It
returns None for any irregular input. `checked_batch` builds the same columns from `Example`s that
`QuestionChecks` has validated, with full error messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from personakit.data.json_stream import Block
from personakit.data.lamp_formats import SCORES, TaskFormat
from personakit.records import Example

if TYPE_CHECKING:
    import pyarrow as pa

_PIECE_BYTES = 1 << 20  # Arrow's block size: one thread parses one block


@dataclass(frozen=True, slots=True)
class ProfileBatch:
    """Consecutive questions. `columns` (input, profile) are stored; `user_ids` is None if absent."""

    columns: pa.RecordBatch
    ids: list[str]
    inputs: list[str]
    user_ids: list[str] | None

    @property
    def sizes(self) -> list[int]:
        """The number of items in each profile."""
        sizes: list[int] = self.columns.column("profile").value_lengths().to_pylist()
        return sizes

    def item_column(self, name: str) -> Any:
        """Return one field of all items of all profiles, concatenated."""
        return self.columns.column("profile").flatten().field(name)


def quick_batches(block: Block, format: TaskFormat) -> list[ProfileBatch] | None:
    """Return the questions of a block, or None if anything in it is irregular."""
    import pyarrow as pa
    import pyarrow.json

    if not block.lines.isascii():
        try:
            block.lines.decode("utf-8")  # Arrow does not validate UTF-8
        except UnicodeDecodeError:
            return None
    texts = pa.string()
    fields = {"id": texts, "input": texts, "user_id": texts, "profile": _profile_type(format)}
    try:
        table = pyarrow.json.read_json(
            pa.BufferReader(block.lines),
            read_options=pyarrow.json.ReadOptions(block_size=max(_PIECE_BYTES, block.longest + 1)),
            parse_options=pyarrow.json.ParseOptions(
                explicit_schema=pa.schema(list(fields.items())), unexpected_field_behavior="ignore"
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return None
    if table.num_rows != block.count:
        return None
    batches = [_quick_batch(batch, format) for batch in table.to_batches()]
    usual = [batch for batch in batches if batch is not None]
    return usual if len(usual) == len(batches) else None


def checked_batch(examples: Sequence[Example], format: TaskFormat, *, user_ids: bool) -> ProfileBatch:
    """Return a batch with the columns of `examples`."""
    import pyarrow as pa

    profiles = [
        [{"id": item.id, **item.fields, "date": item.date} for item in example.profile.items]
        for example in examples
    ]
    inputs = [example.query.text for example in examples]
    return ProfileBatch(
        _columns(pa.array(inputs, pa.string()), pa.array(profiles, _profile_type(format)), format),
        [example.query.id for example in examples],
        inputs,
        [example.query.user_id for example in examples] if user_ids else None,
    )


def _profile_type(format: TaskFormat) -> Any:
    import pyarrow as pa

    return pa.list_(pa.struct([(name, pa.string()) for name in ("id", *format.item_keys, "date")]))


def _columns(inputs: Any, profiles: Any, format: TaskFormat) -> Any:
    import pyarrow as pa

    schema = pa.schema([("input", pa.string()), ("profile", _profile_type(format))])
    return pa.record_batch([inputs, profiles], schema=schema)


def _quick_batch(batch: Any, format: TaskFormat) -> ProfileBatch | None:
    import pyarrow as pa
    import pyarrow.compute as pc

    user_ids = batch.column("user_id")
    profiles = batch.column("profile")
    items = profiles.flatten()
    required = [batch.column("id"), batch.column("input"), profiles, items]
    required += [items.field(name) for name in ("id", *format.item_keys)]
    if any(column.null_count for column in required) or user_ids.null_count not in (0, len(batch)):
        return None
    if pc.any(pc.equal(items.field("id"), "")).as_py():
        return None
    if "score" in format.item_keys:
        known = pc.is_in(items.field("score"), value_set=pa.array(SCORES))
        if not pc.all(known, min_count=0).as_py():
            return None
    if items.field("date").null_count < len(items):
        profiles = _oldest_first(profiles)
        if profiles is None:
            return None
    return ProfileBatch(
        _columns(batch.column("input"), profiles, format),
        batch.column("id").to_pylist(),
        batch.column("input").to_pylist(),
        None if user_ids.null_count else user_ids.to_pylist(),
    )


def _oldest_first(profiles: Any) -> Any:
    """Return dated profiles with items sorted by date, or None if a date is missing or irregular."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    items = profiles.flatten()
    dates = items.field("date")
    if dates.null_count:
        return None
    try:
        days = pc.cast(pc.cast(dates, pa.date32()), pa.int32())  # YYYY-MM-DD
    except pa.ArrowInvalid:
        return None
    lengths = profiles.value_lengths().to_numpy()
    order = np.repeat(np.arange(len(profiles), dtype=np.int64) << 32, lengths) + days.to_numpy()
    if bool(np.all(order[1:] >= order[:-1])):
        return profiles
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, items.take(pa.array(np.argsort(order, kind="stable"))))
