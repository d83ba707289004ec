"""The studies of `evidence.py`: data, method, settings, rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Study:
    """One table of the evidence.

    `source` is a file that `personakit data import` reads with `imports`; None is lamp-mini. `rows` are those
    of `personakit eval` for the first training seed, `trained_rows` the ones that depend on the training, for
    the other seeds. `limit` is of queries a task (`eval --limit`).
    """

    about: str
    method: str
    suite: str
    config: str
    rows: tuple[str, ...]
    trained_rows: tuple[str, ...]
    source: str | None = None
    imports: tuple[str, ...] = ()
    folds: int = 1
    settings: tuple[str, ...] = ()
    split: str = "test"
    limit: int | None = None
    evaluation: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The row of the method."""
        return {"rpo": "RPO", "popi": "POPI", "pillow": "PILLOW"}[self.method]

    def rows_of(self, seed: int) -> tuple[str, ...]:
        """Return the rows to measure with a training seed."""
        return self.trained_rows if seed else self.rows


_GAP: Final = Study(
    about="Real reviews: rating (LaMP_3) and title (LaMP_5), all 534 users with two or more.",
    method="rpo",
    suite="lamp",
    config="reviews",
    source="reviews_gap_dev.json",
    imports=("--min-items", "2"),
    folds=5,
    rows=("generic", "majority", "profile", "context", "context-tuned", "empty", "other"),
    trained_rows=("generic", "context-tuned", "empty", "other"),
)
STUDIES: Final = {
    "reviews-gap": _GAP,
    "reviews-amazon": replace(
        _GAP,
        about="Real reviews with few and short histories: all 126 users with two or more.",
        source="reviews_amazon_dev.json",
    ),
}
