"""Training data of the built-in rewriter: LaMP-7 examples whose profile is one writer's posts."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from personakit.data.lamp_formats import build_input, profile_item
from personakit.recipes.voice.drafts import draw_draft
from personakit.recipes.voice.writers import (
    HABITS,
    NEUTRAL,
    Writer,
    draw_writer,
    own_habits,
    without,
    write,
)
from personakit.records import Example, Profile, Query

TASK = "LaMP_7"
#: Posts that the rewriter sees: the newest.
SHOWN = 6
_POSTS = (*range(1, 17),)
_POST_WEIGHTS = (2, 7, 17, 18, 16, 13, 5, 4, 2, 2, 2, 2, 1, 1, 1, 2)
_LACKING_SHARE = 0.1
"""Share of posts that lack one of their writer's habits."""
_STYLED_DRAFT_SHARE = 0.06
"""Share of drafts that have one of the writer's habits already."""


def examples(count: int, seed: int) -> Iterator[Example]:
    """Yield examples: a neutral text, posts of a writer, and the text as the writer would write it.

    The answer has those habits only that the shown posts show.
    """
    random = Random(seed)
    for number in range(count):
        writer = draw_writer(random)
        addressed = 0.7 if writer.greeting else None
        posts, styles = [], []
        for _ in range(random.choices(_POSTS, _POST_WEIGHTS)[0]):
            style = _lacking_one(writer, random) if random.random() < _LACKING_SHARE else writer
            posts.append(draw_draft(random, addressed))
            styles.append(style)
        shown = list(zip(posts, styles, strict=True))[-SHOWN:]
        habits = [
            habit
            for habit in own_habits(writer)
            if any(write(post, each) != write(post, without(each, habit)) for post, each in shown)
        ]
        seen = without(writer, *(habit for habit in HABITS if habit not in habits))
        draft = draw_draft(random, addressed)
        given = NEUTRAL
        if habits and random.random() < _STYLED_DRAFT_SHARE:
            kept = random.choice(habits)
            given = without(seen, *(habit for habit in HABITS if habit != kept))
        text = write(draft, given).strip()
        query = Query(
            id=str(number),
            task=TASK,
            text=build_input(TASK, text=text),
            search_text=text,
            user_id=f"writer-{number}",
            gold=write(draft, seen).strip(),
        )
        items = tuple(
            profile_item(TASK, str(place), {"text": write(post, each)})
            for place, (post, each) in enumerate(zip(posts, styles, strict=True), start=1)
        )
        yield Example(query, Profile(query.user_id, items))


def _lacking_one(writer: Writer, random: Random) -> Writer:
    own = own_habits(writer)
    return without(writer, random.choice(own)) if own else writer
