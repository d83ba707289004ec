"""The hidden traits of a simulated user, and how they are drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

from personakit.data.lamp_mini.style import Habits, draw_habits
from personakit.data.lamp_mini.words import Phrases, Split, categories, fields, film_kinds, phrases, topics
from personakit.errors import UserError


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
    "interests": (int, 1, 10),
    "usual": (float, 0.0, 1.0),
}


@dataclass(frozen=True, slots=True)
class Traits:
    """One user's hidden traits. Dictionaries are keyed by topic, kind of film, category or field.

    `methods`: LaMP-1, the methods this author cites. `tags`: LaMP-2. `severity`: LaMP-3, stars added to those
    of the text. `rubrics`, `closing`: LaMP-4. `genres`, `opening`: LaMP-5. `codes`, `urgency`: LaMP-6.
    `greeting`, `sign_offs`: LaMP-7. `habits` hold for LaMP-4 to LaMP-7.
    """

    topics: tuple[str, ...]
    kinds: tuple[str, ...]
    categories: tuple[str, ...]
    fields: tuple[str, ...]
    habits: Habits
    methods: dict[str, str]
    tags: dict[str, str]
    severity: dict[str, int]
    rubrics: dict[str, str]
    closing: str
    genres: dict[str, str]
    opening: str
    codes: dict[str, str]
    urgency: str
    greeting: str
    sign_offs: dict[str, str]

    def subjects(self, task: str) -> tuple[str, ...]:
        """Return what this user's texts of `task` are about."""
        return {
            "LaMP_1": self.fields,
            "LaMP_2": self.kinds,
            "LaMP_3": self.categories,
            "LaMP_5": self.fields,
        }.get(task, self.topics)

    def relevant(self, task: str) -> dict[str, object]:
        """Return the traits that determine this user's answers in `task`."""
        names = {
            "LaMP_1": ("methods",),
            "LaMP_2": ("tags",),
            "LaMP_3": ("severity",),
            "LaMP_4": ("rubrics", "closing", "habits"),
            "LaMP_5": ("genres", "opening", "habits"),
            "LaMP_6": ("codes", "urgency", "habits"),
            "LaMP_7": ("greeting", "sign_offs", "habits"),
        }[task]
        record = asdict(self)
        return {name: record[name] for name in names}


def draw_traits(random: Random, split: Split, knobs: Knobs) -> Traits:
    """Draw the traits of one user, with the phrases of `split`."""

    def one(kind: Phrases) -> str:
        return random.choice(phrases(kind, split))

    def by(subjects: Sequence[str], kind: Phrases) -> dict[str, str]:
        if not knobs.conditional:
            return dict.fromkeys(subjects, one(kind))
        return {subject: one(kind) for subject in subjects}

    mood = random.choice((-1, 0, 1))
    swing = {each: random.choice((-1, 0, 0, 1)) if knobs.conditional else 0 for each in categories()}
    return Traits(
        topics=tuple(random.sample(topics(), knobs.interests)),
        kinds=tuple(random.sample(tuple(film_kinds()), knobs.interests)),
        categories=tuple(random.sample(categories(), knobs.interests)),
        fields=tuple(random.sample(fields(), knobs.interests)),
        habits=draw_habits(random),
        methods=by(fields(), "methods"),
        tags=_tags(random, knobs),
        severity={each: mood + swing[each] for each in categories()},
        rubrics=by(topics(), "rubrics"),
        closing=one("closings"),
        genres=by(fields(), "genres"),
        opening=one("openings"),
        codes=by(topics(), "codes"),
        urgency=one("urgencies"),
        greeting=one("greetings"),
        sign_offs=by(topics(), "sign_offs"),
    )


def _tags(random: Random, knobs: Knobs) -> dict[str, str]:
    if not knobs.conditional and random.random() < 0.7:
        value = random.choice(sorted({tag for tags in film_kinds().values() for tag in tags}))
        return dict.fromkeys(film_kinds(), value)
    return {
        kind: tags[0] if random.random() < knobs.usual else random.choice(tags[1:])
        for kind, tags in film_kinds().items()
    }
