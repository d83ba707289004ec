"""TRL's preference format with a column that names the user.

`prompt, chosen, rejected` as text or as conversations, or, with an implicit prompt, `chosen` and
`rejected` that begin alike (https://huggingface.co/docs/trl/dataset_formats#preference). What both begin
with is then the prompt, as TRL's `extract_prompt` has it. Rows without a user are refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Set

from personakit.data.preferences import alignx
from personakit.data.preferences.conversations import Turn, answer_text, joined, prompt_text, turns
from personakit.data.preferences.rows import PreferenceRow, Skips, Texts, known_user, text
from personakit.data.tables import Row
from personakit.errors import UserError

NAME = "trl"
DIVIDED = False


def matches(columns: Set[str]) -> bool:
    """Tell whether a row with these columns is a preference as TRL writes it, and nobody else's."""
    return {"chosen", "rejected"} <= columns and "context" not in columns and not alignx.matches(columns)


def read(row: Row, skips: Skips, user_column: str | None) -> PreferenceRow | None:
    """Return the row's comparison."""
    user = known_user(row, user_column)
    if "prompt" in row.values:
        pair = Texts(prompt_text(row, "prompt"), answer_text(row, "chosen"), answer_text(row, "rejected"))
    else:
        pair = _implicit(row)
    return PreferenceRow(row.place, user, [pair])


def _implicit(row: Row) -> Texts:
    chosen, rejected = row.values.get("chosen"), row.values.get("rejected")
    if isinstance(chosen, list) and isinstance(rejected, list):
        ours, theirs = turns(chosen, f'{row.place}, "chosen"'), turns(rejected, f'{row.place}, "rejected"')
        shared = _shared(ours, theirs)
        if len(ours) != shared + 1 or len(theirs) != shared + 1:
            raise UserError(
                f'{row.place}: "chosen" and "rejected" do not differ in their last message alone',
                hint='give the messages that they share as "prompt", and one answer each',
            )
        return Texts(joined(ours[:shared]) if shared else "", ours[-1][1], theirs[-1][1])
    first, second = text(row, "chosen"), text(row, "rejected")
    alike = itertools.takewhile(lambda two: two[0] == two[1], zip(first, second, strict=False))
    prompt = first[: sum(1 for _ in alike)]
    prompt = prompt[: prompt.rfind(" ") + 1]  # unlike TRL's: an answer begins with a whole word
    return Texts(prompt.rstrip(), first[len(prompt) :], second[len(prompt) :])


def _shared(ours: list[Turn], theirs: list[Turn]) -> int:
    shared = 0
    while shared < min(len(ours), len(theirs)) and ours[shared] == theirs[shared]:
        shared += 1
    # Equal conversations share all but their last message: the pair is then left out as equal.
    return min(shared, len(ours) - 1, len(theirs) - 1)
