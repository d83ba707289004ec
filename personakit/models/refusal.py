"""A model that refuses: what it said instead of an answer, marked as that.

A refusal is what a model does, unlike a request that failed: it is an answer, mostly an empty one, and says
so wherever it goes on as a text.
"""

from __future__ import annotations

from typing import Any

#: What a choice may be finished by where a filter or the model itself ended it, and the codes of a server
#: that does not even ask the model (OpenAI's, Azure's).
REFUSED_FINISHES = frozenset({"content_filter", "refusal"})
REFUSED_CODES = frozenset({"content_filter", "content_policy_violation"})
NO_TEXT = "it gave no text"
_LONGEST_REASON = 200


class Refusal(str):
    """The text of an answer that was refused, mostly "", and why."""

    reason: str

    def __new__(cls, text: str = "", reason: str = NO_TEXT) -> Refusal:
        """Make one; `reason` completes "the model refused: ..."."""
        made = super().__new__(cls, text)
        made.reason = reason
        return made


def refused_by(text: str) -> str | None:
    """Return why a model's text is a refusal, None where it is an answer."""
    return text.reason if isinstance(text, Refusal) else None


def read_refusal(choice: Any) -> str | None:
    """Return why a choice of `/v1/chat/completions` says that it is no answer, None where it does not."""
    said = choice["message"].get("refusal")
    if said:
        return " ".join(str(said).split())[:_LONGEST_REASON]
    finish = choice.get("finish_reason")
    return f"finish_reason {finish}" if finish in REFUSED_FINISHES else None
