"""A readable difference of two texts, word by word: `the [-old-]{+new+} text`.

The marks (those of `git diff --word-diff`) tell without colour; a terminal adds red and green.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from personakit.cli.output import harmless
from personakit.evaluation.showcase import Change, word_changes

if TYPE_CHECKING:
    from rich.text import Text

_STYLES = {"same": "", "gone": "red", "new": "green"}


def marked(before: str, after: str) -> str:
    """What makes `after` of `before`, as plain text."""
    return "".join(_mark(change) for change in word_changes(before, after))


def coloured(before: str, after: str) -> Text:
    """The same, with colours for a terminal that has them."""
    from rich.text import Text

    return Text.assemble(
        *((harmless(_mark(change)), _STYLES[change[0]]) for change in word_changes(before, after))
    )


def _mark(change: Change) -> str:
    kind, text = change
    return {"same": text, "gone": f"[-{text}-]", "new": f"{{+{text}+}}"}[kind]
