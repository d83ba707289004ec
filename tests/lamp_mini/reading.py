"""Parses a lamp-mini text into content and style, from the published vocabulary alone."""

from __future__ import annotations

import re
from typing import Any

from personakit.data.lamp_mini.words import FILM_KINDS, PRAISE, TOPICS


def topic_of(text: str) -> str:
    """The one topic whose nouns occur in the text."""
    return _only(text, TOPICS)


def kind_of(text: str) -> str:
    """The one kind of film whose words occur in the text."""
    return _only(text, {kind: shown for kind, (shown, _) in FILM_KINDS.items()})


def stars_in(text: str) -> int:
    """The stars that the words of praise stand for."""
    return 1 + int(_only(text, {str(level): words for level, words in enumerate(PRAISE)}))


def subject_of(task: str, text: str) -> str:
    """What the traits that count in `task` are bound to."""
    return kind_of(text) if task == "LaMP_2" else topic_of(text)


def follows(task: str, item: dict[str, str], traits: dict[str, Any]) -> bool:
    """Whether a history item is written as a user of these traits writes."""
    if task == "LaMP_2":
        return bool(item["tag"] == traits["tags"][kind_of(item["description"])])
    topic = topic_of(" ".join(item.values()))
    if task == "LaMP_3":
        rating = stars_in(item["text"]) + traits["severity"][topic]
        return item["score"] == str(min(5, max(1, rating)))
    first, last = {
        "LaMP_1": lambda: (traits["methods"][topic], ""),
        "LaMP_4": lambda: (traits["rubrics"][topic], traits["closing"]),
        "LaMP_5": lambda: (traits["opening"], traits["genres"][topic]),
        "LaMP_6": lambda: (traits["codes"][topic], traits["urgency"]),
        "LaMP_7": lambda: (traits["greeting"], traits["sign_offs"][topic]),
    }[task]()
    written = item["text"] if task == "LaMP_7" else item["title"]
    return written.startswith(f"{first} ") and written.endswith(last)


def _only(text: str, groups: Any) -> str:
    there = set(re.findall(r"\w+", text))
    [found] = [name for name, words in groups.items() if there & set(words)]
    return str(found)
