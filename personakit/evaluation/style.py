"""The style of a task's answers, with the scores of other writers (floor) and of the golds (ceiling).

Each answer is scored against its user's own history (`personakit.tasks.style`), whatever history the row got.
Items that the retriever shows for the query are left out for every row, floor and ceiling, and so are those
that were shown for the answer: an answer that repeats words of its prompt would be like them, and no more in
the user's style. The floor scores the gold of another user as if this user had written it, the ceiling the
user's own gold.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from personakit.config.train_rpo import RetrievalSettings
from personakit.evaluation.candidates import other_user_examples
from personakit.evaluation.runner import Answering
from personakit.evaluation.samples import Sample
from personakit.records import Example, Profile
from personakit.retrieval.open import RETRIEVERS, open_retriever
from personakit.tasks.base import Task
from personakit.tasks.style import LEAST_TEXTS, LEAST_WRITERS, STYLE, StyleScorer

if TYPE_CHECKING:
    from personakit.data.store import ExampleStore

#: Median words of a task's golds: style is measured from here on. Headlines and titles are too short.
LEAST_WORDS = 20
#: Other writers that answers are compared with, and the newest texts of a user's own.
MAX_WRITERS, OWN_TEXTS = 200, 50


@dataclass(frozen=True, eq=False)
class TaskStyle:
    """Style scores of one task.

    `examples` are those that are evaluated, `pool` all of the split, from which the other writers come.
    `retrieval` is what shows items to the rows (None: nothing does). Nothing is fitted or opened before
    the first score.
    """

    task: Task
    examples: ExampleStore
    pool: ExampleStore
    retrieval: RetrievalSettings | None = None

    @property
    def measurable(self) -> bool:
        """Whether texts are long enough and there are enough writers with enough texts that are not shown.

        Not where a run of another method shows them: it would have to be opened twice.
        """
        if self.retrieval is not None and self.retrieval.name.partition(":")[0] not in RETRIEVERS:
            return False
        least = LEAST_TEXTS + (0 if self.retrieval is None else self.retrieval.k)
        sizes = zip(self.examples.user_ids, self.examples.profile_sizes, strict=True)
        if self.task.kind != "generation" or len({user for user, size in sizes if size >= least}) < 2:
            return False
        golds = [len(gold.split()) for gold in self.examples.golds if gold is not None]
        long_enough = bool(golds) and statistics.median(golds) >= LEAST_WORDS
        return long_enough and len(self._writers) > LEAST_WRITERS

    @cached_property
    def words(self) -> float:
        """Median words of the golds."""
        return float(statistics.median(len(gold.split()) for gold in self.examples.golds if gold is not None))

    @cached_property
    def _writers(self) -> Mapping[str, int]:
        """The first example of each user with `LEAST_TEXTS` texts."""
        sizes = enumerate(zip(self.pool.user_ids, self.pool.profile_sizes, strict=True))
        return {user: index for index, (user, size) in reversed(list(sizes)) if size >= LEAST_TEXTS}

    @cached_property
    def _retrieved(self) -> Mapping[str, frozenset[str]]:
        """The ids of the items that the retriever shows for each query, by the query's id."""
        if self.retrieval is None:
            return {}
        retriever = open_retriever(self.retrieval.name, self.retrieval.k)
        found = {}
        for example in self.examples:
            [context] = retriever.context([example.query], [example.profile])
            found[example.query.id] = frozenset(item.id for item in context.items)
        return found

    @property
    def judged(self) -> int:
        """The number of examples whose user has enough texts to judge an answer by."""
        return len(self.ceiling)

    @cached_property
    def scorer(self) -> StyleScorer:
        """The scorer, with the histories of up to `MAX_WRITERS` users of the split."""
        users = sorted(self._writers, key=lambda user: self._writers[user])
        some = [users[place * len(users) // MAX_WRITERS] for place in range(MAX_WRITERS)]
        return StyleScorer(
            {
                user: self._texts(self.pool[self._writers[user]].profile)
                for user in (some if len(users) > MAX_WRITERS else users)
            }
        )

    def scores(
        self,
        texts: Sequence[str],
        examples: Sequence[Example],
        shown: Sequence[Collection[str]] | None = None,
    ) -> list[float | None]:
        """Return the score of each text by the user of each example; None where it cannot be judged.

        It is compared with those of the user's own texts that it does not repeat, that the retriever does not
        show for the query, and whose ids are not among those of `shown`.
        """
        left_out = [
            self._retrieved.get(example.query.id, frozenset()).union(ids)
            for example, ids in zip(examples, shown or [()] * len(texts), strict=True)
        ]
        owns = [
            [own for own in self._texts(example.profile, ids) if own.strip() != text.strip()]
            for text, example, ids in zip(texts, examples, left_out, strict=True)
        ]
        scored = self.scorer.scores(texts, owns, [example.query.user_id for example in examples])
        return [
            float(score) if text.strip() and np.isfinite(score) else None
            for text, score in zip(texts, scored, strict=True)
        ]

    @cached_property
    def floor(self) -> Mapping[str, float]:
        """The score of another user's gold, by query id."""
        others = other_user_examples(self.examples)
        return self._by_query([self.examples[other].query.gold or "" for other in others])

    @cached_property
    def ceiling(self) -> Mapping[str, float]:
        """The score of the user's own gold, by query id."""
        return self._by_query([gold or "" for gold in self.examples.golds])

    def _by_query(self, texts: Sequence[str]) -> dict[str, float]:
        scores = zip(self.examples.query_ids, self.scores(texts, list(self.examples)), strict=True)
        return {id: score for id, score in scores if score is not None}

    def _texts(self, profile: Profile, left_out: Collection[str] = ()) -> list[str]:
        items = [item for item in profile.items if item.id not in left_out]
        return [self.task.item_parts(item)[1] for item in items[-OWN_TEXTS:]]


def with_style(answering: Answering, styles: Mapping[str, TaskStyle]) -> Answering:
    """Return the `Answering` that adds the style score to the scores of tasks in `styles`."""

    def answer(
        candidate: Any, opened: Any, examples: Sequence[Example], profiles: Sequence[Profile]
    ) -> list[Sample]:
        samples = answering(candidate, opened, examples, profiles)
        style = styles.get(samples[0].task) if samples else None  # a batch is of one task
        if style is None:
            return samples
        shown = [
            {item["id"] for item in sample.context["items"] if sample.profile_of == sample.user_id}
            for sample in samples
        ]
        scores = style.scores([sample.prediction for sample in samples], examples, shown)
        return [
            sample
            if score is None or sample.scores is None
            else replace(sample, scores={**sample.scores, STYLE: score})
            for sample, score in zip(samples, scores, strict=True)
        ]

    return answer
