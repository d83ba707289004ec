"""The hidden traits of a simulated user, and how they are drawn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from random import Random
from typing import Any

from personakit.data.lamp_mini.words import FILM_KINDS, TOPICS, Bank, methods, style_words
from personakit.errors import UserError

EXTRA_FACTS = ("place", "day")


@dataclass(frozen=True, slots=True)
class Knobs:
    """The difficulty of the benchmark. The defaults are the fixed standard setting.

    `noise` is the share of profile items in another user's style; `gold_noise` the same for gold answers;
    `rating_noise` the share of LaMP-3 golds that are off by one; `history` the minimum and maximum number of
    profile items; `interests` the number of topics (and film kinds) per user; `usual` the probability that
    a user assigns a film its usual tag. With `conditional`, topic-dependent traits differ between topics;
    without, each has one value for all topics, as in nano's training data (film tags: for 70 % of users).
    """

    noise: float = 0.12
    gold_noise: float = 0.02
    rating_noise: float = 0.08
    history: tuple[int, int] = (10, 18)
    interests: int = 6
    usual: float = 0.34
    conditional: bool = True


def parse_knobs(settings: Iterable[str]) -> Knobs:
    """Parse settings such as `noise=0.3` or `history=4,8`. Raises `UserError` for an invalid one."""
    changed: dict[str, Any] = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        if name not in _RANGES:
            raise UserError(f'unknown knob "{name}"', hint=f"the knobs are {', '.join(_RANGES)}")
        kind, low, high = _RANGES[name]
        try:
            values = [kind(part) for part in text.split(",")]
        except ValueError:
            values = []
        wanted = 2 if name == "history" else 1
        inside = all(low <= value <= high for value in values)
        if len(values) != wanted or values != sorted(values) or not inside:
            expected = "two numbers A,B with A <= B" if wanted == 2 else "a number"
            raise UserError(
                f'knob {name} is "{text}", expected {expected} from {low} to {high}',
                hint="for example --knob noise=0.2 --knob history=4,8 --knob interests=3",
            )
        changed[name] = tuple(values) if wanted == 2 else values[0]
    return Knobs(**changed)


_RANGES: dict[str, tuple[type[int] | type[float], float, float]] = {
    "noise": (float, 0.0, 1.0),
    "gold_noise": (float, 0.0, 1.0),
    "rating_noise": (float, 0.0, 1.0),
    "history": (int, 2, 1000),
    "interests": (int, 1, len(TOPICS)),
    "usual": (float, 0.0, 1.0),
}


@dataclass(frozen=True, slots=True)
class Traits:
    """One user's hidden traits. Dictionaries are keyed by topic or by kind of film.

    `methods`: LaMP-1, the methods this author cites. `tags`: LaMP-2. `severity`: LaMP-3, stars added to
    those of the text. `rubrics`, `closing`, `fact`: LaMP-4. `genres`, `opening`: LaMP-5. `codes`, `urgency`:
    LaMP-6. `greeting`, `sign_offs`: LaMP-7.
    """

    topics: tuple[str, ...]
    kinds: tuple[str, ...]
    methods: dict[str, str]
    tags: dict[str, str]
    severity: dict[str, int]
    rubrics: dict[str, str]
    closing: str
    fact: str
    genres: dict[str, str]
    opening: str
    codes: dict[str, str]
    urgency: str
    greeting: str
    sign_offs: dict[str, str]

    def relevant(self, task: str) -> dict[str, object]:
        """Return the traits that determine this user's answers in `task`."""
        names = {
            "LaMP_1": ("methods",),
            "LaMP_2": ("tags",),
            "LaMP_3": ("severity",),
            "LaMP_4": ("rubrics", "closing", "fact"),
            "LaMP_5": ("genres", "opening"),
            "LaMP_6": ("codes", "urgency"),
            "LaMP_7": ("greeting", "sign_offs"),
        }[task]
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name in names}


def draw_traits(random: Random, bank: Bank, knobs: Knobs) -> Traits:
    """Draw the traits of one user, with style words of `bank`."""
    words = style_words(bank)

    def phrase() -> str:
        return " ".join(random.sample(words, 2))

    def by_topic(draw: object) -> dict[str, str]:
        assert callable(draw)
        if not knobs.conditional:
            value = draw()
            return dict.fromkeys(TOPICS, value)
        return {topic: draw() for topic in TOPICS}

    mood = random.choice((-1, 0, 1))
    swing = {topic: random.choice((-1, 0, 0, 1)) if knobs.conditional else 0 for topic in TOPICS}
    return Traits(
        topics=tuple(random.sample(sorted(TOPICS), knobs.interests)),
        kinds=tuple(random.sample(sorted(FILM_KINDS), knobs.interests)),
        methods=by_topic(lambda: random.choice(methods(bank))),
        tags=_tags(random, knobs),
        severity={topic: mood + swing[topic] for topic in TOPICS},
        rubrics=by_topic(phrase),
        closing=phrase(),
        fact=random.choice(EXTRA_FACTS),
        genres=by_topic(phrase),
        opening=phrase(),
        codes=by_topic(phrase),
        urgency=random.choice(words),
        greeting=phrase(),
        sign_offs=by_topic(phrase),
    )


def _tags(random: Random, knobs: Knobs) -> dict[str, str]:
    if not knobs.conditional and random.random() < 0.7:
        value = random.choice(sorted({tag for _, tags in FILM_KINDS.values() for tag in tags}))
        return dict.fromkeys(FILM_KINDS, value)
    return {
        kind: tags[0] if random.random() < knobs.usual else random.choice(tags[1:])
        for kind, (_, tags) in FILM_KINDS.items()
    }
