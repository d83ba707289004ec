"""A language model as judge of two answers, asked in both orders, since judges prefer the first one shown.

What a judge says is read strictly: a reply from which no verdict can be told is reported, never scored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from personakit.contracts import LanguageModel
from personakit.evaluation.bisection import Asker
from personakit.models.refusal import refusal_reason

#: Enough for "A", "B", "tie" and a few words around it.
VERDICT_TOKENS = 16

_ASK = """Here is a request and two answers to it.

Request: {asked}

Answer A: {first}

Answer B: {second}

Which answer is better? Reply with one word: A, B or tie.
"""
_WORD = re.compile(r"\b(A|B|tie|Tie|TIE)\b")


@dataclass(frozen=True, slots=True)
class Match:
    """Two answers to one request."""

    asked: str
    one: str
    other: str


def judge(matches: Sequence[Match], model: LanguageModel) -> list[float | None]:
    """Return for each match how good `one` is against `other`: 1 better, 0 worse, 0.5 neither.

    The mean of both orders, so a verdict that turns with the order is 0.5. None where one of the two
    replies cannot be read, or was not given. Answers that are the same are 0.5 without asking. Raises
    `RunError` where the judge answers nothing any more.
    """
    open_matches = [place for place, each in enumerate(matches) if each.one.strip() != each.other.strip()]
    prompts = []
    for place in open_matches:
        each = matches[place]
        prompts.append(_ASK.format(asked=each.asked, first=each.one, second=each.other))
        prompts.append(_ASK.format(asked=each.asked, first=each.other, second=each.one))
    replies: list[list[str]] = []
    if prompts:
        Asker()(
            lambda some: model.generate(prompts[some], max_new_tokens=VERDICT_TOKENS),
            lambda error: [""],
            slice(0, len(prompts)),
            replies,
        )
    verdicts: list[float | None] = [0.5] * len(matches)
    for number, place in enumerate(open_matches):
        said = [replies[2 * number + turn][0] for turn in (0, 1)]
        first, second = (None if refusal_reason(reply) else read_verdict(reply) for reply in said)
        verdicts[place] = None if first is None or second is None else (first + 1 - second) / 2
    return verdicts


def read_verdict(reply: str) -> float | None:
    """Return 1 where the reply says A, 0 for B, 0.5 for a tie; None where it says none or several of them."""
    said = {word.casefold() for word in _WORD.findall(reply)}
    return {"a": 1.0, "b": 0.0, "tie": 0.5}[said.pop()] if len(said) == 1 else None
