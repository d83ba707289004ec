"""A user's summary: inferred once from what they have shown, never from what they ask.

`Inferred` summaries come from a model (`Summariser`), or are given (`GivenSummaries`): by an oracle, by hand,
by another program. Both are `ContextProvider`s, so that whatever takes a context takes a summary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from personakit.contracts import LanguageModel
from personakit.data.preferences.profiles import as_signals
from personakit.errors import UserError
from personakit.records import Context, Profile, Query, Signals
from personakit.tasks.signals import KINDS, Dropped, SignalWording, summary_prompt


@dataclass(frozen=True, slots=True)
class Inferred:
    """A summary, what it took to write it (tokens of prompt and summary), and which signals did not fit."""

    text: str = ""
    tokens: int = 0
    dropped: Dropped = field(default_factory=dict)


class Summaries(Protocol):
    """Whoever has a summary for each user."""

    def summaries(self, profiles: Sequence[Profile]) -> list[Inferred]:
        """Return each profile's summary; "" where nothing is known of the user."""
        ...


class _Told:
    """A `ContextProvider` whose context is the user's summary."""

    def context(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Context]:
        """Return each user's summary; the queries are not read."""
        return [Context(summary=each.text or None) for each in self.summaries(profiles)]

    def summaries(self, profiles: Sequence[Profile]) -> list[Inferred]:
        """Return each profile's summary."""
        raise NotImplementedError


@dataclass
class Summariser(_Told):
    """Infers summaries with POPI's inference model, or with any model that is asked for one.

    Greedily, so that the same signals have the same summary. Put `model` behind the answer cache
    (`models.cache.CachedModel`), and each is written once for good: the cache knows a summary by the model's
    fingerprint and the prompt, so another user's signals, or signals that have changed, never get it.
    """

    model: LanguageModel
    wording: SignalWording
    signal_tokens: int
    """The prompt's budget: signals are dropped whole to fit, and counted."""
    summary_tokens: int
    """A summary is cut off here."""

    _latest: tuple[Sequence[Profile], list[Inferred]] = field(default=((), []), init=False, repr=False)

    def summaries(self, profiles: Sequence[Profile]) -> list[Inferred]:
        """Return each profile's summary; without a signal that fits there is none to infer.

        Asked for the same profiles again (to answer, then to score), nothing is worded or looked up anew.
        """
        known, found = self._latest
        if len(known) != len(profiles) or any(
            one is not other for one, other in zip(known, profiles, strict=True)
        ):
            found = self.infer([as_signals(profile) for profile in profiles])
            self._latest = (tuple(profiles), found)
        return found

    def infer(self, signals: Sequence[Signals]) -> list[Inferred]:
        """Do the same for signals."""
        asked = [self.prompt(each) for each in signals]
        prompts = list(dict.fromkeys(prompt for prompt, _ in asked if prompt))
        written = self.model.generate(prompts, max_new_tokens=self.summary_tokens) if prompts else []
        texts = {prompt: texts[0].strip() for prompt, texts in zip(prompts, written, strict=True)}
        count = self.model.count_tokens
        return [
            Inferred(texts[prompt], count(prompt) + count(texts[prompt]), dropped)
            if prompt
            else Inferred(dropped=dropped)
            for prompt, dropped in asked
        ]

    @property
    def fingerprint(self) -> str:
        """What the model is known by: summaries of other weights are others."""
        return str(getattr(self.model, "fingerprint", ""))

    def update(self, summary: str, news: Signals) -> Inferred:
        """Return the summary after new signals: inferred from the old one and the news alone.

        The old summary stands among the signals as a line about the user, which is never dropped before
        others. What it does not say of the older signals is gone.
        """
        return self.infer([replace(news, about=(summary, *news.about) if summary.strip() else news.about)])[0]

    def prompt(self, signals: Signals) -> tuple[str, Dropped]:
        """Return what the model is asked, "" where no signal fits, and what was dropped to fit."""
        prompt, dropped = summary_prompt(
            signals,
            count_tokens=self.model.count_tokens,
            max_length=self.signal_tokens,
            wording=self.wording,
        )
        given = sum(len(getattr(signals, kind)) for kind in KINDS)
        return (prompt if given > sum(dropped.values()) else ""), dropped


@dataclass(frozen=True)
class GivenSummaries(_Told):
    """Summaries that are there already, by user; a user without one has "".

    A control given another user's profile asks for that user's.
    """

    texts: Mapping[str, str]

    def summaries(self, profiles: Sequence[Profile]) -> list[Inferred]:
        """Return each user's."""
        return [Inferred(self.texts.get(profile.user_id, "")) for profile in profiles]


@dataclass(frozen=True)
class OneSummary(_Told):
    """One user's summary, carried here; whose it is may be unknown ("")."""

    text: str
    user_id: str = ""

    def summaries(self, profiles: Sequence[Profile]) -> list[Inferred]:
        """Return it for each profile of that user; raises `UserError` for another user's."""
        for profile in profiles:
            if profile.user_id and self.user_id and profile.user_id != self.user_id:
                raise UserError(
                    f'the summary is of user "{self.user_id}", and user "{profile.user_id}" asks',
                    hint=f"ask as --user {self.user_id}, or import another summary",
                )
        return [Inferred(self.text)] * len(profiles)
