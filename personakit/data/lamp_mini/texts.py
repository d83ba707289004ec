"""The texts of lamp-mini: contents, and each user's answers, for the seven tasks.

A *content* is what a text is about (topic, nouns, place, ...). A task's input depends on the content alone.
`generic` is the answer without personalisation, `personal` the answer of a user with given traits.
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
    """Draw a content about `topic` (and, for films, of `kind`)."""
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
    """Return the non-template part of the input (LaMP-1: the paper's title)."""
    first, second, _ = c.nouns
    match task:
        case "LaMP_1":
            return f"{c.adjective} {first} in {c.place}"
        case "LaMP_2":
            first_word, second_word = c.film_words
            return f"{c.name} and a {c.adjective} {first_word} in {c.place} with a {second_word}"
        case "LaMP_3":
            first_word, second_word = c.praise
            return f"the {first} near the {second} in {c.place} was {first_word} and {second_word}"
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
    """Return the answer without personalisation. LaMP-1 has none: both answers are equally likely."""
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


def personal(task: str, c: Content, traits: Traits) -> str:
    """Return the answer of a user with `traits` (LaMP-1: the title of one of their papers)."""
    first, second, _ = c.nouns
    match task:
        case "LaMP_1":
            return f"{traits.methods[c.topic]} {first} and {second}"
        case "LaMP_2":
            return traits.tags[c.kind]
        case "LaMP_3":
            return str(min(5, max(1, c.stars + traits.severity[c.topic])))
        case "LaMP_4":
            fact = c.place if traits.fact == "place" else c.day
            return f"{traits.rubrics[c.topic]} {c.name} {c.verb} {first} {fact} {traits.closing}"
        case "LaMP_5":
            return f"{traits.opening} {first} and {second} {traits.genres[c.topic]}"
        case "LaMP_6":
            return f"{traits.codes[c.topic]} {first} meeting {c.day} {traits.urgency}"
        case "LaMP_7":
            return f"{traits.greeting} {first} with {c.name} in {c.place} {traits.sign_offs[c.topic]}"
    raise KeyError(task)


def item_fields(task: str, c: Content, traits: Traits) -> dict[str, str]:
    """Return the fields of a profile item about `c` in the style of `traits`."""
    output = personal(task, c, traits)
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
    """Return the title of another author's paper on the same topic with `method` (LaMP-1)."""
    return f"{method} {c.nouns[2]} for {random.choice(ADJECTIVES)} {c.nouns[1]}"
