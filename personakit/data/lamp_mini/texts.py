"""The texts of lamp-mini: contents, and each user's answers, for the seven tasks.

A *content* is what one text is about. A task's input (`source`) depends on the content alone. `generic` is
the answer without personalisation, `personal` the answer of a user with given traits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random
from typing import Final

from personakit.data.lamp_mini.style import capitalized, lower_first, post, title
from personakit.data.lamp_mini.traits import Traits
from personakit.data.lamp_mini.words import entries, film_kinds, verbs

_HEADLINES: Final = {"statement": ("", "present"), "why": ("why ", "past"), "how": ("how ", "past")}


@dataclass(frozen=True, slots=True)
class Content:
    """What one text is about: its topic, kind, category or field, and the parts of its sentences."""

    task: str
    subject: str
    parts: dict[str, str]
    stars: int = 0

    def __getitem__(self, part: str) -> str:
        return self.parts[part]


def draw_content(random: Random, task: str, subject: str) -> Content:
    """Draw a content of `task` about `subject`."""
    parts = {
        "name": random.choice(entries("people", "names")),
        "surname": random.choice(entries("people", "surnames")),
        "place": random.choice(entries("people", "places")),
        "day": random.choice(entries("people", "days")),
        "number": str(random.randint(3, 98)),
    }
    if task == "LaMP_2":
        first, second = random.sample(entries("films", "kinds", subject, "words"), 2)
        frame = random.choice(entries("films", "kinds", subject, "frames"))
        parts["text"] = _articles(
            frame.replace("{word}", first, 1).replace("{word}", second, 1).format(**parts)
        )
        return Content(task, subject, parts)
    if task == "LaMP_3":
        return _review(random, subject, parts)
    if task in ("LaMP_1", "LaMP_5"):
        return _paper(random, task, subject, parts)
    past, present = random.choice(verbs(subject))
    parts |= {
        "thing": random.choice(entries("topics", subject, "things")),
        "past": past,
        "present": present,
        "time": random.choice(entries("people", "times")).format(**parts),
    }
    parts["text"] = {"LaMP_4": _article, "LaMP_6": _mail, "LaMP_7": _post}[task](random, parts)
    return Content(task, subject, parts)


def source(content: Content) -> str:
    """Return the non-template part of the input (LaMP-1: the paper's title)."""
    return content["title"] if content.task == "LaMP_1" else content["text"]


def generic(content: Content) -> str:
    """Return the answer without personalisation. LaMP-1 has none: both answers are equally likely."""
    c = content
    match c.task:
        case "LaMP_2":
            return film_kinds()[c.subject][0]
        case "LaMP_3":
            return str(c.stars)
        case "LaMP_4":
            return f"{c['name']} {c['surname']} {c['present']} the {c['thing']}"
        case "LaMP_5":
            return f"{capitalized(c['topic'])} and {c['other']}"
        case "LaMP_6":
            return f"{capitalized(c['thing'])} meeting moved to {c['day']}"
        case "LaMP_7":
            return f"{c['who']} {c['past']} the {c['thing']}."
    raise KeyError(c.task)


def personal(content: Content, traits: Traits) -> str:
    """Return the answer of a user with `traits` (LaMP-1: the title of one of their papers)."""
    c, habits = content, traits.habits
    match c.task:
        case "LaMP_1":
            return _title_with(c, traits.methods[c.subject])
        case "LaMP_2":
            return traits.tags[c.subject]
        case "LaMP_3":
            return str(min(5, max(1, c.stars + traits.severity[c.subject])))
        case "LaMP_4":
            start, verb = _HEADLINES[habits.form]
            fact = f"in {c['place']}" if habits.fact == "place" else f"on {c['day']}"
            main = f"{start}{c['name']} {c['surname']} {c[verb]} the {c['thing']} {fact}"
            rubric = traits.rubrics[c.subject]
            return title(habits, f"{rubric}: {capitalized(main)}{habits.joint}{traits.closing}")
        case "LaMP_5":
            fact = f" in {c['place']}" if habits.fact == "place" else ""
            opening, genre = (
                capitalized(text.lower()) for text in (traits.opening, traits.genres[c.subject])
            )
            return title(habits, f"{opening} {c['topic']} and {c['other']}{fact}: {genre}")
        case "LaMP_6":
            fact = f" in {c['place']}" if habits.fact == "place" else ""
            main = f"{c['thing']} meeting now on {c['day']}{fact}"
            return title(
                habits, f"{traits.codes[c.subject]} {capitalized(main)}{habits.joint}{traits.urgency}"
            )
        case "LaMP_7":
            fact = f"in {c['place']}" if habits.fact == "place" else c["time"]
            body = f"{c['who']} {c['past']} the {c['thing']} {fact}"
            if not habits.short:
                body += f", {c['tail']}"
            return post(habits, traits.greeting, body, traits.sign_offs[c.subject])
    raise KeyError(c.task)


def item_fields(content: Content, traits: Traits) -> dict[str, str]:
    """Return the fields of a profile item about `content`, written by a user with `traits`."""
    output = personal(content, traits)
    match content.task:
        case "LaMP_1" | "LaMP_5":
            return {"title": output, "abstract": content["text"]}
        case "LaMP_2":
            return {"tag": output, "description": content["text"]}
        case "LaMP_3":
            return {"text": content["text"], "score": output}
        case "LaMP_4" | "LaMP_6":
            return {"title": output, "text": content["text"]}
        case "LaMP_7":
            return {"text": output}
    raise KeyError(content.task)


def reference(random: Random, content: Content, method: str) -> str:
    """Return the title of another author's paper on the same field with `method` (LaMP-1)."""
    topic, other = random.sample(entries("papers", "fields", content.subject), 2)
    parts = content.parts | {"topic": topic, "other": other}
    parts["title_frame"] = random.choice(entries("papers", "method_titles"))
    parts["place"] = random.choice(entries("people", "places"))
    return _title_with(Content("LaMP_1", content.subject, parts), method)


def _title_with(c: Content, method: str) -> str:
    return c["title_frame"].format(
        method=method,
        Method=capitalized(method),
        subject=c["topic"],
        Subject=capitalized(c["topic"]),
        place=c["place"],
    )


def _paper(random: Random, task: str, field: str, parts: dict[str, str]) -> Content:
    parts["topic"], parts["other"] = random.sample(entries("papers", "fields", field), 2)
    parts["title_frame"] = random.choice(entries("papers", "method_titles"))
    parts["title"] = f"{capitalized(parts['topic'])} and {parts['other']} in {parts['place']}"
    parts["text"] = random.choice(entries("papers", "abstracts")).format(
        subject=parts["topic"], Subject=capitalized(parts["topic"]), **parts
    )
    return Content(task, field, parts)


def _review(random: Random, category: str, parts: dict[str, str]) -> Content:
    stars = random.randint(1, 5)
    first, second = random.sample(entries("reviews", "stars", str(stars - 1)), 2)
    features = entries("reviews", "categories", category, "features")
    parts["product"] = random.choice(entries("reviews", "categories", category, "products"))
    opening = random.choice(entries("reviews", "openings"))
    sentences = (text.format(feature=random.choice(features), **parts) for text in (opening, first, second))
    return Content("LaMP_3", category, parts | {"text": " ".join(sentences)}, stars)


def _article(random: Random, parts: dict[str, str]) -> str:
    filled = parts | {
        "occupation": random.choice(entries("people", "occupations")),
        "time_first": capitalized(parts["time"]),
        "number": str(random.randint(3, 98)),
    }
    lead, detail = random.choice(entries("posts", "news")), random.choice(entries("posts", "details"))
    sentences = [
        lead,
        detail,
        *([random.choice(entries("posts", "quotes"))] if random.random() < 0.5 else []),
    ]
    return _articles(" ".join(sentence.format(**filled) for sentence in sentences))


def _mail(random: Random, parts: dict[str, str]) -> str:
    return random.choice(entries("posts", "mail")).format(
        because=random.choice(entries("posts", "because")),
        request=random.choice(entries("posts", "requests")),
        **parts,
    )


def _post(random: Random, parts: dict[str, str]) -> str:
    parts["who"] = random.choice(entries("posts", "who")).format(**parts)
    parts["tail"] = random.choice(entries("posts", "tails"))
    inside = lower_first(parts["who"])
    return random.choice(entries("posts", "post")).format(
        who_inside=inside, time_first=capitalized(parts["time"]), **parts
    )


def _articles(text: str) -> str:
    """Write "an" where a word that was filled in begins with a vowel."""
    return re.sub(r"\b([Aa]) (?=[aeioAEIO]|un(?!i)|under|hour\b)", r"\1n ", text)
