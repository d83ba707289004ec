"""One row of an evaluation: a Personalizer under a label and the histories it gets; draws wrong users.

The wrong-user control (docs/methods.md) answers each query with another user's history: the same task, not
empty, and from a user with different traits where traits are known.
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

#: Users drawn at most before the best of them is taken: the draw stays linear in the number of examples.
MAX_DRAWS = 200
#: Rank of a user with a history who differs in every known trait.
BEST_RANK = 5

#: Whose history a candidate gets: the user's own, an empty one, or another user's.
Profiles = Literal["own", "empty", "other"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One pass over the examples: a label, a Personalizer and the histories it gets.

    `open` loads the Personalizer when the pass begins: all at once might not fit into memory. Candidates
    with one `method` and different `seed`s are one row trained several times; `seed` is None for an
    untrained one. `run` is the folder of the run it came from. `items` keeps the newest items of the
    history only (None: all).
    """

    method: str
    open: Callable[[], Personalizer]
    profiles: Profiles = "own"
    seed: int | None = None
    run: str | None = None
    items: int | None = None


@runtime_checkable
class KnowsTraits(Protocol):
    """Examples of a benchmark whose users' hidden traits are known, such as an `ExampleStore`."""

    def traits(self, query_id: str) -> Mapping[str, Any] | None:
        """Return the record of a query, whose "traits" are those that matter to its task, or None."""
        ...


class ExamplesWithTraits(list[Example]):
    """Examples whose users' traits are known, by query id."""

    def __init__(self, examples: Sequence[Example], traits: Mapping[str, Mapping[str, Any]]) -> None:
        super().__init__(examples)
        self._traits = traits

    def of(self, examples: Sequence[Example]) -> ExamplesWithTraits:
        """Return some of the examples."""
        return ExamplesWithTraits(examples, self._traits)

    def traits(self, query_id: str) -> Mapping[str, Any] | None:
        """Return {"traits": ...} of a query, or None."""
        traits = self._traits.get(query_id)
        return None if traits is None else {"traits": traits}


def profile_for(candidate: Candidate, example: Example, other: Example | None) -> Profile:
    """Return the history that `candidate` gets for `example`; `other` is the example of the wrong user.

    Items of the other user about the same text as the query are left out, as they are from the user's own
    history: people are often given the same originals to rewrite, and such an item nearly is the answer.
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
    query = _plain(example.query.search_text)
    items = tuple(item for item in other.profile.items if _plain(item.document) != query)
    return Profile(other.profile.user_id, items)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def other_user_examples(
    examples: Sequence[Example],
    *,
    seed: int = 0,
) -> list[int]:
    """Return for each example the index of the example whose history the wrong-user control uses.

    The best of the first `MAX_DRAWS` users drawn: one with a history who differs in every trait, else in
    some, else anyone. For the same examples the draw depends on `seed` and the query's id only. Raises
    `UserError` where there is only one user.
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
        for index in itertools.islice(strangers, MAX_DRAWS):
            rank = _rank(mine, known[index])
            if rank > best_rank:
                best, best_rank = index, rank
            if rank == BEST_RANK:
                break
        chosen.append(best)
    return chosen


@dataclass(frozen=True, slots=True)
class _Known:
    """What the draw reads of an example."""

    user_id: str
    filled: bool
    traits: Mapping[str, Any]

    @classmethod
    def of(cls, example: Example, traits: Callable[[str], Mapping[str, Any] | None] | None) -> _Known:
        record = (traits(example.query.id) if traits else None) or {}
        return cls(example.query.user_id, bool(example.profile.items), dict(_flat(record.get("traits", {}))))


def _flat(traits: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield traits that depend on a topic ({"severity": {"travel": 1}}) as one trait per topic."""
    for name, value in traits.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def _rank(mine: _Known, theirs: _Known) -> int:
    """3 for a history, plus 2 for a difference in every trait (or none known), 1 in some, 0 in none."""
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
