"""User summaries: inferred once from a user's signals, never from their queries.

A model infers summaries (`Summariser`), or they are given (`GivenSummaries`, `FixedSummary`): by an oracle,
by hand, by another program. All sources are `ContextProvider`s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from personakit.contracts import LanguageModel
from personakit.data.preferences.profiles import as_signals
from personakit.errors import UserError
from personakit.models.refusal import no_answer_reason
from personakit.records import Context, Profile, Query, Signals
from personakit.tasks.signals import CountTokens, Dropped, SignalWording, none_shown, summary_prompt


@dataclass(frozen=True, slots=True)
class InferredSummary:
    """A summary, the tokens of its prompt and text, and the counts of signals dropped to fit.

    `error` says why there is none if its request failed.
    """

    text: str = ""
    tokens: int = 0
    dropped: Dropped = field(default_factory=dict)
    error: str | None = None


class SummarySource(Protocol):
    """Provides a summary for each user."""

    def summaries(self, profiles: Sequence[Profile]) -> list[InferredSummary]:
        """Return each profile's summary; "" if nothing is known about the user."""
        ...


class _SummaryProvider:
    """A `ContextProvider` whose context is the user's summary."""

    def context(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Context]:
        """Return each user's summary; the queries are ignored."""
        return [Context(summary=each.text or None) for each in self.summaries(profiles)]

    def summaries(self, profiles: Sequence[Profile]) -> list[InferredSummary]:
        """Return each profile's summary."""
        raise NotImplementedError


def inference_prompt(
    signals: Signals, count_tokens: CountTokens, max_length: int, wording: SignalWording
) -> tuple[str, Dropped]:
    """Return the inference model's prompt, and the counts of dropped signals; in training as in evaluation.

    The prompt is "" for a user without signals, or where not even a word of one fits: such a user has no
    summary, and is not trained on.
    """
    prompt, dropped = summary_prompt(
        signals, count_tokens=count_tokens, max_length=max_length, wording=wording
    )
    return "" if none_shown(signals, dropped) else prompt, dropped


@dataclass
class Summariser(_SummaryProvider):
    """Infers summaries with POPI's inference model, or any other model.

    Decoding is greedy: the same signals give the same summary. Put `model` behind the answer cache
    (`models.cache.CachedModel`) to generate each summary once: its key is the model's fingerprint and the
    prompt, so changed signals give a new summary.
    """

    model: LanguageModel
    wording: SignalWording
    signal_tokens: int
    """Maximum prompt length; whole signals are dropped to fit, and counted (`inference_prompt`)."""
    summary_tokens: int
    """Maximum summary length."""

    _latest: tuple[Sequence[Profile], list[InferredSummary]] = field(default=((), []), init=False, repr=False)

    def summaries(self, profiles: Sequence[Profile]) -> list[InferredSummary]:
        """Return each profile's summary; "" if no signal fits into the prompt.

        The latest result is kept: answering and scoring call this with the same profiles.
        """
        latest, found = self._latest
        if len(latest) != len(profiles) or any(
            one is not other for one, other in zip(latest, profiles, strict=True)
        ):
            found = self.infer([as_signals(profile) for profile in profiles])
            self._latest = (tuple(profiles), found)
        return found

    def infer(self, signals: Sequence[Signals]) -> list[InferredSummary]:
        """Return one summary per user's signals; "" if no signal fits into the prompt."""
        users = [self.prompt(each) for each in signals]
        prompts = list(dict.fromkeys(prompt for prompt, _ in users if prompt))
        written = self.model.generate(prompts, max_new_tokens=self.summary_tokens) if prompts else []
        raw = {prompt: texts[0] for prompt, texts in zip(prompts, written, strict=True)}
        texts = {prompt: text.strip() for prompt, text in raw.items()}
        count = self.model.count_tokens
        return [
            InferredSummary(
                texts[prompt],
                count(prompt) + count(texts[prompt]),
                dropped,
                no_answer_reason(raw[prompt]),
            )
            if prompt
            else InferredSummary(dropped=dropped)
            for prompt, dropped in users
        ]

    @property
    def fingerprint(self) -> str:
        """The model's fingerprint; other weights give other summaries."""
        return str(getattr(self.model, "fingerprint", ""))

    def update(self, summary: str, new_signals: Signals) -> InferredSummary:
        """Return the summary inferred from the old summary and new signals only.

        The old summary becomes the first line about the user among the signals, the last kind to be dropped.
        Older signals contribute only through it.
        """
        about = (summary, *new_signals.about) if summary.strip() else new_signals.about
        return self.infer([replace(new_signals, about=about)])[0]

    def prompt(self, signals: Signals) -> tuple[str, Dropped]:
        """Return the model's prompt, "" if no signal fits, and the counts of dropped signals."""
        return inference_prompt(signals, self.model.count_tokens, self.signal_tokens, self.wording)


@dataclass(frozen=True)
class GivenSummaries(_SummaryProvider):
    """Existing summaries by user id; a user without one has "".

    The id is the profile's: a control with another user's profile gets that user's summary.
    """

    texts: Mapping[str, str]

    def summaries(self, profiles: Sequence[Profile]) -> list[InferredSummary]:
        """Return the summary of each profile's user."""
        return [InferredSummary(self.texts.get(profile.user_id, "")) for profile in profiles]


@dataclass(frozen=True)
class FixedSummary(_SummaryProvider):
    """One user's summary; `user_id` is "" if the user is unknown."""

    text: str
    user_id: str = ""

    def summaries(self, profiles: Sequence[Profile]) -> list[InferredSummary]:
        """Return the summary for each profile; raises `UserError` for another user's profile."""
        for profile in profiles:
            if profile.user_id and self.user_id and profile.user_id != self.user_id:
                raise UserError(
                    f'the summary is of user "{self.user_id}", the query of user "{profile.user_id}"',
                    hint=f"use --user {self.user_id}, or import another summary",
                )
        return [InferredSummary(self.text)] * len(profiles)
