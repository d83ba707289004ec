"""What would make a score too good to be true, looked for before there is one.

    answer_in_profile    the gold answer, or nearly, stands in the user's own history (free text)
    query_in_profile     the very text that is asked about is an item of the user's history, answer and all
    user_in_training     the user is in the training split too
    trained_on           the query is among those that a run was trained on (`training_digests`)

`data/near_duplicates.py` defines what is nearly the same. Answers of fewer than three words turn up in a
history by chance ("Re: lunch") and are no leak alone. LaMP_1 has neither of the first two: its answer is a
number, and citing oneself is what the task is about. In LaMP's time-based split users are in training by
design (their later records are asked about), so nobody is counted there.

A held-out pair is a query with two answers, its user's signals are the history. Of an instruction there is no
history: prompts that would give its answer away are excluded (`data.instructions.leaking_prompts`).
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
from personakit.training.training_digests import seen_digest, store_digests

if TYPE_CHECKING:
    from personakit.data.store import ExampleStore

ANSWER, QUERY, USER, TRAINED = "answer_in_profile", "query_in_profile", "user_in_training", "trained_on"
#: The kinds of leaks, and what to call them.
KINDS = {
    ANSWER: "queries whose gold answer, or nearly, stands in the user's own history",
    QUERY: "queries whose own text is an item of the user's history",
    USER: "queries of users who are in the training split too",
    TRAINED: "queries that a run was trained on",
}
#: Shorter answers stand in a history by chance.
MIN_WORDS = 3
#: Leaks of each kind that a results document names.
LISTED = 20


@dataclass(frozen=True, slots=True)
class Leak:
    """One query that should not be scored: what is wrong with it, and where (an item's id, a run)."""

    kind: str
    task: str
    query_id: str
    user_id: str
    where: str


class QueryDigest(NamedTuple):
    """What is asked, by the digest of what training would have learnt of it."""

    query_id: str
    user_id: str
    digest: str


KeysOf = Callable[[ProfileItem], tuple[str | None, Sequence[str]]]
"""From an item to the field that holds what was asked there (None: nothing was), and those of its answers."""


def find_leaks(
    examples: Mapping[str, ExampleStore],
    training: Mapping[str, ExampleStore],
    trained_on: Mapping[str, frozenset[str]],
) -> list[Leak]:
    """Return every leak in `examples`, which are keyed by task as their `training` splits are.

    `trained_on` maps a run's name to what it has seen. A query may leak in several ways.
    """
    leaks: list[Leak] = []
    for task, store in examples.items():
        leaks += _in_profiles(store)
        if task in training and training[task].split != store.split:
            leaks += _users_in_training(store, training[task])
        if trained_on:
            leaks += seen_in_training(task, _store_asked(store), trained_on)
    return leaks


def find_pair_leaks(
    task: str,
    pairs: Sequence[Example],
    rejected: Sequence[str],
    training_users: Collection[str],
    trained_on: Mapping[str, frozenset[str]],
) -> list[Leak]:
    """Return every leak in held-out pairs: the gold is the preferred answer, `rejected` has the other.

    Their profiles are the users' signals (`preferences.profiles`); `trained_on` as in `find_leaks`.
    """
    leaks: list[Leak] = []
    for example, other in zip(pairs, rejected, strict=True):
        query = example.query
        leaks += _in_profile(example, task, (query.gold or "", other), _of_signal)
        if query.user_id in training_users:
            leaks.append(Leak(USER, task, query.id, query.user_id, "train split"))
    asked = (
        QueryDigest(one.id, one.user_id, seen_digest(one.search_text, one.gold or "", one.user_id))
        for one in (example.query for example in pairs)
    )
    return [*leaks, *seen_in_training(task, asked, trained_on)]


def seen_in_training(
    task: str, asked: Iterable[QueryDigest], trained_on: Mapping[str, frozenset[str]]
) -> Iterator[Leak]:
    """Yield a leak for each query and run that was trained on it."""
    for query_id, user_id, digest in asked:
        for run, seen in trained_on.items():
            if digest in seen:
                yield Leak(TRAINED, task, query_id, user_id, run)


def _store_asked(store: ExampleStore) -> Iterator[QueryDigest]:
    """Yield what is asked in a split of a LaMP task."""
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
    """Return what a results document says of leaks: counts by kind, the first of each, and what is unknown.

    `unknown` names runs that have not written down what they were trained on.
    """
    counts = Counter(leak.kind for leak in leaks)
    listed = [asdict(leak) for kind in KINDS for leak in [one for one in leaks if one.kind == kind][:LISTED]]
    return {"counts": {kind: counts[kind] for kind in KINDS}, "listed": listed, "unknown": list(unknown)}


def leak_sentences(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each kind of leak there is, naming the first queries."""
    for kind, count in document["counts"].items():
        if count:
            named = [f"{one['task']} {one['query_id']}" for one in document["listed"] if one["kind"] == kind]
            more = ", ..." if count > 3 else ""
            yield f"leak: {count} {KINDS[kind]} ({', '.join(named[:3])}{more})."
    for run in document["unknown"]:
        yield f"whether {run} has seen these queries in training is unknown: it has not written down any."


def kept_out_sentence(counts: Mapping[str, int]) -> str:
    """Say how many prompts were no choice: what would have leaked, had it been shown."""
    return (
        f"{counts['prompts']} prompts were kept out of the pools of {counts['queries']} queries, whose "
        "answers they would have given away."
    )


def _in_profiles(store: ExampleStore) -> Iterator[Leak]:
    if task_format(store.task).search_parts == ("ref1", "ref2"):
        return
    form = task_format(store.task)
    asked_key = form.input_key or form.output_key
    for example in store:
        answers = () if form.labels else (example.query.gold or "",)
        yield from _in_profile(example, store.task, answers, lambda item: (asked_key, (form.output_key,)))


def _of_signal(item: ProfileItem) -> tuple[str | None, Sequence[str]]:
    """Of a pair, its request and both answers; of a comment or another item, all there is."""
    asked = "prompt" if "rejected" in item.fields else None
    return asked, [key for key in item.fields if key != asked]


def _in_profile(example: Example, task: str, answers: Iterable[str], keys_of: KeysOf) -> Iterator[Leak]:
    query = example.query
    text = NearDuplicateOf(query.search_text)
    telling = [gold for gold in map(NearDuplicateOf, answers) if gold.words >= MIN_WORDS]
    answer = asked = ""
    for item in example.profile.items:
        asked_key, cache_keys = keys_of(item)
        if not answer and any(_holds(item.fields, cache_keys, gold) for gold in telling):
            answer = item.id
        if not asked and text.words and asked_key is not None and text.matches(item.fields[asked_key]):
            asked = item.id
    for kind, item_id in ((ANSWER, answer), (QUERY, asked)):
        if item_id:
            yield Leak(kind, task, query.id, query.user_id, f"item {item_id}")


def _holds(fields: Mapping[str, str], own: Iterable[str], gold: NearDuplicateOf) -> bool:
    """Tell whether an item has an answer somewhere word for word, or nearly as one of its `own` answers."""
    return any(map(gold.stands_in, fields.values())) or any(gold.matches(fields[key]) for key in own)
