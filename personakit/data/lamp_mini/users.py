"""One user's history and one query of theirs, for a task: the heart of lamp-mini."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from personakit.data.lamp_formats import LAMP_TASKS, build_input
from personakit.data.lamp_mini.texts import (
    Content,
    draw_content,
    generic,
    item_fields,
    personal,
    reference,
    source,
)
from personakit.data.lamp_mini.traits import Knobs, Traits, draw_traits
from personakit.data.lamp_mini.words import Bank, methods

TASKS = LAMP_TASKS
_SOURCE_PART = {"LaMP_2": "description", "LaMP_5": "abstract"}


@dataclass(frozen=True, slots=True)
class MadeExample:
    """A query as LaMP stores it, with what only the maker knows.

    `oracle` is the answer that the user's traits give; `gold` is the same but for the noise;
    `generic` is what anyone would say (LaMP-1: None, it is a coin).
    """

    input: str
    profile: list[dict[str, str]]
    gold: str
    oracle: str
    generic: str | None
    content: Content


def make_example(task: str, random: Random, traits: Traits, bank: Bank, knobs: Knobs) -> MadeExample:
    """Draw a history of the user with `traits`, and a query about one of its topics."""
    topics = traits.kinds if task == "LaMP_2" else traits.topics
    about = random.choice(topics)
    count = random.randint(*knobs.history)
    # Two items at least are about what the query is about; the rest is about anything the user likes.
    subjects = [about, about, *(random.choice(topics) for _ in range(count - 2))]
    random.shuffle(subjects)
    profile: list[dict[str, str]] = []
    for number, subject in enumerate(subjects):
        stranger = random.random() < knobs.noise
        writer = draw_traits(random, bank, knobs) if stranger else traits
        fields = item_fields(task, _content(random, task, subject, traits), writer)
        profile.append({"id": str(number), **fields})
    content = _content(random, task, about, traits)
    if task == "LaMP_1":
        return _citation(random, traits, bank, knobs, content, profile)
    oracle = personal(task, content, traits)
    gold = oracle
    if task == "LaMP_3":
        if random.random() < knobs.rating_noise:
            gold = str(min(5, max(1, int(oracle) + random.choice((-1, 1)))))
    elif random.random() < knobs.gold_noise:
        gold = personal(task, content, draw_traits(random, bank, knobs))
    return MadeExample(
        build_input(task, **{_SOURCE_PART.get(task, "text"): source(task, content)}),
        profile,
        gold,
        oracle,
        generic(task, content),
        content,
    )


def _content(random: Random, task: str, subject: str, traits: Traits) -> Content:
    if task == "LaMP_2":
        return draw_content(random, topic=random.choice(traits.topics), kind=subject)
    return draw_content(random, topic=subject, kind=random.choice(traits.kinds))


def _citation(
    random: Random,
    traits: Traits,
    bank: Bank,
    knobs: Knobs,
    content: Content,
    profile: list[dict[str, str]],
) -> MadeExample:
    """LaMP-1: two references on one topic, of which one is of the user's school there.

    The other one is often of a school the user belongs to on *another* topic, so that it does not do
    to look for a school's name anywhere in the history.
    """
    own = traits.methods[content.topic]
    elsewhere = sorted({traits.methods[topic] for topic in traits.topics} - {own})
    anywhere = [method for method in methods(bank) if method != own]
    other = random.choice(elsewhere) if elsewhere and random.random() < 0.6 else random.choice(anywhere)
    right = reference(random, content, own)
    wrong = reference(random, content, other)
    oracle = random.choice(("[1]", "[2]"))
    gold = oracle
    if random.random() < knobs.gold_noise:
        gold = "[2]" if oracle == "[1]" else "[1]"
    first, second = (right, wrong) if oracle == "[1]" else (wrong, right)
    text = build_input("LaMP_1", title=source("LaMP_1", content), ref1=first, ref2=second)
    return MadeExample(text, profile, gold, oracle, None, content)
