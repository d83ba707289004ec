"""What counts as a word of a text: letters, with an apostrophe inside (`don't`), without digits."""

from __future__ import annotations

import re

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
