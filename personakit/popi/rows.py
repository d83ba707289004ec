"""Training data of the joint stage: users as texts and as tokens, and the users of each step.

The randomness of a visit depends only on the seed and the visit's position in the training, so that a resumed
run uses the same users and pairs and samples the same summaries.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from personakit.errors import UserError
from personakit.models.tokens import encode_answers, encode_prompts
from personakit.training.preference import TrainingPair
from personakit.training.schedule import make_schedule

WithSummary = Callable[[str, str], str]
"""Maps a query x and a summary z to the generator's prompt, which starts with z; "" is no summary."""


@dataclass(frozen=True, slots=True)
class SummarisedUser:
    """A training user: the inference model's prompt, and the held-out pairs that reward its summaries.

    The pairs' prompts are queries without a summary; `summary_prompt` contains none of the pairs.
    """

    user_id: str
    summary_prompt: str
    pairs: tuple[TrainingPair, ...]


@dataclass(frozen=True, slots=True)
class TokenUser:
    """A `SummarisedUser` in tokens."""

    summary_prompt: list[int]
    pairs: tuple[HeldOutPair, ...]


@dataclass(frozen=True, slots=True)
class HeldOutPair:
    """A held-out pair. Answers include the end of sequence; `request` is combined with sampled summaries."""

    request: str
    query_ids: list[int]
    """The prompt without a summary, as the reference sees it."""
    chosen: list[int]
    rejected: list[int]


@dataclass(frozen=True, slots=True)
class Visit:
    """One user in one training step."""

    user: int
    pairs: tuple[int, ...]
    """Indices of the user's pairs that reward all summaries of this visit."""
    place: str
    """Seeds the random numbers of the visit."""


def tokenize_users(
    tokenizer: Any,
    users: Sequence[SummarisedUser],
    with_summary: WithSummary,
    *,
    summary_tokens: int,
    max_length: int,
) -> list[TokenUser]:
    """Return the users in tokens; raises `UserError` for users without pairs and for invalid pairs."""
    pairs = [pair for user in users for pair in user.pairs]
    summary_prompts = encode_prompts(tokenizer, [user.summary_prompt for user in users])
    query_ids = encode_prompts(tokenizer, [with_summary(pair.prompt, "") for pair in pairs])
    with_short_summary = encode_prompts(tokenizer, [with_summary(pair.prompt, "a") for pair in pairs])
    chosen = encode_answers(tokenizer, [pair.chosen for pair in pairs])
    rejected = encode_answers(tokenizer, [pair.rejected for pair in pairs])
    found: list[TokenUser] = []
    at = 0
    for user, prompt in zip(users, summary_prompts, strict=True):
        if not user.pairs:
            raise UserError(
                f'user "{user.user_id}" has no held-out pair',
                hint="remove the user, or hold out one of their pairs",
            )
        _check_length(f'the signals of user "{user.user_id}"', len(prompt), summary_tokens, max_length)
        held_out = []
        for number, pair in enumerate(user.pairs, start=1):
            name = f'user "{user.user_id}", held-out pair {number}'
            _check_answers(name, pair, chosen[at], rejected[at])
            longest = summary_tokens + max(len(chosen[at]), len(rejected[at]))
            _check_length(name, len(with_short_summary[at]), longest, max_length)
            held_out.append(HeldOutPair(pair.prompt, query_ids[at], chosen[at], rejected[at]))
            at += 1
        found.append(TokenUser(prompt, tuple(held_out)))
    return found


def plan_visits(
    users: Sequence[TokenUser],
    *,
    batch_size: int,
    pairs: int,
    epochs: float,
    max_steps: int | None,
    group_by_length: bool,
    seed: int,
) -> list[Visit]:
    """Return the visits of the whole training, `batch_size` per step."""
    schedule = make_schedule(
        [len(user.summary_prompt) for user in users],
        batch_size=batch_size,
        seed=seed,
        epochs=epochs,
        max_steps=max_steps,
        group_by_length=group_by_length,
        whole_batches=True,  # the loss is a mean over users: in a smaller batch each would weigh more
    )
    return [visit(users, user, str(place), pairs, seed) for place, user in enumerate(schedule.order)]


def visit(users: Sequence[TokenUser], user: int, place: str, pairs: int, seed: int) -> Visit:
    """Return a visit of `user` with at most `pairs` of their pairs, sampled by seed and `place`."""
    own = range(len(users[user].pairs))
    drawn = random.Random(f"{seed}/pairs/{place}").sample(own, min(pairs, len(own)))
    return Visit(user, tuple(drawn), place)


def users_fingerprint(users: Sequence[SummarisedUser]) -> str:
    """Return a digest of the users' texts in order."""
    digest = hashlib.sha256()
    for user in users:
        texts = [user.summary_prompt]
        texts += [text for pair in user.pairs for text in (pair.prompt, pair.chosen, pair.rejected)]
        for text in texts:
            digest.update(f"{len(text)}\0{text}\0".encode())
        digest.update(b"\1")
    return digest.hexdigest()


def _check_answers(name: str, pair: TrainingPair, chosen: list[int], rejected: list[int]) -> None:
    if not pair.chosen.strip() or not pair.rejected.strip():
        which = "rejected" if pair.chosen.strip() else "chosen"
        raise UserError(f"{name}: {which} is empty, expected an answer", hint="remove such pairs")
    if chosen == rejected:
        raise UserError(
            f'{name}: chosen and rejected are the same ("{pair.chosen[:60]}")',
            hint="remove such pairs: they express no preference",
        )


def _check_length(name: str, prompt: int, answer: int, max_length: int) -> None:
    if prompt + answer > max_length:
        raise UserError(
            f"{name}: the prompt has {prompt} tokens and its completion up to {answer}, "
            f"expected at most {max_length} together",
            hint="raise max_length, or lower data.signal_tokens or joint.max_summary_tokens",
        )
