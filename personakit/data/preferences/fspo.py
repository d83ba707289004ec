"""FSPO's three sets (arXiv 2502.19312), whose users are made up.

ELIX and Review: `prompt, response_x, response_y, label, scorer_level`; label 0 says that `response_x` is
preferred, 1 that `response_y` is. Roleplay: `x, yw, yl, level`, where `yw` is preferred. The level is the
user, in the words of https://fewshot-preference-optimization.github.io/ and as its `get_elix`,
`get_review` and `get_roleplay` group the rows; so are the personas, which they give an oracle
(`score_persona` in Roleplay).

Sets: https://huggingface.co/datasets/Asap7772/elix_generations_gpt4omini_pref,
.../Asap7772/steered_reviews_full_autolabel_gpt4o_pref, .../sher222/persona-iterative-responses.
`get_elix` keeps only pairs one of whose answers was written for the level that scores; here all are kept.
"""

from __future__ import annotations

from collections.abc import Set

from personakit.data.preferences.rows import LABEL, PreferenceRow, Skips, Texts, known_user, text, texts
from personakit.data.tables import Row

NAME = "fspo"
SCORED = frozenset({"prompt", "response_x", "response_y", "label", "scorer_level"})
ROLEPLAY = frozenset({"x", "yw", "yl", "level"})
DIVIDED = False
_TASTES = {"positive", "negative", "concise", "verbose"}


def matches(columns: Set[str]) -> bool:
    """Tell whether a row with these columns is one of FSPO's."""
    return columns >= SCORED or columns >= ROLEPLAY


def read(row: Row, skips: Skips, user_column: str | None) -> PreferenceRow | None:
    """Return the row's comparison, None where its label says nothing (counted)."""
    if "scorer_level" not in row.values:
        persona = text(row, "score_persona").strip() if "score_persona" in row.values else ""
        user = known_user(row, user_column, default="level")
        return PreferenceRow(row.place, user, [texts(row, "x", "yw", "yl")], persona=persona or None)
    label = str(row.values.get("label")).strip().removesuffix(".0")
    if label not in ("0", "1"):
        skips.add(LABEL, f'{row.place} ("{label[:40]}")')
        return None
    prompt, first, second = (text(row, column) for column in ("prompt", "response_x", "response_y"))
    pair = Texts(prompt, first, second) if label == "0" else Texts(prompt, second, first)
    user = known_user(row, user_column, default="scorer_level")
    return PreferenceRow(row.place, user, [pair], persona=persona_of(text(row, "scorer_level").strip()))


def persona_of(level: str) -> str:
    """Return a level in words, as FSPO's loaders tell an oracle ("The user is child.")."""
    tastes = level.split("+")
    if set(tastes) <= _TASTES:
        return f"This user prefers {' and '.join(tastes)} reviews."
    return f"The user is {level}."
