"""The `own` trajectory writer: the model that becomes the rewriter explains the user's answers itself.

A trace in the model's own words is likely under the model, so learning it changes little else (as in STaR,
arXiv 2203.14465, whose rationalizations also see the answer). A small model does not keep to tags: it is
asked for an explanation only, which becomes the evidence; the plan is empty and the response is the gold
answer. The prompt is our choice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from personakit.rpo.prompts import DRAFT, TAGS, Trajectory
from personakit.rpo.writer import KEEP, NOTHING, TrajectoryRequest

#: Maximum tokens and sentences of an explanation.
EXPLANATION_TOKENS, EXPLANATION_SENTENCES = 96, 2
GOLD = "\nWhat this user answered: "
_ORDER = """

In one or two sentences, explain how this user's answer differs from the draft, and which of the user's \
habits shown above explain it. Do not repeat the answer."""
_SENTENCE = re.compile(r"\S.*?[.!?](?=\s|$)")


class SelfWriter:
    """Writes trajectories whose evidence is the model's own explanation."""

    def __init__(
        self,
        generate: Callable[[Sequence[str]], Sequence[str]],
        *,
        count_tokens: Callable[[str], int],
        max_length: int,
    ) -> None:
        """Prompt the model through `generate`; items are truncated to fit `max_length` tokens."""
        self._generate = generate
        self._count_tokens = count_tokens
        self._max_length = max_length

    def write_all(self, requests: Sequence[TrajectoryRequest]) -> list[Trajectory | str | None]:
        """Return one trajectory per request; an unusable explanation as text; None for an empty one.

        Without context the trajectory keeps the draft, and nothing is explained.
        """
        with_context = [each for each in requests if not each.context.empty]
        replies = iter(self._generate([self.prompt(each) for each in with_context]))
        return [
            Trajectory(NOTHING, KEEP, each.draft)
            if each.context.empty
            else read_explanation(next(replies), each.gold)
            for each in requests
        ]

    def prompt(self, each: TrajectoryRequest) -> str:
        """Return the prompt that asks for the explanation."""
        query_prompt = each.task.prompt_with_context(
            each.query, each.context, count_tokens=self._count_tokens, max_length=self._max_length
        )
        return query_prompt + DRAFT + each.draft + GOLD + each.gold + _ORDER


def read_explanation(reply: str, gold: str) -> Trajectory | str | None:
    """Return the trajectory of an explanation, cut to its first whole sentences.

    Without a whole sentence, or with the trajectory's tags in it, it is unusable and returned as it is.
    """
    text = " ".join(reply.split())
    sentences = _SENTENCE.findall(text)[:EXPLANATION_SENTENCES]
    if not sentences or any(tag in text for tag in TAGS):
        return text or None
    return Trajectory(" ".join(sentences), "", gold.strip())
