"""Shows the difference of two texts by word, as `git diff --word-diff` does: `the [-old-]{+new+} text`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from personakit.cli.output import escaped
from personakit.evaluation.showcase import Change, word_changes

if TYPE_CHECKING:
    from rich.text import Text

_STYLES = {"same": "", "gone": "red", "new": "green"}


def plain_diff(before: str, after: str) -> str:
    """Return the difference as plain text."""
    return "".join(_mark(change) for change in word_changes(before, after))


def coloured_diff(before: str, after: str) -> Text:
    """Return the difference with colours."""
    from rich.text import Text

    return Text.assemble(
        *((escaped(_mark(change)), _STYLES[change[0]]) for change in word_changes(before, after))
    )


def _mark(change: Change) -> str:
    kind, text = change
    return {"same": text, "gone": f"[-{text}-]", "new": f"{{+{text}+}}"}[kind]
