"""What would make a score too good to be true, looked for before there is one.

    answer_in_profile    the gold answer, or nearly, stands in the user's own history (free text)
    query_in_profile     the very text that is asked about is an item of the user's history, answer and all
    user_in_training     the user is in the training split too
    trained_on           the query is among those that a run was trained on (`training/seen.py`)

Two texts are nearly the same where one holds the other and little else, where a letter (of long ones,
2 %) makes the difference, or where they have twenty words and share 80 % of their runs of three: in a
headline another word makes another headline. Answers of fewer than three words turn up in a history by chance
("Re: lunch") and are no leak alone. LaMP_1 has neither of the first two:
its answer is a number, and citing oneself is what the task is about. In LaMP's time-based split users
are in training by design (their later records are asked about), so nobody is counted there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from personakit.data.lamp_formats import task_format
from personakit.data.splitting import same_text
from personakit.data.user_groups import with_a_shared_profile
from personakit.records import Example
from personakit.tasks.edit_distance import edit_distance
from personakit.training.seen import store_digests

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
#: Two texts count as one by the share of their runs of three words that both have ...
NEAR = 0.8
LONG = 20  # words: in fewer, another word makes another text
#: ... by the share of the longer one that the shorter one is, where it stands in it ...
PART = 0.75
#: ... or by the share of letters that differ (a single one always may).
LETTERS = 0.02
#: A text's longest words, half of which must stand in another before anything costly is done.
PROBES = 6
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
            leaks += _in_training(store, training[task])
        if trained_on:
            leaks += _seen(store, trained_on)
    return leaks


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


class Wanted:
    """A text that is looked for among many, nearly as it stands."""

    def __init__(self, text: str) -> None:
        self.plain = same_text(text)
        words = self.plain.split()
        self.size = len(words)
        self._probes = sorted(set(words), key=lambda word: (-len(word), word))[:PROBES]
        self._triples = _triples(words)

    def near(self, text: str) -> bool:
        """Tell whether `text` is nearly this one (see above)."""
        if not self.size or not 0.6 * len(self.plain) <= len(text) <= 2 * len(self.plain) + 20:
            return False
        folded = text.casefold()
        if 2 * sum(probe in folded for probe in self._probes) < len(self._probes):
            return False  # cheap: most texts end here
        plain = same_text(text)
        if plain == self.plain:
            return True
        shorter, longer = sorted((plain, self.plain), key=len)
        if f" {shorter} " in f" {longer} ":
            return len(shorter) >= PART * len(longer)
        if self.size >= LONG:
            triples = _triples(plain.split())
            if (triples & self._triples).total() >= NEAR * max(triples.total(), self._triples.total()):
                return True
        letters = max(1, int(LETTERS * len(longer)))
        return len(longer) - len(shorter) <= letters and edit_distance(plain, self.plain) <= letters


def _in_profiles(store: ExampleStore) -> Iterator[Leak]:
    if task_format(store.task).search_parts == ("ref1", "ref2"):
        return
    for example in store:
        yield from _in_profile(example)


def _in_profile(example: Example) -> Iterator[Leak]:
    query, form = example.query, task_format(example.query.task)
    asked_key = form.input_key or form.output_key
    gold, text = Wanted(query.gold or ""), Wanted(query.search_text)
    telling = not form.labels and gold.size >= MIN_WORDS
    answer = asked = ""
    for item in example.profile.items:
        if not answer and telling and _holds(item.fields, form.output_key, gold):
            answer = item.id
        if not asked and text.near(item.fields[asked_key]):
            asked = item.id
    for kind, item_id in ((ANSWER, answer), (QUERY, asked)):
        if item_id:
            yield Leak(kind, query.task, query.id, query.user_id, f"item {item_id}")


def _holds(fields: Mapping[str, str], output_key: str, gold: Wanted) -> bool:
    """Tell whether an item has the gold answer somewhere word for word, or nearly as its own answer."""
    return any(gold.plain in value.casefold() for value in fields.values()) or gold.near(fields[output_key])


def _in_training(store: ExampleStore, training: ExampleStore) -> Iterator[Leak]:
    if store.made_user_ids or training.made_user_ids:
        places = with_a_shared_profile(store.item_digests(), training.item_digests())
        shared = {store.user_ids[place] for place in places}
    elif store.dated:
        return
    else:
        shared = set(store.user_ids) & set(training.user_ids)
    for query_id, user_id in zip(store.query_ids, store.user_ids, strict=True):
        if user_id in shared:
            yield Leak(USER, store.task, query_id, user_id, f"{training.split} split")


def _seen(store: ExampleStore, trained_on: Mapping[str, frozenset[str]]) -> Iterator[Leak]:
    for query_id, user_id, digest in zip(store.query_ids, store.user_ids, store_digests(store), strict=True):
        for run, seen in trained_on.items():
            if digest in seen:
                yield Leak(TRAINED, store.task, query_id, user_id, run)


def _triples(words: Sequence[str]) -> Counter[tuple[str, ...]]:
    return Counter(zip(words, words[1:], words[2:], strict=False))
