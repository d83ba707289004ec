"""A baseline of your own: answer with the history item that shares most words with the query.

    python examples/custom_baseline.py

scores it on LaMP-7 beside copying the input, directly in Python. To make it a row of `personakit eval`, with
intervals, comparisons and the report, put this file into an installed package and name it there:

    [project.entry-points."personakit.baselines"]
    nearest-item = "my_package.custom_baseline:open_nearest_item"

    personakit eval lamp --task LaMP_7 --baseline nearest-item --baseline context
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from personakit import Answer, Context, Example, Personalizer, Profile, Query
from personakit.data import open_examples
from personakit.tasks import get_task

TASK = "LaMP_7"


class NearestItem:
    """Answers with the nearest item itself; with nothing for a user without history."""

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Return one answer for each pair of query and profile."""
        return [self._answer(query, profile) for query, profile in zip(queries, profiles, strict=True)]

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        """Return a log-probability of each text: this baseline knows only its own answer."""
        answers = self.respond(queries, profiles)
        return [
            0.0 if answer.text == text else float("-inf") for answer, text in zip(answers, texts, strict=True)
        ]

    def _answer(self, query: Query, profile: Profile) -> Answer:
        if not profile.items:
            return Answer("", degraded="the user has no history")
        words = set(query.search_text.split())
        nearest = max(profile.items, key=lambda item: len(words & set(item.document.split())))
        return Answer(nearest.document, context=Context(items=(nearest,)))


def open_nearest_item(around: Any) -> Personalizer:
    """The entry point: `around` has the run's settings, the base model's name and the training golds."""
    return NearestItem()


def main() -> None:
    """Score the baseline on the built-in benchmark's dev split."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="lamp-mini", help="lamp-mini, or a folder of LaMP's files")
    parser.add_argument("--limit", type=int, default=50)
    arguments = parser.parse_args()

    examples: list[Example] = list(open_examples(arguments.data, TASK, "dev"))[: arguments.limit]
    queries = [example.query for example in examples]
    golds = [query.gold or "" for query in queries]
    copied = [query.search_text for query in queries]
    answers = NearestItem().respond(queries, [example.profile for example in examples])
    for name, texts in (("copy the input", copied), ("nearest item", [answer.text for answer in answers])):
        scores = get_task(TASK).score(texts, golds)
        print(f"{name:16}", *(f"{metric} {value:.3f}" for metric, value in scores.items()))


if __name__ == "__main__":
    main()
