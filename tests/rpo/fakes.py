"""Scripted language models, context providers and example users, without any weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from personakit.data.lamp_formats import FORMATS, build_input, profile_item, search_text
from personakit.records import Context, Example, Profile, Query
from personakit.rpo.prompts import CHOOSE, DRAFT, REWRITE, Trajectory

TASKS = tuple(f"LaMP_{number}" for number in range(1, 8))


class Scripted:
    """Answers with a function of the prompt and the length limit. Tokens are words; calls are recorded."""

    def __init__(self, answer: Callable[[str, int], str]) -> None:
        self.answer = answer
        self.prompts: list[str] = []
        self.scored: list[tuple[str, str]] = []
        self.begun: list[str] = []

    def generate(
        self,
        prompts: Sequence[str],
        *,
        samples: int = 1,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[list[str]]:
        self.prompts += prompts
        return [[self.answer(prompt, max_new_tokens)] for prompt in prompts]

    def score(
        self, prompts: Sequence[str], completions: Sequence[str], *, begun: Sequence[str] | None = None
    ) -> list[float]:
        self.begun += begun or ()
        self.scored += zip(prompts, completions, strict=True)
        return [-float(len(completion)) for completion in completions]

    def count_tokens(self, text: str) -> int:
        return count_words(text)


def count_words(text: str) -> int:
    return len(text.split())


def draft_in(prompt: str) -> str:
    """The draft in a rewriter's prompt."""
    return prompt.rpartition(DRAFT)[2].removesuffix(REWRITE).removesuffix(CHOOSE)


def shouts(prompt: str, max_new_tokens: int) -> str:
    """A rewriter whose response is the draft in capitals with the length limit."""
    return Trajectory("loud", f"shout within {max_new_tokens}", draft_in(prompt).upper()).text()


class AllItems:
    """Provides the whole profile."""

    def context(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Context]:
        return [Context(items=profile.items) for profile in profiles]


class SummaryOnly:
    """Provides one sentence about the user and no items, as POPI does."""

    def context(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Context]:
        return [Context(summary=f"{profile.user_id} likes capitals") for profile in profiles]


def example(task: str, user: str = "ada", *, items: int = 3, gold: str | None = None) -> Example:
    """A query of `user` with `items` items; every word of an item names the user."""
    form = FORMATS[task]
    parts = {
        name: f"the {name} that {user} asks about"
        for _, name in form.pieces
        if name is not None and name not in dict(form.fixed_parts)
    }
    known = {"score": "4", "tag": "classic"}
    profile = [
        profile_item(task, str(n), {key: known.get(key, f"{key} {user}-{n} wrote") for key in form.item_keys})
        for n in range(items)
    ]
    text = build_input(task, **parts)
    query = Query(f"{task}-{user}", task, text, search_text(task, text), user, gold or gold_of(task, user))
    return Example(query, Profile(user, tuple(profile)))


def gold_of(task: str, user: str) -> str:
    """A gold answer that occurs nowhere else, or a label if the task has labels."""
    return {"LaMP_1": "[2]", "LaMP_2": "dystopia", "LaMP_3": "5"}.get(task, f"zebra quagga {user}-okapi")
