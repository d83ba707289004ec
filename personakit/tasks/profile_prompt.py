"""LaMP's in-prompt augmentation: inserts profile items into the input (LaMP/prompts/prompts.py).

The token budget follows LaMP: the items get what the input leaves of `max_length`, where the input counts for
at most 0.6 of it. They share it evenly, an item's unused tokens go to the next item, and only an item's long
field is cut. Three differences from upstream, which works on token ids:

1. The words that join items are counted with the model's tokenizer, not as two tokens each.
2. A field is cut at a word boundary.
3. An item whose other words exceed its share is left out, and its share goes to the next. (Upstream reduces
the
   input's share instead, so that the prompt exceeds `max_length` and the question at its end is cut off.)

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
#: Maximum share of the token budget that the input counts for.
INPUT_SHARE = 0.6


@dataclass(frozen=True)
class ProfilePrompt:
    """The item template of one task, and the place of the items in the input.

    `item` is the template of one item, with field names in braces; `long_field` is the field that may be cut.
    `frame` contains `{profile}` and `{input}`. With `inside_input_after`, the frame is inserted into the
    input after these words, and `{input}` is the rest of it (LaMP-1).
    """

    item: str
    long_field: str
    frame: str = "{profile}. {input}"
    inside_input_after: str = ""

    def fill(
        self, text: str, items: Sequence[ProfileItem], *, count_tokens: Callable[[str], int], max_length: int
    ) -> str:
        """Return the input `text` with as much of `items` as fits. Without items, return `text`."""
        return self.fill_and_list(text, items, count_tokens=count_tokens, max_length=max_length)[0]

    def fill_and_list(
        self, text: str, items: Sequence[ProfileItem], *, count_tokens: Callable[[str], int], max_length: int
    ) -> tuple[str, tuple[ProfileItem, ...]]:
        """Return the filled prompt as `fill`, and the items that are in it."""
        head, text_after = self._split(text)
        budget = max_length - min(count_tokens(text), int(INPUT_SHARE * max_length))
        budget -= count_tokens(self.frame.format(profile="", input=""))
        budget -= count_tokens(JOIN) * (len(items) - 1)
        formatted = self._format_items(items, budget, count_tokens)
        if not formatted:
            return text, ()
        filled = head + self.frame.format(profile=JOIN.join(each for _, each in formatted), input=text_after)
        return filled, tuple(item for item, _ in formatted)

    def _split(self, text: str) -> tuple[str, str]:
        """Return the input before the place of the items, and the rest."""
        if not self.inside_input_after:
            return "", text
        before, words, after = text.partition(self.inside_input_after)
        if not words:
            raise UserError(
                f'the input "{text[:60]}" does not contain "{self.inside_input_after}", '
                "after which the profile items are inserted",
                hint="use the template of LaMP's files",
            )
        return before + words, after

    def _format_items(
        self, items: Sequence[ProfileItem], budget: int, count_tokens: Callable[[str], int]
    ) -> list[tuple[ProfileItem, str]]:
        formatted: list[tuple[ProfileItem, str]] = []
        unused_tokens = 0
        for item in items:
            token_budget = budget // len(items) + unused_tokens
            fixed = count_tokens(self._format_item(item, ""))
            text_tokens = item.fields[self.long_field]
            kept_text = truncate(text_tokens, token_budget - fixed, count_tokens)
            if fixed > token_budget or (text_tokens and not kept_text):
                unused_tokens = token_budget
                continue
            formatted.append((item, self._format_item(item, kept_text)))
            unused_tokens = token_budget - fixed - count_tokens(kept_text)
        return formatted

    def _format_item(self, item: ProfileItem, long_text: str) -> str:
        return self.item.format_map({**item.fields, self.long_field: long_text})


def length_within(window: int | None, max_length: int, input_tokens: int) -> int:
    """Return the budget, at most `max_length`, with which a filled prompt does not exceed `window` tokens.

    An input above `INPUT_SHARE` of the budget counts for less than it takes: the budget makes up for that.
    """
    if window is None:
        return max_length
    budget = min(max_length, window)
    if input_tokens <= INPUT_SHARE * budget:
        return budget
    return min(budget, int((window - input_tokens) / (1 - INPUT_SHARE)))


def truncate(text: str, token_budget: int, count_tokens: Callable[[str], int]) -> str:
    """Return the longest prefix of whole words of `text` with at most `token_budget` tokens, possibly "".

    If the first word does not fit, as in scripts without spaces, cut at a character.
    """
    if token_budget < 1:
        return ""
    text_tokens = count_tokens(text)
    if text_tokens <= token_budget:
        return text
    expected_ratio = token_budget / text_tokens
    word_ends = [match.end() for match in re.finditer(r"\S+", text)]
    return _longest_prefix(text, word_ends, token_budget, count_tokens, expected_ratio) or _longest_prefix(
        text, range(1, word_ends[0] + 1), token_budget, count_tokens, expected_ratio
    )


def _longest_prefix(
    text: str,
    ends: Sequence[int],
    token_budget: int,
    count_tokens: Callable[[str], int],
    expected_ratio: float,
) -> str:
    """Return the longest fitting prefix of `text` that ends at one of `ends`; `expected_ratio` is a guess.

    Galloping search from the expected position, then bisection, because counting tokens dominates the cost of
    building prompts.
    """

    def fits(place: int) -> bool:
        return count_tokens(text[: ends[place]]) <= token_budget

    guess, step = min(len(ends) - 1, int(expected_ratio * len(ends))), 1
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
