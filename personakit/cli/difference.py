"""Shows the word difference of two texts like `git diff --word-diff`: `the [-old-]{+new+} text`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from personakit.cli.output import escaped
from personakit.evaluation.showcase import word_changes

if TYPE_CHECKING:
    from rich.text import Text

_FORMATS = {"same": ("{}", ""), "gone": ("[-{}-]", "red"), "new": ("{{+{}+}}", "green")}


def word_diff(before: str, after: str) -> Text:
    """Return the difference with colours; its `plain` text is readable without them."""
    from rich.text import Text

    changes = [(_FORMATS[kind], text) for kind, text in word_changes(before, after)]
    return Text.assemble(*((escaped(mark.format(text)), style) for (mark, style), text in changes))
