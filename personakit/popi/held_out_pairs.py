"""The held-out preference pairs of users, as far as they fit the models that score them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from personakit.config import TrainPOPI
from personakit.data.preferences import PreferenceStore
from personakit.data.preferences.profiles import as_profile
from personakit.errors import UserError
from personakit.models.cost import template_tokens, token_counter
from personakit.models.model_files import context_window, locate
from personakit.models.open import resolve_model
from personakit.models.stand_ins import split_name
from personakit.records import Example, Query
from personakit.tasks.signals import signal_wording


@dataclass(frozen=True)
class HeldOutPairs:
    """Held-out pairs as examples, whose gold is the preferred answer.

    `rejected` has the other answer and `traits` the user's persona in clauses, by query id; `skipped` counts
    pairs that were left out, by reason.
    """

    examples: list[Example]
    rejected: dict[str, str]
    traits: dict[str, dict[str, str]]
    skipped: dict[str, int]


def held_out_pairs(
    store: PreferenceStore, settings: TrainPOPI, bases: Sequence[str], *, whole_history: bool
) -> HeldOutPairs:
    """Return the held-out pairs that fit the context window of the run's model and of all `bases`.

    With `whole_history` a prompt must have room for all signals, else for a summary. Raises `UserError` where
    no pair fits.
    """
    count = token_counter(settings.model)
    window = shortest_context_window([settings.model, *bases])
    context = settings.data.signal_tokens if whole_history else settings.joint.max_summary_tokens
    added = max(map(template_tokens, [settings.model, *bases]))
    wording = signal_wording(store.task)
    skipped: Counter[str] = Counter({reason: skip.count for reason, skip in store.skipped.items()})
    examples: list[Example] = []
    rejected: dict[str, str] = {}
    traits: dict[str, dict[str, str]] = {}
    for user in store:
        profile = as_profile(user.user_id, user.signals)
        for number, pair in enumerate(user.pairs, start=1):
            text = wording.request(pair.prompt)
            longest = max(count(pair.chosen), count(pair.rejected))
            if window is not None and count(text) + context + longest + added > window:
                skipped["pairs longer than the models' context window"] += 1
                continue
            id = f"{user.user_id}/{number}"
            query = Query(id, store.task or "preference", text, pair.prompt, user.user_id, pair.chosen)
            examples.append(Example(query, profile))
            rejected[id] = pair.rejected
            if user.persona is not None:
                # The more clauses of the persona differ, the better a wrong user.
                clauses = user.persona.split(";")
                traits[id] = {f"clause {place}": part.strip() for place, part in enumerate(clauses)}
    if not examples:
        raise UserError(
            f"{store.path}: no held-out pair fits the {window} tokens of the models' context window",
            hint="evaluate with models of a longer one",
        )
    return HeldOutPairs(examples, rejected, traits, dict(skipped))


def shortest_context_window(models: Sequence[str]) -> int | None:
    """Return the shortest context window of these models; None where none is known."""
    names = [(split_name(name) or (name,))[0] for name in models]
    windows = [context_window(locate(resolve_model(name))) for name in names]
    return min((window for window in windows if window is not None), default=None)
