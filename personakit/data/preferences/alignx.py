"""AlignX: one comparison per row, with other comments and choices of the same user.

Columns: `prompt, chosen, rejected`; optionally `Pair-wise Comparative Feedback` [{prompt, chosen, rejected}],
`User-Generated Content` [{prompt, comment}] and `Demographic Information`
(https://github.com/JinaLeejnl/AlignX, README.md and eval/loss_ica.py). Comments refer to the post they
answer, so they become history items. `ground_truth_persona` (the P-Soups files) becomes the persona.
`profile` and `Preference Direction`, which were inferred by a model, are not read.

AlignX has no user ids: rows with equal signals are assigned to one user. In the P-Soups files, a row is a
random draw from its persona's pool of pairs (`pools.py`).
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from personakit.data.preferences.rows import (
    PreferenceRow,
    object_list,
    text,
    texts,
    user_id_or_none,
)
from personakit.data.skips import SkipCounts
from personakit.data.tables import TableRow

NAME = "alignx"
PAIRS, POSTS, ABOUT = "Pair-wise Comparative Feedback", "User-Generated Content", "Demographic Information"
PERSONA = "ground_truth_persona"
HAS_SIGNALS = True


def matches(columns: Set[str]) -> bool:
    """Return whether a row with these columns is in AlignX's format."""
    return {"prompt", "chosen", "rejected"} <= columns and not columns.isdisjoint({PAIRS, POSTS, ABOUT})


def read(row: TableRow, skips: SkipCounts, user_column: str | None) -> PreferenceRow | None:
    """Return the row with its comparison as a held-out pair and everything else as signals."""
    about = text(row, ABOUT) if ABOUT in row.values else ""
    return PreferenceRow(
        row.place,
        user_id_or_none(row, user_column),
        pairs=[texts(row)],
        signal_pairs=[texts(pair) for pair in object_list(row, PAIRS)],
        about=[about] if about.strip() else [],
        items=[_item(post, number) for number, post in enumerate(object_list(row, POSTS), start=1)],
        persona=text(row, PERSONA).strip() or None if PERSONA in row.values else None,
    )


def _item(row: TableRow, number: int) -> dict[str, Any]:
    fields = {"post": text(row, "prompt"), "comment": row.text("comment")}
    return {"id": str(number), "fields": fields, "document": " ".join(fields.values())}
