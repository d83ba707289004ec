"""Queries, items and contexts for the task tests."""

from __future__ import annotations

from personakit.data.lamp_formats import build_input, profile_item, search_text
from personakit.records import Context, Query


def query_of(task: str, **parts: str) -> Query:
    text = build_input(task, **parts)
    return Query("q", task, text, search_text(task, text), "u")


def context_of(task: str, *items: dict[str, str]) -> Context:
    return Context(items=tuple(profile_item(task, str(at), fields) for at, fields in enumerate(items)))


def count_words(text: str) -> int:
    """A token counter that a test can follow by eye."""
    return len(text.split())
