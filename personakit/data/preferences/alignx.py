"""AlignX: one comparison a row, beside what the same user said and chose elsewhere.

`prompt, chosen, rejected`; `Pair-wise Comparative Feedback` [{prompt, chosen, rejected}],
`User-Generated Content` [{prompt, comment}] and `Demographic Information`, any of which may be missing
(https://github.com/JinaLeejnl/AlignX, README.md and eval/loss_ica.py). Comments come with the post they
answer, so they are history items here. `ground_truth_persona` (the P-Soups files) is the persona;
`profile` and `Preference Direction`, which a model inferred, are not read.

AlignX names no users: rows with the same signals are taken for one user's. A P-Soups row is not even
that, but a draw from its persona's pool of pairs (`pools.py`).
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from personakit.data.preferences.rows import PreferenceRow, Skips, several, text, texts, user_of
from personakit.data.tables import Row

NAME = "alignx"
PAIRS, POSTS, ABOUT = "Pair-wise Comparative Feedback", "User-Generated Content", "Demographic Information"
PERSONA = "ground_truth_persona"
DIVIDED = True


def matches(columns: Set[str]) -> bool:
    """Tell whether a row with these columns is AlignX's."""
    return {"prompt", "chosen", "rejected"} <= columns and not columns.isdisjoint({PAIRS, POSTS, ABOUT})


def read(row: Row, skips: Skips, user_column: str | None) -> PreferenceRow | None:
    """Return the row's comparison as its held-out pair, all else as signals."""
    about = text(row, ABOUT) if ABOUT in row.values else ""
    return PreferenceRow(
        row.place,
        user_of(row, user_column),
        pairs=[texts(row)],
        signal_pairs=[texts(each) for each in several(row, PAIRS)],
        about=[about] if about.strip() else [],
        items=[_item(each, number) for number, each in enumerate(several(row, POSTS), start=1)],
        persona=text(row, PERSONA).strip() or None if PERSONA in row.values else None,
    )


def _item(row: Row, number: int) -> dict[str, Any]:
    fields = {"post": text(row, "prompt"), "comment": row.text("comment")}
    return {"id": str(number), "fields": fields, "document": " ".join(fields.values())}
