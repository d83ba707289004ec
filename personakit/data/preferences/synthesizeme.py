"""SynthesizeMe and PRISM: `context` (a conversation), `chosen` and `rejected` (a message each).

https://github.com/SALT-NLP/SynthesizeMe, README.md, "Input Data Format". An item names no user there: the
library is given one user's items at a time. A file of several users needs a `user_id` in every row.
"""

from __future__ import annotations

from collections.abc import Set

from personakit.data.preferences.conversations import answer_text, prompt_text
from personakit.data.preferences.rows import PreferenceRow, Skips, Texts, known_user
from personakit.data.tables import Row

NAME = "synthesizeme"
DIVIDED = False


def matches(columns: Set[str]) -> bool:
    """Tell whether a row with these columns is in SynthesizeMe's format."""
    return {"context", "chosen", "rejected"} <= columns


def read(row: Row, skips: Skips, user_column: str | None) -> PreferenceRow | None:
    """Return the row's comparison; the conversation before it is the prompt."""
    pair = Texts(prompt_text(row, "context"), answer_text(row, "chosen"), answer_text(row, "rejected"))
    return PreferenceRow(row.place, known_user(row, user_column), [pair])
