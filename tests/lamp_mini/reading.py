"""Reads a lamp-mini text: what it is about, and whether it is written as a user with given traits writes."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from personakit.data.lamp_mini.style import spell
from personakit.data.lamp_mini.words import categories, entries, fields, film_kinds, load, topics


def subject_of(task: str, text: str) -> str:
    """The one topic, kind, category or field whose words occur in the text."""
    plain = text.casefold()
    for american, british in load("style")["british"].items():
        plain = plain.replace(british, american)
    words = [word.span() for word in re.finditer(r"\w+", plain)]
    subjects, longest = _subjects(task)
    found = {
        subjects[phrase]
        for first, (start, _) in enumerate(words)
        for _, end in words[first : first + longest]
        if (phrase := plain[start:end]) in subjects
    }
    assert len(found) == 1, (found, text)
    return found.pop()


def stars_in(text: str) -> int:
    """The stars that the sentences of a review stand for."""
    levels = {
        level
        for level in range(5)
        for sentence in entries("reviews", "stars", str(level))
        if all(part in text for part in sentence.split("{feature}"))
    }
    [level] = levels
    return level + 1


def follows(task: str, item: dict[str, str], traits: dict[str, Any]) -> bool:
    """Whether a history item is written as a user of these traits writes."""
    subject = subject_of(task, " ".join(item.values()))
    if task == "LaMP_1":
        return traits["methods"][subject] in item["title"].casefold()
    if task == "LaMP_2":
        return bool(item["tag"] == traits["tags"][subject])
    if task == "LaMP_3":
        rating = stars_in(item["text"]) + traits["severity"][subject]
        return item["score"] == str(min(5, max(1, rating)))
    first, last = {
        "LaMP_4": lambda: (traits["rubrics"][subject], traits["closing"]),
        "LaMP_5": lambda: (traits["opening"], traits["genres"][subject]),
        "LaMP_6": lambda: (traits["codes"][subject], traits["urgency"]),
        "LaMP_7": lambda: (traits["greeting"], traits["sign_offs"][subject]),
    }[task]()
    spelling = "american" if task == "LaMP_7" else traits["habits"]["spelling"]
    first, last = (spell(phrase, spelling).casefold() for phrase in (first, last))
    written = item["text" if task == "LaMP_7" else "title"].casefold()
    return written.startswith(f"{first}") and written.endswith(last)


@cache
def _subjects(task: str) -> tuple[dict[str, str], int]:
    """The subject of every phrase, and the number of words of the longest phrase."""
    lists = {
        "LaMP_1": [(each, entries("papers", "fields", each)) for each in fields()],
        "LaMP_2": [(each, entries("films", "kinds", each, "words")) for each in film_kinds()],
        "LaMP_3": [(each, entries("reviews", "categories", each, "products")) for each in categories()],
    }
    lists["LaMP_5"] = lists["LaMP_1"]
    things = [(each, entries("topics", each, "things")) for each in topics()]
    subjects = {phrase.casefold(): name for name, phrases in lists.get(task, things) for phrase in phrases}
    return subjects, max(len(re.findall(r"\w+", phrase)) for phrase in subjects)
