"""Neutral texts of one to three sentences: notes, posts and e-mails. Their details are drawn at random."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from random import Random

from personakit.data.lamp_mini.style import capitalized
from personakit.data.lamp_mini.words import entries, topics, verbs
from personakit.recipes.voice.content import content, listed, product_parts

_GREETINGS = ("Hi {}", "Hello {}", "Dear {}", "{}", "Good morning {}", "Hey {}")
_STREETS = ("Street", "Road", "Lane", "Square")
#: Parts of words that do not exist.
_STARTS = (*"bcdfghjklmnprstvwz", "br", "ch", "sh", "tr")
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ee", "é", "ou")
_ENDS = ("n", "l", "r", "x", "ck", "s", "th", "m")
#: Kinds of the sentences of a text, with weights.
_PLANS = (
    (("sentences",), 20),
    (("mail",), 12),
    (("questions",), 6),
    (("fragments",), 5),
    (("requests",), 2),
    (("tail",), 8),
    (("sentences", "sentences"), 11),
    (("tail", "requests"), 4),
    (("mail", "requests"), 8),
    (("mail", "mail"), 9),
    (("sentences", "questions"), 6),
    (("fragments", "sentences"), 5),
    (("sentences", "sentences", "requests"), 4),
    (("mail", "mail", "questions"), 3),
    (("mail", "mail", "requests"), 4),
    (("sentences", "sentences", "sentences"), 4),
    (("sentences", "mail", "sentences", "requests"), 2),
)


@dataclass(frozen=True, slots=True)
class Draft:
    """A neutral text: the person addressed ("" if nobody is), and its sentences with their final marks."""

    sentences: tuple[tuple[str, str], ...]
    addressee: str = ""
    greeting: str = ""
    own_line: bool = False
    """Whether the greeting stands on a line of its own."""


def draw_draft(random: Random, addressed: float | None = None) -> Draft:
    """Draw a draft. `addressed` is the share of drafts that begin with a greeting (None: as usual)."""
    plan = random.choices([plan for plan, _ in _PLANS], [weight for _, weight in _PLANS])[0]
    sentences = tuple(_sentence(random, kind) for kind in plan)
    draft = Draft(sentences)
    usual = 0.45 if "mail" in plan else 0.08
    if random.random() < (usual if addressed is None else addressed):
        name = random.choice(entries("people", "names"))
        if random.random() < 0.1:
            name = random.choice(
                ("all", "team", "everyone", "Ms. " + random.choice(entries("people", "surnames")))
            )
        greeting = random.choice(_GREETINGS).format(name)
        draft = replace(
            draft,
            addressee=name,
            greeting=greeting[0].upper() + greeting[1:] + random.choice(",,,,!"),
            own_line=random.random() < 0.4,
        )
    if random.random() < 0.08:  # a draft may be without a full stop
        draft = replace(draft, sentences=(*sentences[:-1], (sentences[-1][0], "")))
    return draft


def _sentence(random: Random, kind: str) -> tuple[str, str]:
    slots = _slots(random)
    if kind == "tail":
        who = random.choice(entries("posts", "who")).format(**slots)
        frame = random.choice(
            (
                "{who} {verb} the {thing} {when}, {tail}",
                "{who} {verb} the {thing} in {place}, {tail}",
                "Yesterday {lower} {verb} the {thing}, {tail}",
                "{who} {verb} the {thing}",
                "It was {when} when {lower} {verb} the {thing}, {tail}",
            )
        )
        lower = who if who.split()[0] in (slots["name"], "I") else who[0].lower() + who[1:]
        return frame.format(who=who, lower=lower, tail=random.choice(entries("posts", "tails")), **slots), "."
    if kind == "mail" and random.random() < 0.2:
        kind, frame = "requests", random.choice(entries("posts", "requests"))
    elif kind == "sentences" and random.random() < 0.15:
        frame = random.choice(entries("posts", "details"))
    else:
        frame = random.choice(content()[kind])
    text = _filled(frame, slots, random)
    if random.random() < 0.4:
        text = contracted(text)
    if text[-1] in ".?!":
        return text[:-1], text[-1] if text[-1] != "." or random.random() > 0.08 else "!"
    return text, "."


def _filled(frame: str, slots: dict[str, str], random: Random) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name == "n":  # drawn anew: a sentence may have two
            return str(random.randint(2, 98))
        return slots[name.lower()] if name[0].islower() else capitalized(slots[name.lower()])

    text = re.sub(r"\{(\w+)\}", value, frame)
    return capitalized(re.sub(r"\b([Aa]) (?=[aeioAEIO])", r"\1n ", text))


def contracted(text: str) -> str:
    """Return the text with contractions, as most people write."""
    table = content()["contractions"]
    return _contractible().sub(lambda found: table[found[0]], text)


@cache
def _contractible() -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, content()['contractions']))})\b")


def _slots(random: Random) -> dict[str, str]:
    topic = random.choice(topics())
    product, feature = random.choice(product_parts())
    name = _name(random)
    slots = {
        "name": name,
        "full": f"{random.choice(entries('people', 'names'))} {random.choice(entries('people', 'surnames'))}",
        "place": random.choice(entries("people", "places")),
        "day": random.choice(entries("people", "days")),
        "amount": _amount(random),
        "street": f"{random.randint(1, 180)} {_invented(random)} {random.choice(_STREETS)}",
        "brand": _invented(random),
        "date": _date(random),
        "clock": _clock(random),
        "clock2": _clock(random),
        "price": _price(random),
        "big": _big(random),
        "number": str(random.randint(3, 98)),
        "verb": random.choice(verbs(topic))[0],
        "thing": random.choice(entries("topics", topic, "things")),
        "product": product,
        "feature": feature,
        "occupation": random.choice(entries("people", "occupations")),
    }
    slots |= {
        name: random.choice(listed(name))
        for name in ("topic", "dish", "animal", "present", "room", "month", "nth")
    }
    slots["when"] = random.choice(listed("when")).format(**slots)
    return slots


def _name(random: Random) -> str:
    """Return a first name, at times one that is in no list."""
    return _invented(random) if random.random() < 0.15 else random.choice(entries("people", "names"))


def _invented(random: Random) -> str:
    """Return a word that does not exist, with a capital letter."""
    syllables = (random.choice(_STARTS) + random.choice(_VOWELS) for _ in range(random.randint(1, 3)))
    return capitalized("".join(syllables) + random.choice(_ENDS))


def _amount(random: Random) -> str:
    count = random.choice((str(random.randint(2, 400)), f"{random.randint(1, 30)}.{random.randint(1, 9)}"))
    return count + random.choice(
        (" kg", " km", "%", " liters", " miles", " GB", " degrees", " pages", " hours")
    )


def _date(random: Random) -> str:
    day, month = random.randint(1, 28), random.choice(listed("month"))
    return random.choice((f"{month} {day}", f"{day} {month}", f"{month} {day}, {random.randint(2019, 2031)}"))


def _clock(random: Random) -> str:
    hour, minute = random.randint(1, 12), random.choice(("00", "15", "30", "45", "20", "05"))
    return random.choice(
        (
            f"{hour}:{minute}",
            f"{hour + 8}:{minute}",
            f"{hour} pm",
            f"{hour} am",
            f"{hour}:{minute} pm",
            f"{hour} o'clock",
            "noon",
        )
    )


def _price(random: Random) -> str:
    amount = random.choice(
        (str(random.randint(2, 95)), f"{random.randint(1, 60)}.{random.choice((49, 50, 90, 99))}")
    )
    return random.choice((f"${amount}", f"{amount} dollars", f"€{amount}", f"{amount} euros", f"£{amount}"))


def _big(random: Random) -> str:
    return random.choice(
        (f"{random.randint(1, 9)},{random.randint(100, 999)}", str(random.randint(100, 99999)))
    )
