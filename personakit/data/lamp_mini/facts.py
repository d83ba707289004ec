"""What a lamp-mini text says, apart from how its writer says it: the content words in it.

Content and style share no word here (`words.py`), so the facts of a text are known exactly; for
text that people wrote see `personakit.evaluation.content`.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from personakit.data.lamp_mini.words import ADJECTIVES, DAYS, FILM_KINDS, PRAISE, content_words
from personakit.errors import UserError


def is_lamp_mini(folder: Path) -> bool:
    """Tell whether a data folder was made by lamp-mini's generator: its `dataset.json` says so."""
    path = folder / "dataset.json"
    if not path.is_file():
        return False
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(
            f"{path}: not valid JSON ({error})", hint="make or import the data again, or remove the file"
        ) from error
    return isinstance(document, dict) and document.get("name") == "lamp-mini"


def known_facts(text: str) -> frozenset[str]:
    """Return the words of `text` that say something: people, places, days, deeds and things."""
    return _facts() & frozenset(text.casefold().split())


@cache
def _facts() -> frozenset[str]:
    groups = (*PRAISE, *(shown for shown, _ in FILM_KINDS.values()))
    return frozenset((*content_words(), *DAYS, *ADJECTIVES, *(word for group in groups for word in group)))
