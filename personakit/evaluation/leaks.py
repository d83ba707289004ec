"""Finds leaks before an evaluation: queries whose score would be too high.

    answer_in_profile    the gold answer (a near-duplicate) is in the user's own history (free text)
    query_in_profile     the query's text is an item of the user's history, together with its answer
    user_in_training     the user is in the training split too
    trained_on           a run was trained on the query (`training_digests`)

`data/near_duplicates.py` defines near-duplicates. Answers of fewer than three words occur in a history by
chance ("Re: lunch") and are no leaks. The first two kinds do not apply to LaMP_1: its answer is a number, and
authors citing themselves is part of the task. In LaMP's time-based split users are in training by design, so
the third kind does not apply.

For preferences, the query is a held-out pair and the history is the user's signals. Instructions have no
history: prompts that contain the answer are excluded (`data.instructions.leaking_prompts`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from personakit.data.lamp_formats import task_format
from personakit.data.near_duplicates import NearDuplicateOf
from personakit.data.user_groups import profiles_of_shared_users
from personakit.records import Example, ProfileItem
from personakit.training.training_digests import store_digests, training_digest

if TYPE_CHECKING:
    from personakit.data.store import ExampleStore

ANSWER, QUERY, USER, TRAINED = "answer_in_profile", "query_in_profile", "user_in_training", "trained_on"
#: The kinds of leaks, with descriptions.
KINDS = {
    ANSWER: "queries whose gold answer, or a near-duplicate, is in the user's own history",
    QUERY: "queries whose own text is an item of the user's history",
    USER: "queries of users who are in the training split too",
    TRAINED: "queries that a run was trained on",
}
#: Shorter answers occur in a history by chance.
MIN_WORDS = 3
#: Maximum leaks of each kind that results list.
MAX_LISTED = 20


@dataclass(frozen=True, slots=True)
class Leak:
    """A leaking query: the kind of leak, and where it is (an item's id, a run)."""

    kind: str
    task: str
    query_id: str
    user_id: str
    where: str


class QueryDigest(NamedTuple):
    """A query with the digest that a run trained on it would have recorded."""

    query_id: str
    user_id: str
    digest: str


KeysOf = Callable[[ProfileItem], tuple[str | None, Sequence[str]]]
"""Maps an item to the name of its query field (None: it has none) and those of its answer fields."""


def find_leaks(
    examples: Mapping[str, ExampleStore],
    training: Mapping[str, ExampleStore],
    trained_on: Mapping[str, frozenset[str]],
) -> list[Leak]:
    """Return every leak in `examples`; like the `training` splits, they are keyed by task.

    `trained_on` maps a run's name to the digests of its training examples. A query may have several leaks.
    """
    leaks: list[Leak] = []
    for task, store in examples.items():
        leaks += _in_profiles(store)
        if task in training and training[task].split != store.split:
            leaks += _users_in_training(store, training[task])
        if trained_on:
            leaks += training_leaks(task, _query_digests(store), trained_on)
    return leaks


def find_pair_leaks(
    task: str,
    pairs: Sequence[Example],
    rejected: Sequence[str],
    training_users: Collection[str],
    trained_on: Mapping[str, frozenset[str]],
) -> list[Leak]:
    """Return every leak in held-out pairs: the gold is the preferred answer, `rejected` has the other one.

    Profiles are the users' signals (`preferences.profiles`); `trained_on` is as in `find_leaks`.
    """
    leaks: list[Leak] = []
    for example, other in zip(pairs, rejected, strict=True):
        query = example.query
        leaks += _in_profile(example, task, (query.gold or "", other), _of_signal)
        if query.user_id in training_users:
            leaks.append(Leak(USER, task, query.id, query.user_id, "train split"))
    digests = (
        QueryDigest(one.id, one.user_id, training_digest(one.search_text, one.gold or "", one.user_id))
        for one in (example.query for example in pairs)
    )
    return [*leaks, *training_leaks(task, digests, trained_on)]


def training_leaks(
    task: str, queries: Iterable[QueryDigest], trained_on: Mapping[str, frozenset[str]]
) -> Iterator[Leak]:
    """Yield a leak for each pair of a query and a run that was trained on it."""
    for query_id, user_id, digest in queries:
        for run, digests in trained_on.items():
            if digest in digests:
                yield Leak(TRAINED, task, query_id, user_id, run)


def _query_digests(store: ExampleStore) -> Iterator[QueryDigest]:
    """Yield the query digests of a split of a LaMP task."""
    return map(QueryDigest, store.query_ids, store.user_ids, store_digests(store))


def _users_in_training(store: ExampleStore, training: ExampleStore) -> Iterator[Leak]:
    """Yield a leak for each query whose user is in the training split too."""
    if store.has_derived_user_ids or training.has_derived_user_ids:
        places = profiles_of_shared_users(store.item_digests(), training.item_digests())
        shared = {store.user_ids[place] for place in places}
    elif store.dated:
        return
    else:
        shared = set(store.user_ids) & set(training.user_ids)
    for query_id, user_id in zip(store.query_ids, store.user_ids, strict=True):
        if user_id in shared:
            yield Leak(USER, store.task, query_id, user_id, f"{training.split} split")


def leaks_document(leaks: Sequence[Leak], unknown: Sequence[str] = ()) -> dict[str, Any]:
    """Return the entry of `results.json`: counts by kind, the first leaks of each kind, and unknown runs.

    `unknown` names runs that have not recorded their training examples.
    """
    counts = Counter(leak.kind for leak in leaks)
    by_kind = [[leak for leak in leaks if leak.kind == kind][:MAX_LISTED] for kind in KINDS]
    listed = [asdict(leak) for some in by_kind for leak in some]
    return {"counts": {kind: counts[kind] for kind in KINDS}, "listed": listed, "unknown": list(unknown)}


def leak_sentences(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each kind of leak found, with the first queries."""
    for kind, count in document["counts"].items():
        if count:
            named = [f"{one['task']} {one['query_id']}" for one in document["listed"] if one["kind"] == kind]
            more = ", ..." if count > 3 else ""
            yield f"leak: {count} {KINDS[kind]} ({', '.join(named[:3])}{more})."
    for run in document["unknown"]:
        yield f"unknown whether {run} was trained on these queries: it has no record of its training."


def _in_profiles(store: ExampleStore) -> Iterator[Leak]:
    if task_format(store.task).search_parts == ("ref1", "ref2"):
        return
    form = task_format(store.task)
    query_key = form.input_key or form.output_key
    for example in store:
        answers = () if form.labels else (example.query.gold or "",)
        yield from _in_profile(example, store.task, answers, lambda item: (query_key, (form.output_key,)))


def _of_signal(item: ProfileItem) -> tuple[str | None, Sequence[str]]:
    """Return the prompt and answer fields of a pair; for other items, all fields as answers."""
    query = "prompt" if "rejected" in item.fields else None
    return query, [key for key in item.fields if key != query]


def _in_profile(example: Example, task: str, answers: Iterable[str], keys_of: KeysOf) -> Iterator[Leak]:
    query = example.query
    text = NearDuplicateOf(query.search_text)
    golds = [gold for gold in map(NearDuplicateOf, answers) if gold.words >= MIN_WORDS]
    answer = repeated = ""
    for item in example.profile.items:
        query_key, answer_keys = keys_of(item)
        if not answer and any(_contains(item.fields, answer_keys, gold) for gold in golds):
            answer = item.id
        if not repeated and text.words and query_key is not None and text.matches(item.fields[query_key]):
            repeated = item.id
    for kind, item_id in ((ANSWER, answer), (QUERY, repeated)):
        if item_id:
            yield Leak(kind, task, query.id, query.user_id, f"item {item_id}")


def _contains(fields: Mapping[str, str], own: Iterable[str], gold: NearDuplicateOf) -> bool:
    """Return True if a field contains the answer, or one of the `own` fields is a near-duplicate of it."""
    return any(map(gold.stands_in, fields.values())) or any(gold.matches(fields[key]) for key in own)
