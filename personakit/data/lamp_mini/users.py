"""Generates one user's profile and one query for a task."""

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
from personakit.data.lamp_mini.words import Split, phrases

TASKS = LAMP_TASKS
_SOURCE_PART = {"LaMP_2": "description", "LaMP_5": "abstract"}


@dataclass(frozen=True, slots=True)
class GeneratedExample:
    """A query as LaMP stores it, with information that only the generator has.

    `oracle` is the answer that follows from the user's traits; `gold` is the same with label noise; `generic`
    is the answer without personalisation (None for LaMP-1).
    """

    input: str
    profile: list[dict[str, str]]
    gold: str
    oracle: str
    generic: str | None
    content: Content


def make_example(task: str, random: Random, traits: Traits, split: Split, knobs: Knobs) -> GeneratedExample:
    """Draw a profile of the user with `traits`, and a query about one of its subjects."""
    subjects = traits.subjects(task)
    query_subject = random.choice(subjects)
    count = random.randint(*knobs.history)
    # At least two items share the query's subject; the others have any of the user's subjects.
    item_subjects = [query_subject, query_subject, *(random.choice(subjects) for _ in range(count - 2))]
    random.shuffle(item_subjects)
    profile: list[dict[str, str]] = []
    for number, subject in enumerate(item_subjects):
        by_other_user = random.random() < knobs.noise
        writer = draw_traits(random, split, knobs) if by_other_user else traits
        profile.append({"id": str(number), **item_fields(draw_content(random, task, subject), writer)})
    content = draw_content(random, task, query_subject)
    if task == "LaMP_1":
        return _citation(random, traits, split, knobs, content, profile)
    oracle = personal(content, traits)
    gold = oracle
    if task == "LaMP_3":
        if random.random() < knobs.rating_noise:
            gold = str(min(5, max(1, int(oracle) + random.choice((-1, 1)))))
    elif random.random() < knobs.gold_noise:
        gold = personal(content, draw_traits(random, split, knobs))
    text = build_input(task, **{_SOURCE_PART.get(task, "text"): source(content)})
    return GeneratedExample(text, profile, gold, oracle, generic(content), content)


def _citation(
    random: Random,
    traits: Traits,
    split: Split,
    knobs: Knobs,
    content: Content,
    profile: list[dict[str, str]],
) -> GeneratedExample:
    """Build a LaMP-1 query: two references on one field, one with the user's method for that field.

    In 60 % of the queries, the other reference has a method that the user prefers in *another* field, so that
    searching the profile for the method's name is not enough.
    """
    own_method = traits.methods[content.subject]
    other_fields_methods = sorted({traits.methods[field] for field in traits.fields} - {own_method})
    all_other_methods = [method for method in phrases("methods", split) if method != own_method]
    other_method = (
        random.choice(other_fields_methods)
        if other_fields_methods and random.random() < 0.6
        else random.choice(all_other_methods)
    )
    right = reference(random, content, own_method)
    wrong = reference(random, content, other_method)
    oracle = random.choice(("[1]", "[2]"))
    gold = oracle
    if random.random() < knobs.gold_noise:
        gold = "[2]" if oracle == "[1]" else "[1]"
    first, second = (right, wrong) if oracle == "[1]" else (wrong, right)
    text = build_input("LaMP_1", title=source(content), ref1=first, ref2=second)
    return GeneratedExample(text, profile, gold, oracle, None, content)
