"""What is compared: a Personalizer under a label, with the history it is given, and another user's drawn.

The wrong-user control (docs/methods.md) answers each query with the history of somebody
else: the same task, another user, a history that is not empty, and other traits where traits are known.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from personakit.contracts import Personalizer
from personakit.errors import UserError
from personakit.records import Example, Profile

#: Others looked at before the best so far is taken: the draw stays linear in the examples.
LOOKS = 200
#: A history, and other in every trait.
BEST_RANK = 5

#: Whose history a candidate is given: the user's, nobody's, or somebody else's.
Profiles = Literal["own", "empty", "other"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One pass over the examples: a label, a Personalizer and the histories it gets.

    `open` makes the Personalizer ready when the pass begins: all at once might not fit into memory.
    Candidates with one `method` and different `seed`s are the same row trained several times. `seed`
    is None for what is not trained; `run` names the run's directory it came from. `items` cuts the
    history to its newest so many items (None: all of it).
    """

    method: str
    open: Callable[[], Personalizer]
    profiles: Profiles = "own"
    seed: int | None = None
    run: str | None = None
    items: int | None = None


@runtime_checkable
class KnowsTraits(Protocol):
    """Examples of a benchmark whose users' hidden traits are known, as `ExampleStore` may."""

    def traits(self, query_id: str) -> Mapping[str, Any] | None:
        """Return the record of a query, whose "traits" are those that matter to its task, or None."""
        ...


def profile_for(candidate: Candidate, example: Example, other: Example | None) -> Profile:
    """Return the history `candidate` is given for `example`, `other` being the one drawn for it.

    What another user made of the very text that is asked about stays out, as it does of the user's own
    history (people are often given the same originals to rewrite): it would all but give the answer.
    """
    if candidate.profiles == "own":
        items = example.profile.items
        if candidate.items is None or candidate.items >= len(items):
            return example.profile
        return Profile(example.profile.user_id, items[len(items) - candidate.items :])
    if candidate.profiles == "empty":
        return Profile(example.query.user_id, ())
    if other is None:
        raise ValueError("a wrong-user candidate needs the other user's example")
    asked = _plain(example.query.search_text)
    items = tuple(item for item in other.profile.items if _plain(item.document) != asked)
    return Profile(other.profile.user_id, items)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def other_user_examples(
    examples: Sequence[Example],
    *,
    seed: int = 0,
) -> list[int]:
    """Return for each example the index of another user's example, whose history stands in for its own.

    The best kind of user among the first `LOOKS` drawn is taken: with a
    history, and other in every trait, else in any, else anyone. Over the same examples a draw depends
    on `seed` and the query's id alone. Raises `UserError` where there is only one user.
    """
    traits = examples.traits if isinstance(examples, KnowsTraits) else None
    known = [_Known.of(example, traits) for example in examples]
    users = {one.user_id for one in known}
    if len(users) < 2:
        raise UserError(
            f"a wrong-user control needs at least 2 users, found {len(users)} in {len(known)} examples",
            hint="raise --limit, or leave the wrong-user control out",
        )
    chosen = []
    for mine, example in zip(known, examples, strict=True):
        strangers = (
            index
            for index in _shuffled(len(known), f"{seed}:{example.query.task}:{example.query.id}")
            if known[index].user_id != mine.user_id
        )
        best, best_rank = -1, -1
        for index in itertools.islice(strangers, LOOKS):
            rank = _rank(mine, known[index])
            if rank > best_rank:
                best, best_rank = index, rank
            if rank == BEST_RANK:
                break
        chosen.append(best)
    return chosen


@dataclass(frozen=True, slots=True)
class _Known:
    """What the draw looks at in an example."""

    user_id: str
    filled: bool
    traits: Mapping[str, Any]

    @classmethod
    def of(cls, example: Example, traits: Callable[[str], Mapping[str, Any] | None] | None) -> _Known:
        record = (traits(example.query.id) if traits else None) or {}
        return cls(example.query.user_id, bool(example.profile.items), dict(_flat(record.get("traits", {}))))


def _flat(traits: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield traits bound to a topic ({"severity": {"travel": 1}}) as one trait a topic."""
    for name, value in traits.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def _rank(mine: _Known, theirs: _Known) -> int:
    """A history first; then 2: other in every trait (or none known), 1: in some, 0: the same."""
    shared = mine.traits.keys() & theirs.traits.keys()
    different = sum(mine.traits[key] != theirs.traits[key] for key in shared)
    return 3 * theirs.filled + (2 if different == len(shared) else int(different > 0))


def _shuffled(size: int, key: str) -> Iterator[int]:
    """Yield 0..size-1 in a random order, lazily: usually the first few are enough (Fisher-Yates)."""
    generator = random.Random(key)
    moved: dict[int, int] = {}
    for place in range(size):
        pick = generator.randrange(place, size)
        yield moved.get(pick, pick)
        moved[pick] = moved.get(place, place)
