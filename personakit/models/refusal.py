"""Marked completions: strings that say why they are not an ordinary answer.

`Refusal`: the model refused; an answer, usually an empty one. `NoAnswer`: the request failed, nothing may be
scored or cached. `Cut`: the token limit ended the answer. Code that handles them as strings can still
recognise them.
"""

from __future__ import annotations

from typing import Any, TypedDict

#: Finish reasons with which a content filter or the model itself ends a refused choice, and error codes of
#: servers that reject the prompt before calling the model (OpenAI, Azure).
REFUSED_FINISHES = frozenset({"content_filter", "refusal"})
REFUSED_CODES = frozenset({"content_filter", "content_policy_violation"})
_LONGEST_REASON = 200


class Refusal(str):
    """The text of a refused answer, usually "", with the reason."""

    reason: str

    def __new__(cls, text: str = "", reason: str = "") -> Refusal:
        """`reason` completes the sentence "the model refused: ..."."""
        made = super().__new__(cls, text)
        made.reason = reason
        return made


class NoAnswer(str):
    """An empty string in place of the answer that a request did not give, with the reason."""

    reason: str

    def __new__(cls, reason: str = "") -> NoAnswer:
        """`reason` completes the sentence "no answer: ..."."""
        made = super().__new__(cls, "")
        made.reason = reason
        return made


class Cut(str):
    """An answer that the token limit ended."""


class Marks(TypedDict):
    """The fields of `records.Answer` that a completion's marks set."""

    refused: str | None
    error: str | None
    cut: bool


def answer_marks(*texts: str) -> Marks:
    """Return what the completions that an answer was made from say about it: `Answer(..., **marks)`."""
    refused = [text.reason for text in texts if isinstance(text, Refusal)]
    failed = [text.reason for text in texts if isinstance(text, NoAnswer)]
    return {
        "refused": refused[0] if refused else None,
        "error": failed[0] if failed else None,
        "cut": any(isinstance(text, Cut) for text in texts),
    }


def refusal_reason(text: str) -> str | None:
    """Return the reason if a model's text is a refusal, else None."""
    return text.reason if isinstance(text, Refusal) else None


def no_answer_reason(text: str) -> str | None:
    """Return the reason if the request for a model's text failed, else None."""
    return text.reason if isinstance(text, NoAnswer) else None


def out_of_tokens(max_new_tokens: int) -> NoAnswer:
    """Return the `NoAnswer` of a model that reasoned until the token limit."""
    return NoAnswer(
        f"all {max_new_tokens} tokens were used before the answer, for reasoning; raise the limit: "
        "--max-new-tokens (in training decoding.max_new_tokens; of a teacher trajectories.teacher_tokens; "
        "of a judge --judge-tokens)"
    )


def read_refusal(choice: Any) -> str | None:
    """Return the reason if a choice of `/v1/chat/completions` is a refusal, else None."""
    message = choice["message"]
    content = message.get("content")
    parts = [each for each in content if isinstance(each, dict)] if isinstance(content, list) else []
    stated = message.get("refusal") or next(filter(None, (part.get("refusal") for part in parts)), None)
    if stated:
        return " ".join(str(stated).split())[:_LONGEST_REASON]
    finish = choice.get("finish_reason")
    return f"finish_reason {finish}" if finish in REFUSED_FINISHES else None
