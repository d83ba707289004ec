"""The vocabulary of lamp-mini.

*Content* words (what a text is about) are shared by the benchmark and nano's training data. *Style* words
(how a user writes) come in two disjoint banks: nano learns to read profiles with bank "pretraining", and the
benchmark's users have bank "benchmark", so their traits are new to nano.
"""

from __future__ import annotations

from typing import Final, Literal

Bank = Literal["pretraining", "benchmark"]

# Six nouns per topic, two of them per text: two texts on one topic share a noun in 60 % of cases, so word
# overlap finds the relevant items often, but not always.
TOPICS: Final[dict[str, tuple[str, ...]]] = {
    "sky": ("comet", "orbit", "telescope", "planet", "eclipse", "nebula"),
    "garden": ("orchard", "tulip", "compost", "hedge", "seedling", "greenhouse"),
    "kitchen": ("oven", "recipe", "dough", "spice", "saucepan", "bakery"),
    "sea": ("harbor", "sail", "anchor", "lighthouse", "tide", "ferry"),
    "music": ("violin", "choir", "melody", "concert", "drum", "orchestra"),
    "machines": ("robot", "engine", "sensor", "battery", "circuit", "turbine"),
    "sport": ("stadium", "marathon", "goalkeeper", "racket", "coach", "league"),
    "money": ("budget", "market", "loan", "tax", "invoice", "pension"),
}

NAMES: Final = tuple("alice bruno carla david elena felix greta hassan irene jonas karin louis".split())
PLACES: Final = tuple("lisbon oslo cairo lima kyoto perth dublin quebec nairobi prague seoul boston".split())
DAYS: Final = tuple("monday tuesday wednesday thursday friday saturday sunday".split())
VERBS: Final = tuple("opens repairs sells visits studies closes paints tests".split())
ADJECTIVES: Final = tuple("small old bright quiet narrow heavy rapid simple".split())

# Four words for each rating, from 1 to 5.
PRAISE: Final[tuple[tuple[str, ...], ...]] = (
    tuple("awful dreadful useless terrible".split()),
    tuple("poor weak flawed dull".split()),
    tuple("okay average passable ordinary".split()),
    tuple("good solid pleasant handy".split()),
    tuple("superb excellent wonderful perfect".split()),
)

# Kinds of film: six words that indicate it, and its possible tags. The first tag is the usual one, which is
# the generic answer.
FILM_KINDS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "space": (
        ("starship", "galaxy", "android", "cosmos", "alien", "wormhole"),
        ("sci-fi", "dystopia", "thought-provoking"),
    ),
    "novel": (
        ("chapter", "author", "library", "novelist", "heirloom", "saga"),
        ("based on a book", "classic", "psychology"),
    ),
    "secret": (
        ("alibi", "detective", "disguise", "clue", "witness", "riddle"),
        ("twist ending", "psychology", "classic"),
    ),
    "regime": (
        ("curfew", "rebel", "ministry", "informer", "barricade", "slogan"),
        ("dystopia", "social commentary", "sci-fi"),
    ),
    "quest": (
        ("dragon", "wizard", "sword", "prophecy", "griffin", "kingdom"),
        ("fantasy", "action", "based on a book"),
    ),
    "love": (
        ("letter", "balcony", "dancer", "honeymoon", "sweetheart", "sonnet"),
        ("romance", "comedy", "true story"),
    ),
    "court": (
        ("verdict", "protest", "union", "lawyer", "strike", "petition"),
        ("social commentary", "true story", "thought-provoking"),
    ),
    "war": (
        ("trench", "soldier", "bunker", "general", "armistice", "medal"),
        ("true story", "violence", "action"),
    ),
}

_STYLE: Final[dict[Bank, tuple[str, ...]]] = {
    "pretraining": tuple(
        "amber arrow badge barrel beacon blanket bottle bridge bronze button camel candle canvas "
        "cedar cherry clover copper coral cotton crystal dagger diamond dolphin donkey echo falcon "
        "feather fiddle forest fossil ginger glacier granite hammer helmet honey ivory jacket jasmine "
        "kettle".split()
    ),
    "benchmark": tuple(
        "nectar needle nickel olive onyx otter paddle panther parcel parrot pebble pepper pigeon "
        "pillow pocket pollen poplar puddle pumpkin puzzle quartz quill rabbit raven ribbon river "
        "rocket ruby saffron salmon scarf shadow silk silver sparrow spruce thistle timber velvet "
        "willow".split()
    ),
}

_METHODS: Final[dict[Bank, tuple[str, ...]]] = {
    "pretraining": tuple("acoustic cellular digital ethical formal genetic harmonic kinetic".split()),
    "benchmark": tuple("bayesian chaotic fractal linear neural optical spectral thermal".split()),
}


def style_words(bank: Bank) -> tuple[str, ...]:
    """Return the words from which users of `bank` build their phrases."""
    return _STYLE[bank]


def methods(bank: Bank) -> tuple[str, ...]:
    """Return the methods (LaMP-1) of the authors of `bank`."""
    return _METHODS[bank]


def content_words() -> tuple[str, ...]:
    """Return names, places, verbs and nouns, without the words for films and praise."""
    return (*NAMES, *PLACES, *VERBS, *(noun for nouns in TOPICS.values() for noun in nouns))


def vocabulary() -> list[str]:
    """Return all words of both banks and all contents, sorted."""
    words = {*content_words(), *DAYS, *ADJECTIVES}
    for group in (*PRAISE, *(shown for shown, _ in FILM_KINDS.values())):
        words.update(group)
    for bank in _STYLE:
        words.update(_STYLE[bank], _METHODS[bank])
    return sorted(words)
