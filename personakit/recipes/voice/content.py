"""Reads content.yaml, and the contents of lamp-mini's training texts."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from personakit.data.lamp_mini.words import entries, load, phrases


@cache
def content() -> dict[str, Any]:
    """Return the document of content.yaml."""
    import yaml

    document: dict[str, Any] = yaml.safe_load(
        Path(__file__).with_name("content.yaml").read_text(encoding="utf-8")
    )
    return document


@cache
def listed(name: str) -> tuple[str, ...]:
    """Return a list of content.yaml, such as `closings`."""
    text = content()["slots"].get(name) or content()[name]
    if isinstance(text, list):
        return tuple(text)
    return tuple(part.strip() for part in text.split(";" if ";" in text else None))


@cache
def openings() -> tuple[str, ...]:
    """Return phrases that begin a text: ours and those of lamp-mini's training users."""
    return (*listed("openings"), *phrases("greetings", "train"))


@cache
def closings() -> tuple[str, ...]:
    """Return phrases that end a text: ours and those of lamp-mini's training users."""
    return (*listed("closings"), *phrases("sign_offs", "train"))


@cache
def capitalized_words() -> frozenset[str]:
    """Return the words of drafts that keep their capital letter within a sentence."""
    people = {word for key in ("names", "surnames", "days") for word in entries("people", key)}
    places = {word for place in entries("people", "places") for word in place.split()}
    return frozenset(people | places | set(listed("month")) | {"I", "I'm", "I've", "I'll", "I'd"})


@cache
def product_parts() -> tuple[tuple[str, str], ...]:
    """Return products and one feature of each."""
    categories = load("reviews")["categories"]
    return tuple(
        (product, feature)
        for name in categories
        for product in entries("reviews", "categories", name, "products")
        for feature in entries("reviews", "categories", name, "features")
    )
