"""Refusals: a model's reply instead of an answer, marked as such.

Unlike a failed request, a refusal is an answer, usually an empty one. Code that handles it as a string can
still recognise it.
"""

from __future__ import annotations

from typing import Any

#: Finish reasons with which a content filter or the model itself ends a refused choice, and error codes of
#: servers that reject the prompt before calling the model (OpenAI, Azure).
REFUSED_FINISHES = frozenset({"content_filter", "refusal"})
REFUSED_CODES = frozenset({"content_filter", "content_policy_violation"})
NO_TEXT = "it gave no text"
_LONGEST_REASON = 200


class Refusal(str):
    """The text of a refused answer, usually "", with the reason."""

    reason: str

    def __new__(cls, text: str = "", reason: str = NO_TEXT) -> Refusal:
        """`reason` completes the sentence "the model refused: ..."."""
        made = super().__new__(cls, text)
        made.reason = reason
        return made


def refusal_reason(text: str) -> str | None:
    """Return the reason if a model's text is a refusal, else None."""
    return text.reason if isinstance(text, Refusal) else None


def read_refusal(choice: Any) -> str | None:
    """Return the reason if a choice of `/v1/chat/completions` is a refusal, else None."""
    message = choice["message"].get("refusal")
    if message:
        return " ".join(str(message).split())[:_LONGEST_REASON]
    finish = choice.get("finish_reason")
    return f"finish_reason {finish}" if finish in REFUSED_FINISHES else None
