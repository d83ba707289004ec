"""What a built-in benchmark knows beside LaMP's files: `{split}_traits.json`.

`{query_id: {"user_id": str, "traits": {...}, "oracle": str}}`. LaMP's own data has no such file;
where one stands beside the questions its user ids are used, and the traits serve as an oracle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from personakit.errors import UserError

SUFFIX = "_traits.json"


class Sidecar(Mapping[str, Mapping[str, Any]]):
    """The sidecar of one split, by query id; the file is read at the first access."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def beside(cls, folder: Path, split: str) -> Sidecar | None:
        """Return the sidecar of `split` in `folder`, None where there is no such file."""
        path = folder / f"{split}{SUFFIX}"
        return cls(path) if path.exists() else None

    def user_id(self, query_id: str) -> str:
        """Return the user of a query; raises `UserError` where the file does not say."""
        user_id = self._rows.get(query_id, {}).get("user_id")
        if not isinstance(user_id, str) or not user_id:
            raise UserError(
                f'{self.path}: query "{query_id}" has no "user_id", expected one for every question',
                hint="make the benchmark again, or remove the file",
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
            rows = orjson.loads(self.path.read_bytes())
        except orjson.JSONDecodeError as error:
            raise UserError(
                f"{self.path}: not valid JSON ({error})", hint="make the benchmark again"
            ) from error
        if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
            raise UserError(
                f"{self.path}: expected an object of objects by query id", hint="make the benchmark again"
            )
        return rows
