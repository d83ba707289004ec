"""What users of lamp-mini write: contents, and how one user words each of them, for the seven tasks.

A *content* is what a text is about (topic, nouns, place, ...). The *input* of a task is written from
the content alone; `generic` is what anyone would answer; `personal` is what a user with given traits
answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from personakit.data.lamp_mini.traits import Traits
from personakit.data.lamp_mini.words import (
    ADJECTIVES,
    DAYS,
    FILM_KINDS,
    NAMES,
    PLACES,
    PRAISE,
    TOPICS,
    VERBS,
)


@dataclass(frozen=True, slots=True)
class Content:
    """What one text is about."""

    topic: str
    kind: str
    nouns: tuple[str, str, str]
    film_words: tuple[str, str]
    name: str
    place: str
    day: str
    verb: str
    adjective: str
    stars: int
    praise: tuple[str, str]


def draw_content(random: Random, topic: str, kind: str) -> Content:
    """Draw a content on `topic` (and, for films, of `kind`)."""
    nouns = random.sample(TOPICS[topic], 3)
    film_words = random.sample(FILM_KINDS[kind][0], 2)
    stars = random.randint(1, 5)
    praise = random.sample(PRAISE[stars - 1], 2)
    return Content(
        topic=topic,
        kind=kind,
        nouns=(nouns[0], nouns[1], nouns[2]),
        film_words=(film_words[0], film_words[1]),
        name=random.choice(NAMES),
        place=random.choice(PLACES),
        day=random.choice(DAYS),
        verb=random.choice(VERBS),
        adjective=random.choice(ADJECTIVES),
        stars=stars,
        praise=(praise[0], praise[1]),
    )


def source(task: str, c: Content) -> str:
    """The non-template part of the input: the text the user reacts to (LaMP-1: the paper's title)."""
    first, second, _ = c.nouns
    match task:
        case "LaMP_1":
            return f"{c.adjective} {first} in {c.place}"
        case "LaMP_2":
            one, two = c.film_words
            return f"{c.name} and a {c.adjective} {one} in {c.place} with a {two}"
        case "LaMP_3":
            one, two = c.praise
            return f"the {first} near the {second} in {c.place} was {one} and {two}"
        case "LaMP_4":
            return f"{c.name} {c.verb} the {c.adjective} {first} in {c.place} on {c.day} near the {second}"
        case "LaMP_5":
            return f"we study the {first} and the {second} in {c.place} with {c.adjective} data from {c.name}"
        case "LaMP_6":
            return f"dear {c.name} the {first} meeting in {c.place} moves to {c.day} because of the {second}"
        case "LaMP_7":
            return f"on {c.day} we went to see the {first} with {c.name} in {c.place} near the {second}"
    raise KeyError(task)


def generic(task: str, c: Content) -> str:
    """The answer of somebody who does not know the user. LaMP-1 has none: it is a coin."""
    first, second, _ = c.nouns
    match task:
        case "LaMP_2":
            return FILM_KINDS[c.kind][1][0]
        case "LaMP_3":
            return str(c.stars)
        case "LaMP_4":
            return f"{c.name} {c.verb} {first}"
        case "LaMP_5":
            return f"{first} and {second}"
        case "LaMP_6":
            return f"{first} meeting {c.day}"
        case "LaMP_7":
            return f"saw {first} with {c.name} in {c.place}"
    raise KeyError(task)


def personal(task: str, c: Content, t: Traits) -> str:
    """The answer of a user with traits `t` (LaMP-1: the title of a paper of theirs)."""
    first, second, _ = c.nouns
    match task:
        case "LaMP_1":
            return f"{t.methods[c.topic]} {first} and {second}"
        case "LaMP_2":
            return t.tags[c.kind]
        case "LaMP_3":
            return str(min(5, max(1, c.stars + t.severity[c.topic])))
        case "LaMP_4":
            fact = c.place if t.fact == "place" else c.day
            return f"{t.rubrics[c.topic]} {c.name} {c.verb} {first} {fact} {t.closing}"
        case "LaMP_5":
            return f"{t.opening} {first} and {second} {t.genres[c.topic]}"
        case "LaMP_6":
            return f"{t.codes[c.topic]} {first} meeting {c.day} {t.urgency}"
        case "LaMP_7":
            return f"{t.greeting} {first} with {c.name} in {c.place} {t.sign_offs[c.topic]}"
    raise KeyError(task)


def item_fields(task: str, c: Content, t: Traits) -> dict[str, str]:
    """A history item: the content as this user worded it, under LaMP's keys."""
    output = personal(task, c, t)
    text = source(task, c)
    match task:
        case "LaMP_1":
            abstract = f"we study the {c.nouns[0]} in {c.place} with {c.adjective} data from {c.name}"
            return {"title": output, "abstract": abstract}
        case "LaMP_2":
            return {"tag": output, "description": text}
        case "LaMP_3":
            return {"text": text, "score": output}
        case "LaMP_4" | "LaMP_6":
            return {"title": output, "text": text}
        case "LaMP_5":
            return {"title": output, "abstract": text}
        case "LaMP_7":
            return {"text": output}
    raise KeyError(task)


def reference(random: Random, c: Content, method: str) -> str:
    """A paper on the content's topic by somebody of the school `method` (LaMP-1)."""
    return f"{method} {c.nouns[2]} for {random.choice(ADJECTIVES)} {c.nouns[1]}"
