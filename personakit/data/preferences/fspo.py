"""FSPO's three data sets (arXiv 2502.19312), with simulated users.

ELIX and Review: `prompt, response_x, response_y, label, scorer_level`. Label 0 means that `response_x` is
preferred, label 1 `response_y`. Roleplay: `x, yw, yl, level`, where `yw` is preferred. The level is the user:
`get_elix`, `get_review` and `get_roleplay` of https://fewshot-preference-optimization.github.io/ group rows
by it. The personas are those that these loaders give an oracle (`score_persona` in Roleplay).

Data sets: https://huggingface.co/datasets/Asap7772/elix_generations_gpt4omini_pref,
.../Asap7772/steered_reviews_full_autolabel_gpt4o_pref, .../sher222/persona-iterative-responses.
`get_elix` keeps only pairs with an answer written for the scoring level; here all pairs are kept.
"""

from __future__ import annotations

from collections.abc import Set

from personakit.data.preferences.rows import (
    LABEL,
    PairTexts,
    PreferenceRow,
    required_user_id,
    text,
    texts,
)
from personakit.data.skips import SkipCounts
from personakit.data.tables import TableRow

NAME = "fspo"
SCORED = frozenset({"prompt", "response_x", "response_y", "label", "scorer_level"})
ROLEPLAY = frozenset({"x", "yw", "yl", "level"})
HAS_SIGNALS = False
_TASTES = {"positive", "negative", "concise", "verbose"}


def matches(columns: Set[str]) -> bool:
    """Return whether a row with these columns is in one of FSPO's formats."""
    return columns >= SCORED or columns >= ROLEPLAY


def read(row: TableRow, skips: SkipCounts, user_column: str | None) -> PreferenceRow | None:
    """Return the row's comparison, or None if its label is invalid (counted in `skips`)."""
    if "scorer_level" not in row.values:
        persona = text(row, "score_persona").strip() if "score_persona" in row.values else ""
        user = required_user_id(row, user_column, default="level")
        return PreferenceRow(row.place, user, [texts(row, "x", "yw", "yl")], persona=persona or None)
    label = str(row.values.get("label")).strip().removesuffix(".0")
    if label not in ("0", "1"):
        skips.add(LABEL, f'{row.place} ("{label[:40]}")')
        return None
    prompt, first, second = (text(row, column) for column in ("prompt", "response_x", "response_y"))
    pair = PairTexts(prompt, first, second) if label == "0" else PairTexts(prompt, second, first)
    user = required_user_id(row, user_column, default="scorer_level")
    return PreferenceRow(row.place, user, [pair], persona=persona_of(text(row, "scorer_level").strip()))


def persona_of(level: str) -> str:
    """Return a level as a sentence, as FSPO's loaders write it for an oracle ("The user is child.")."""
    tastes = level.split("+")
    if set(tastes) <= _TASTES:
        return f"This user prefers {' and '.join(tastes)} reviews."
    return f"The user is {level}."
