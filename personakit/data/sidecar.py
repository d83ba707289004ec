"""Additional data of queries: `{split}_traits.json`, next to LaMP's files.

`{query_id: {"user_id": str, "traits": {...}, "oracle": str}}` of the built-in benchmark, whose traits serve
as an oracle; `{query_id: {"user_id": str, "peer": str}}` of imported rewrites, with what another user wrote.
LaMP's own data has no such file. If it exists, its user ids are used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from personakit.data.json_text import loads
from personakit.errors import UserError
from personakit.files import write_json

SUFFIX = "_traits.json"


class Sidecar(Mapping[str, Mapping[str, Any]]):
    """The sidecar of one split, by query id. The file is read on first access."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def find(cls, folder: Path, split: str) -> Sidecar | None:
        """Return the sidecar of `split` in `folder`, or None if there is no such file."""
        path = folder / f"{split}{SUFFIX}"
        return cls(path) if path.exists() else None

    def user_id(self, query_id: str) -> str:
        """Return the user of a query. Raises `UserError` if the file lacks it."""
        user_id = self._rows.get(query_id, {}).get("user_id")
        if not isinstance(user_id, str) or not user_id:
            raise UserError(
                f'{self.path}: query "{query_id}" has no "user_id", expected one for every question',
                hint="generate the benchmark again, or remove the file",
            )
        return user_id

    def __getitem__(self, query_id: str) -> Mapping[str, Any]:
        return self._rows[query_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    @cached_property
    def _rows(self) -> dict[str, dict[str, Any]]:
        try:
            rows = loads(self.path.read_bytes())
        except json.JSONDecodeError as error:
            raise UserError(
                f"{self.path}: not valid JSON ({error})", hint="generate the benchmark again"
            ) from error
        if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
            raise UserError(
                f"{self.path}: expected an object of objects by query id", hint="generate the benchmark again"
            )
        return rows


def write_sidecar(folder: Path, split: str, rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the sidecar of a split; `rows` are by query id."""
    write_json(folder / f"{split}{SUFFIX}", rows)
