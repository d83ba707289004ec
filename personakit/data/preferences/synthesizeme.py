"""SynthesizeMe and PRISM: `context` (a conversation), `chosen` and `rejected` (one message each).

https://github.com/SALT-NLP/SynthesizeMe, README.md, "Input Data Format". That library takes the items of one
user, so they carry no user id. Here every row needs a `user_id`.
"""

from __future__ import annotations

from collections.abc import Set

from personakit.data.preferences.conversations import answer_text, prompt_text
from personakit.data.preferences.rows import PairTexts, PreferenceRow, required_user_id
from personakit.data.skips import SkipCounts
from personakit.data.tables import TableRow

NAME = "synthesizeme"
HAS_SIGNALS = False


def matches(columns: Set[str]) -> bool:
    """Return whether a row with these columns is in SynthesizeMe's format."""
    return {"context", "chosen", "rejected"} <= columns


def read(row: TableRow, skips: SkipCounts, user_column: str | None) -> PreferenceRow | None:
    """Return the row's comparison. The conversation before it becomes the prompt."""
    pair = PairTexts(prompt_text(row, "context"), answer_text(row, "chosen"), answer_text(row, "rejected"))
    return PreferenceRow(row.place, required_user_id(row, user_column), [pair])
