"""LaMP's in-prompt augmentation: a user's items worked into the input (LaMP/prompts/prompts.py).

The budget is LaMP's: the items get what the input leaves of `max_length`, the input counted for at
most 0.6 of it; they share it evenly, what one item leaves goes to the next, and only an item's long
field is cut. Choices of ours, where upstream works on token ids:

1. The words that join items are counted with the model's own tokenizer, not as two tokens each.
2. A field is cut at the end of a word, not in the middle of one.
3. An item whose other words alone exceed its share is left out, and its share goes to the next.
   (Upstream counts the input for less and less instead, so that the prompt outgrows `max_length`
   and its end, which is the question, is cut off.)

The input itself is never cut.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from personakit.errors import UserError
from personakit.records import ProfileItem

JOIN = ", and "
#: The input counts for at most this share of the window.
INPUT_SHARE = 0.6


@dataclass(frozen=True)
class ProfilePrompt:
    """How one task words its items and where it puts them.

    `item` is the wording of one item, with the names of its fields in braces; `long_field` the one
    that may be cut. `frame` holds `{profile}` and `{input}`; with `inside_input_after`, `frame`
    stands inside the input, after these words, and `{input}` is the rest of it (LaMP-1).
    """

    item: str
    long_field: str
    frame: str = "{profile}. {input}"
    inside_input_after: str = ""

    def fill(
        self, text: str, items: Sequence[ProfileItem], *, count_tokens: Callable[[str], int], max_length: int
    ) -> str:
        """Return the input `text` with as much of `items` in it as fits; without items, `text`."""
        head, text_after = self._split(text)
        budget = max_length - min(count_tokens(text), int(INPUT_SHARE * max_length))
        budget -= count_tokens(self.frame.format(profile="", input=""))
        budget -= count_tokens(JOIN) * (len(items) - 1)
        worded = self._word_items(items, budget, count_tokens)
        if not worded:
            return text
        return head + self.frame.format(profile=JOIN.join(worded), input=text_after)

    def _split(self, text: str) -> tuple[str, str]:
        """Return the input up to the place of the items, and the rest of it."""
        if not self.inside_input_after:
            return "", text
        before, words, after = text.partition(self.inside_input_after)
        if not words:
            raise UserError(
                f'the input "{text[:60]}" does not hold the words "{self.inside_input_after}", '
                "after which the user's items are put",
                hint="word the input as LaMP's files do",
            )
        return before + words, after

    def _word_items(
        self, items: Sequence[ProfileItem], budget: int, count_tokens: Callable[[str], int]
    ) -> list[str]:
        worded: list[str] = []
        left_over = 0
        for item in items:
            room = budget // len(items) + left_over
            fixed = count_tokens(self._word(item, ""))
            whole = item.fields[self.long_field]
            kept = cut(whole, room - fixed, count_tokens)
            if fixed > room or (whole and not kept):
                left_over = room
                continue
            worded.append(self._word(item, kept))
            left_over = room - fixed - count_tokens(kept)
        return worded

    def _word(self, item: ProfileItem, long_text: str) -> str:
        return self.item.format_map({**item.fields, self.long_field: long_text})


def cut(text: str, room: int, count_tokens: Callable[[str], int]) -> str:
    """Return the longest beginning of `text` of whole words and at most `room` tokens, perhaps none.

    Where not even the first word fits, as in scripts without spaces, it is cut at a character.
    """
    if room < 1:
        return ""
    whole = count_tokens(text)
    if whole <= room:
        return text
    share = room / whole
    word_ends = [match.end() for match in re.finditer(r"\S+", text)]
    return _longest(text, word_ends, room, count_tokens, share) or _longest(
        text, range(1, word_ends[0] + 1), room, count_tokens, share
    )


def _longest(
    text: str, ends: Sequence[int], room: int, count_tokens: Callable[[str], int], share: float
) -> str:
    """Return the longest of the beginnings that fits; `share` of them is about right.

    Steps that double lead away from the guess until the place is between two, then it is halved: counting
    is what prompts at the benchmark's size cost.
    """

    def fits(place: int) -> bool:
        return count_tokens(text[: ends[place]]) <= room

    guess, step = min(len(ends) - 1, int(share * len(ends))), 1
    if fits(guess):
        low, high = guess, len(ends)
        while low + step < len(ends):
            if not fits(low + step):
                high = low + step
                break
            low, step = low + step, 2 * step
    else:
        low, high = -1, guess
        while high - step >= 0:
            if fits(high - step):
                low = high - step
                break
            high, step = high - step, 2 * step
    fitting = bisect.bisect_right(range(low + 1, high), False, key=lambda place: not fits(place)) + low + 1
    return text[: ends[fitting - 1]] if fitting else ""
