"""TRL's preference format with an additional user column.

`prompt, chosen, rejected` as text or conversations, or an implicit prompt: `chosen` and `rejected` start with
the same text (https://huggingface.co/docs/trl/dataset_formats#preference), which becomes the prompt as in
TRL's `extract_prompt`. Rows without a user are refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Set

from personakit.data.preferences import alignx
from personakit.data.preferences.conversations import Turn, answer_text, joined, prompt_text, turns
from personakit.data.preferences.rows import PairTexts, PreferenceRow, SkipCounts, required_user_id, text
from personakit.data.tables import TableRow
from personakit.errors import UserError

NAME = "trl"
HAS_SIGNALS = False


def matches(columns: Set[str]) -> bool:
    """Return whether a row with these columns is in TRL's format and in no other."""
    return {"chosen", "rejected"} <= columns and "context" not in columns and not alignx.matches(columns)


def read(row: TableRow, skips: SkipCounts, user_column: str | None) -> PreferenceRow | None:
    """Return the row's comparison."""
    user = required_user_id(row, user_column)
    if "prompt" in row.values:
        pair = PairTexts(prompt_text(row, "prompt"), answer_text(row, "chosen"), answer_text(row, "rejected"))
    else:
        pair = _implicit(row)
    return PreferenceRow(row.place, user, [pair])


def _implicit(row: TableRow) -> PairTexts:
    chosen, rejected = row.values.get("chosen"), row.values.get("rejected")
    if isinstance(chosen, list) and isinstance(rejected, list):
        chosen_turns, rejected_turns = (
            turns(chosen, f'{row.place}, "chosen"'),
            turns(rejected, f'{row.place}, "rejected"'),
        )
        shared = _shared_turns(chosen_turns, rejected_turns)
        if len(chosen_turns) != shared + 1 or len(rejected_turns) != shared + 1:
            raise UserError(
                f'{row.place}: "chosen" and "rejected" differ in more than their last message',
                hint='move the messages that they share to "prompt", and keep one answer each',
            )
        return PairTexts(
            joined(chosen_turns[:shared]) if shared else "", chosen_turns[-1][1], rejected_turns[-1][1]
        )
    first, second = text(row, "chosen"), text(row, "rejected")
    equal_characters = itertools.takewhile(
        lambda characters: characters[0] == characters[1], zip(first, second, strict=False)
    )
    prompt = first[: sum(1 for _ in equal_characters)]
    prompt = prompt[: prompt.rfind(" ") + 1]  # unlike TRL, do not split a word
    return PairTexts(prompt.rstrip(), first[len(prompt) :], second[len(prompt) :])


def _shared_turns(chosen_turns: list[Turn], rejected_turns: list[Turn]) -> int:
    shared = 0
    while (
        shared < min(len(chosen_turns), len(rejected_turns))
        and chosen_turns[shared] == rejected_turns[shared]
    ):
        shared += 1
    # Identical conversations share all but the last message, and are then skipped as equal.
    return min(shared, len(chosen_turns) - 1, len(rejected_turns) - 1)
