"""What counts as a word of a text: letters, with an apostrophe inside (`don't`), without digits."""

from __future__ import annotations

import re

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
#: An account's number, in groups of four or not; all but the first group have a digit.
IBAN = r"\b(?i:[A-Z]{2}\d{2}[ ]?[A-Z0-9]{4}(?:[ ]?(?=[A-Z]{0,3}\d)[A-Z0-9]{4}){2,6}(?:[ ]?[A-Z0-9]{1,3})?)\b"
