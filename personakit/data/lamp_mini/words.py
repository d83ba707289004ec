"""The words lamp-mini is written in.

*Content* words (what a text is about) are shared by the benchmark and by nano's pretraining world.
*Style* words (how a user writes) come in two banks that share no word: nano learns to read profiles
in bank "school", the benchmark's users live in bank "town", so reading a profile there is reading
traits nano has never seen.
"""

from __future__ import annotations

from typing import Final, Literal

Bank = Literal["school", "town"]

# Six nouns a topic, two of them in a text: two texts on one topic share a noun six times in ten, so
# word overlap finds what a query is about often, not always.
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

# Four words for each level of praise, from 1 to 5.
PRAISE: Final[tuple[tuple[str, ...], ...]] = (
    tuple("awful dreadful useless terrible".split()),
    tuple("poor weak flawed dull".split()),
    tuple("okay average passable ordinary".split()),
    tuple("good solid pleasant handy".split()),
    tuple("superb excellent wonderful perfect".split()),
)

# A kind of film: six words that show it, and the tags people give it. The first is what most people
# say, so it is the generic answer.
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
    "school": tuple(
        "amber arrow badge barrel beacon blanket bottle bridge bronze button camel candle canvas "
        "cedar cherry clover copper coral cotton crystal dagger diamond dolphin donkey echo falcon "
        "feather fiddle forest fossil ginger glacier granite hammer helmet honey ivory jacket jasmine "
        "kettle".split()
    ),
    "town": tuple(
        "nectar needle nickel olive onyx otter paddle panther parcel parrot pebble pepper pigeon "
        "pillow pocket pollen poplar puddle pumpkin puzzle quartz quill rabbit raven ribbon river "
        "rocket ruby saffron salmon scarf shadow silk silver sparrow spruce thistle timber velvet "
        "willow".split()
    ),
}

_METHODS: Final[dict[Bank, tuple[str, ...]]] = {
    "school": tuple("acoustic cellular digital ethical formal genetic harmonic kinetic".split()),
    "town": tuple("bayesian chaotic fractal linear neural optical spectral thermal".split()),
}


def style_words(bank: Bank) -> tuple[str, ...]:
    """The words users of `bank` build their phrases from."""
    return _STYLE[bank]


def methods(bank: Bank) -> tuple[str, ...]:
    """The schools of method (LaMP-1) users of `bank` belong to."""
    return _METHODS[bank]


def content_words() -> tuple[str, ...]:
    """Names, places, verbs and nouns: what texts are about, apart from films and praise."""
    return (*NAMES, *PLACES, *VERBS, *(noun for nouns in TOPICS.values() for noun in nouns))


def every_word() -> list[str]:
    """All words of both banks and all contents, sorted."""
    words = {*content_words(), *DAYS, *ADJECTIVES}
    for group in (*PRAISE, *(shown for shown, _ in FILM_KINDS.values())):
        words.update(group)
    for bank in _STYLE:
        words.update(_STYLE[bank], _METHODS[bank])
    return sorted(words)
