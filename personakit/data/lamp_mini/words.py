"""The vocabulary of lamp-mini: what texts are about, and how people write. The lists are in `content/`.

Contents (names, places, topics, products, ...) are shared by all users. Phrases of style are split: those of
dev and test users are no phrase of another split, and those of several words occur in no content.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, get_args

Split = Literal["train", "dev", "test"]
Phrases = Literal[
    "greetings",
    "sign_offs",
    "rubrics",
    "closings",
    "openings",
    "genres",
    "codes",
    "urgencies",
    "notice_begins",
    "notice_ends",
    "methods",
]
_PHRASE_LISTS: Final = tuple(name for name in get_args(Phrases) if name != "methods")

_FOLDER: Final = Path(__file__).parent / "content"
# Of five neighbouring phrases, three are for training users, one each for dev and test users.
_SPLIT_OF: Final[tuple[Split, ...]] = ("train", "train", "train", "dev", "test")


@cache
def phrases(kind: Phrases, split: Split) -> tuple[str, ...]:
    """Return the phrases of `kind` from which users of `split` choose. Splits are disjoint."""
    texts = entries("papers", "methods") if kind == "methods" else entries("style", kind)
    return tuple(text for place, text in enumerate(texts) if _SPLIT_OF[place % len(_SPLIT_OF)] == split)


@cache
def entries(file: str, *keys: str) -> tuple[str, ...]:
    """Return one list of `content/FILE.yaml`: a YAML list, or a text separated by `;`, `,` or spaces."""
    node = load(file)
    for key in keys:
        node = node[int(key)] if isinstance(node, list) else node[key]
    if isinstance(node, list):
        return tuple(part.strip() for line in node for part in str(line).split(",") if part.strip())
    separator = next((mark for mark in ";," if mark in node), None)
    return tuple(part.strip() for part in node.split(separator))


@cache
def load(file: str) -> Any:
    """Return the document of `content/FILE.yaml`."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load((_FOLDER / f"{file}.yaml").read_text(encoding="utf-8"), Loader=loader)


@cache
def topics() -> tuple[str, ...]:
    """Return the topics of posts, articles and e-mails."""
    return tuple(load("topics"))


@cache
def verbs(topic: str) -> tuple[tuple[str, str], ...]:
    """Return the verbs of a topic as (past, present)."""
    pairs = (entry.partition("|") for entry in entries("topics", topic, "verbs"))
    return tuple((past, present) for past, _, present in pairs)


@cache
def film_kinds() -> dict[str, tuple[str, ...]]:
    """Return the tags of each kind of film. The first is the usual one, which is the generic answer."""
    return {kind: tuple(record["tags"]) for kind, record in load("films")["kinds"].items()}


def categories() -> tuple[str, ...]:
    """Return the categories of reviewed products."""
    return tuple(load("reviews")["categories"])


def fields() -> tuple[str, ...]:
    """Return the fields of research."""
    return tuple(load("papers")["fields"])


def words_of(text: str) -> list[str]:
    """Return the words and numbers of `text`, lower-cased."""
    return re.findall(r"[a-z0-9]+", text.casefold())


@cache
def content_words() -> frozenset[str]:
    """Return the words that tell what a text is about and that occur in no phrase of style and no verb."""
    lists = [entries("people", key) for key in ("names", "surnames", "places", "days", "occupations")]
    lists += [entries("topics", topic, "things") for topic in topics()]
    lists += [entries("papers", "fields", field) for field in fields()]
    lists += [entries("films", "kinds", kind, "words") for kind in film_kinds()]
    lists += [entries("reviews", "categories", category, "products") for category in categories()]
    return frozenset(word for texts in lists for text in texts for word in words_of(text)) - _style_words()


@cache
def _style_words() -> frozenset[str]:
    phrases_of_style = (text for name in _PHRASE_LISTS for text in entries("style", name))
    spoken = (verb for topic in topics() for pair in verbs(topic) for verb in pair)
    small = ("and", "of", "the", "a", "in", "on", "with", "to", "for", "app", "two", "place", "open", "air")
    return frozenset(word for text in (*phrases_of_style, *spoken, *small) for word in words_of(text))


@cache
def vocabulary() -> list[str]:
    """Return all words of the benchmark, sorted."""
    found: set[str] = set()

    def collect(node: Any) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                collect(key)
                collect(value)
        elif isinstance(node, list):
            for value in node:
                collect(value)
        elif isinstance(node, str):
            found.update(words_of(node))

    for path in sorted(_FOLDER.glob("*.yaml")):
        collect(load(path.stem))
    return sorted(found)
