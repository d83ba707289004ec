"""How much of a prompt a model can read: its context window, less the answer and the chat template."""

from __future__ import annotations

from typing import Any


def prompt_limit(model: Any, max_new_tokens: int) -> int | None:
    """Return the most tokens (by the model's `count_tokens`) of a prompt that `model` reads whole.

    `model` is a `LanguageModel`, possibly behind the answer cache or a stand-in. None if there is no limit,
    or if it is not known, as for an endpoint.
    """
    while not hasattr(model, "prompt_limit") and hasattr(model, "model"):
        model = model.model
    limit = getattr(model, "prompt_limit", None)
    return None if limit is None else limit(max_new_tokens)


def unread_tokens(tokens: int, limit: int | None) -> int:
    """Return how many of a prompt's tokens the model does not read; the middle of the prompt is cut."""
    return 0 if limit is None else max(0, tokens - limit)
