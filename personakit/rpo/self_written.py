"""The `own` trajectory writer: the model that becomes the rewriter explains the user's answers itself.

A trace in the model's own words is likely under the model, so learning it changes little else (as in STaR,
arXiv 2203.14465, whose rationalizations also see the answer). A small model does not keep to tags: it is
asked for an explanation only, which becomes the evidence; the plan is empty and the response is the gold
answer. The prompt is our choice.
"""

from __future__ import annotations

import re

from personakit.rpo.prompts import TAGS, Trajectory
from personakit.rpo.writer import PromptedWriter, TrajectoryRequest

#: Maximum tokens and sentences of an explanation.
EXPLANATION_TOKENS, EXPLANATION_SENTENCES = 96, 2
_ORDER = """

In one or two sentences, explain how this user's answer differs from the draft, and which of the user's \
habits shown above explain it. Do not repeat the answer."""
_SENTENCE = re.compile(r"\S.*?[.!?](?=\s|$)")


class SelfWriter(PromptedWriter):
    """Writes trajectories whose evidence is the model's own explanation."""

    order = _ORDER

    def read(self, reply: str, each: TrajectoryRequest) -> Trajectory | str | None:
        """Return the trajectory; see `read_explanation`."""
        return read_explanation(reply, each.gold)


def read_explanation(reply: str, gold: str) -> Trajectory | str | None:
    """Return the trajectory of an explanation, cut to its first whole sentences.

    Without a whole sentence, or with the trajectory's tags in it, it is unusable and returned as it is.
    """
    text = " ".join(reply.split())
    sentences = _SENTENCE.findall(text)[:EXPLANATION_SENTENCES]
    if not sentences or any(tag in text for tag in TAGS):
        return text or None
    return Trajectory(" ".join(sentences), "", gold.strip())
