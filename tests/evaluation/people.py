"""Users with their own style of ratings and headlines, and a language model that echoes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from personakit.data.lamp_formats import build_input, profile_item, search_text
from personakit.records import Answer, Context, Example, Profile, Query


class Examples(list[Example]):
    """Examples whose users' traits are known."""

    def __init__(self, examples: Sequence[Example], traits: Mapping[str, Mapping[str, Any]]) -> None:
        super().__init__(examples)
        self._traits = traits

    def traits(self, query_id: str) -> Mapping[str, Any] | None:
        return self._traits.get(query_id)


def rating(number: int, scores: Sequence[str] = ("4", "5"), gold: str | None = "4") -> Example:
    """Return a LaMP-3 query of user `number`, with a history of ratings `scores`."""
    user = f"user{number}"
    text = build_input("LaMP_3", text=f"the kettle number {number} is fine")
    items = [
        profile_item("LaMP_3", f"r{place}", {"text": f"review {place}", "score": score})
        for place, score in enumerate(scores)
    ]
    query = Query(f"3{number:03}", "LaMP_3", text, search_text("LaMP_3", text), user, gold)
    return Example(query, Profile(user, tuple(items)))


def headline(number: int, *, dates: Sequence[str | None] = (None, None)) -> Example:
    """Return a LaMP-4 query of user `number`, whose headlines begin with the user's name."""
    user = f"user{number}"
    text = build_input("LaMP_4", text=f"rain fell on town {number} today")
    items = [
        profile_item(
            "LaMP_4", f"h{place}", {"title": f"{user} reports story {place}", "text": "a story"}, date
        )
        for place, date in enumerate(dates)
    ]
    gold = f"{user} reports rain on town {number}"
    query = Query(f"4{number:03}", "LaMP_4", text, search_text("LaMP_4", text), user, gold)
    return Example(query, Profile(user, tuple(items)))


class Imitator:
    """Answers in the style of the given history, and without style if it is empty."""

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        answers = []
        for query, profile in zip(queries, profiles, strict=True):
            if not profile.items:
                text = "3" if query.task == "LaMP_3" else "rain"
            elif query.task == "LaMP_3":
                text = profile.items[0].fields["score"]
            else:
                text = f"{profile.user_id} reports rain"
            answers.append(
                Answer(text, generic="rain", context=Context(profile.items[:1]), tokens=9, context_tokens=4)
            )
        return answers

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        return [0.0] * len(texts)


class Echo:
    """A language model that returns its prompt's last words; each word is a token."""

    def __init__(self, words: int = 2) -> None:
        self.words = words
        self.calls: list[tuple[list[str], int]] = []

    def generate(
        self,
        prompts: Sequence[str],
        *,
        samples: int = 1,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[list[str]]:
        self.calls.append((list(prompts), max_new_tokens))
        return [[" ".join(prompt.split()[-self.words :])] * samples for prompt in prompts]

    def score(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        return [-float(len(prompt.split())) for prompt in prompts]

    def count_tokens(self, text: str) -> int:
        return len(text.split())


class AllItems:
    """A context provider that returns the whole history."""

    def context(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Context]:
        return [Context(items=profile.items) for profile in profiles]
