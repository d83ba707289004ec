"""What the joint trainer is given, in texts and then in tokens, and who is met in which step.

All that is random in a visit follows from its place in the training, so that a resumed run meets the same
users with the same pairs, and samples the same summaries.
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
"""From a request x and a summary z to the generator's prompt, in which z stands first; z "" is none."""


@dataclass(frozen=True, slots=True)
class SummarisedUser:
    """A user to train on: what the inference model is asked, and held-out pairs that judge its summary.

    The pairs' prompts are bare requests, and none of the pairs is shown in `summary_prompt`.
    """

    user_id: str
    summary_prompt: str
    pairs: tuple[TrainingPair, ...]


@dataclass(frozen=True, slots=True)
class TokenUser:
    """The same in tokens."""

    summary_prompt: list[int]
    pairs: tuple[TokenJudge, ...]


@dataclass(frozen=True, slots=True)
class TokenJudge:
    """A held-out pair. The answers include the end of sequence; the prompt waits for its summary."""

    request: str
    bare: list[int]
    """The request without a summary, as the reference sees it."""
    chosen: list[int]
    rejected: list[int]


@dataclass(frozen=True, slots=True)
class Visit:
    """One user in one step."""

    user: int
    pairs: tuple[int, ...]
    """Which of the user's pairs judge all summaries of this visit."""
    place: str
    """Names its random numbers."""


def tokenized(
    tokenizer: Any,
    users: Sequence[SummarisedUser],
    with_summary: WithSummary,
    *,
    summary_tokens: int,
    max_length: int,
) -> list[TokenUser]:
    """Return the users in tokens; raise `UserError` for one that cannot be trained on."""
    every = [pair for user in users for pair in user.pairs]
    asked = encode_prompts(tokenizer, [user.summary_prompt for user in users])
    bare = encode_prompts(tokenizer, [with_summary(pair.prompt, "") for pair in every])
    told = encode_prompts(tokenizer, [with_summary(pair.prompt, "a") for pair in every])
    chosen = encode_answers(tokenizer, [pair.chosen for pair in every])
    rejected = encode_answers(tokenizer, [pair.rejected for pair in every])
    found: list[TokenUser] = []
    at = 0
    for user, prompt in zip(users, asked, strict=True):
        if not user.pairs:
            raise UserError(
                f'user "{user.user_id}" has no held-out pair',
                hint="leave the user out, or hold one of their pairs out",
            )
        _check_room(f'the signals of user "{user.user_id}"', len(prompt), summary_tokens, max_length)
        judges = []
        for number, pair in enumerate(user.pairs, start=1):
            place = f'user "{user.user_id}", held-out pair {number}'
            _check_answers(place, pair, chosen[at], rejected[at])
            longest = summary_tokens + max(len(chosen[at]), len(rejected[at]))
            _check_room(place, len(told[at]), longest, max_length)
            judges.append(TokenJudge(pair.prompt, bare[at], chosen[at], rejected[at]))
            at += 1
        found.append(TokenUser(prompt, tuple(judges)))
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
    """Return the visits of the whole training, `batch_size` a step."""
    schedule = make_schedule(
        [len(user.summary_prompt) for user in users],
        batch_size=batch_size,
        seed=seed,
        epochs=epochs,
        max_steps=max_steps,
        group_by_length=group_by_length,
        whole_batches=True,  # the loss is a mean over users: in a short batch one would weigh more
    )
    return [visit(users, user, str(place), pairs, seed) for place, user in enumerate(schedule.order)]


def visit(users: Sequence[TokenUser], user: int, place: str, pairs: int, seed: int) -> Visit:
    """Return a visit to `user`, judged on at most `pairs` of their pairs, drawn for this place."""
    own = range(len(users[user].pairs))
    drawn = random.Random(f"{seed}/pairs/{place}").sample(own, min(pairs, len(own)))
    return Visit(user, tuple(drawn), place)


def users_fingerprint(users: Sequence[SummarisedUser]) -> str:
    """Return a digest of the users' texts and their order."""
    digest = hashlib.sha256()
    for user in users:
        texts = [user.summary_prompt]
        texts += [text for pair in user.pairs for text in (pair.prompt, pair.chosen, pair.rejected)]
        for text in texts:
            digest.update(f"{len(text)}\0{text}\0".encode())
        digest.update(b"\1")
    return digest.hexdigest()


def _check_answers(place: str, pair: TrainingPair, chosen: list[int], rejected: list[int]) -> None:
    if not pair.chosen.strip() or not pair.rejected.strip():
        which = "rejected" if pair.chosen.strip() else "chosen"
        raise UserError(f"{place}: {which} is empty, expected an answer", hint="leave such pairs out")
    if chosen == rejected:
        raise UserError(
            f'{place}: chosen and rejected are the same ("{pair.chosen[:60]}")',
            hint="leave such pairs out: they say nothing",
        )


def _check_room(place: str, prompt: int, answer: int, max_length: int) -> None:
    if prompt + answer > max_length:
        raise UserError(
            f"{place}: {prompt} tokens, and up to {answer} of what is written to it, "
            f"expected at most {max_length} together",
            hint="raise max_length, lower summary_tokens, or show less",
        )
