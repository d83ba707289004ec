"""Whose signals a query is answered with, where the data holds preferences and no questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personakit.cli.output import note
from personakit.cli.preferences import find_user
from personakit.errors import UserError
from personakit.records import PreferenceUser, Profile, Query

if TYPE_CHECKING:
    from personakit.data.preferences import PreferenceStore


class PreferenceHistories:
    """Finds the signals of each query of one call, as `histories.Histories` finds histories."""

    def __init__(
        self, data: str, split: str, *, user: str | None = None, profile: Path | None = None
    ) -> None:
        self.data, self.split, self.user, self.profile = data, split, user, profile

    def ask(
        self,
        text: str,
        task: str | None,
        *,
        id: str = "query",
        user: str | None = None,
        profile: Path | Sequence[Mapping[str, Any]] | None = None,
    ) -> tuple[Query, Profile]:
        """Return the request that `text` is, and the signals for it; `user` and `profile` are its own."""
        if not text.strip():
            raise UserError(
                "the query is empty, expected a text", hint='for example personakit infer "a tip"'
            )
        person = self._person(user, profile)
        return self._query(text.strip(), id, person), self._profile(person)

    def sample(self, task: str | None) -> tuple[Query, Profile]:
        """Return a held-out request of the user, by default of the first of the data."""
        if self.profile is not None:
            raise UserError(
                f"--profile {self.profile} was given without a query",
                hint="say what is asked, or - to read it from stdin",
            )
        person = find_user(self._store, self.data, self.split, self.user)
        return self._query(person.pairs[0].prompt, f"{person.user_id}/1", person), self._profile(person)

    @cached_property
    def _store(self) -> PreferenceStore:
        from personakit.data.preferences import open_preferences

        return open_preferences(self.data, self.split)

    def _person(
        self, user: str | None, profile: Path | Sequence[Mapping[str, Any]] | None
    ) -> PreferenceUser | None:
        from personakit.data.preferences.signal_file import read_signal_file

        if profile is not None and not isinstance(profile, Path):
            raise UserError(
                "signals inside a batch line are not read from preference data",
                hint='name a file of them as "profile", or a "user" of the data',
            )
        user = user or (None if profile is not None else self.user)
        if user is not None:
            return find_user(self._store, self.data, self.split, user)
        source = profile or self.profile
        if source is None:
            return None
        person, skipped = read_signal_file(source)
        for reason, skip in skipped.items():
            note(f"left out of {source}: {skip.count} {reason} (first: {skip.first})")
        return person

    def _query(self, text: str, id: str, person: PreferenceUser | None) -> Query:
        user = "" if person is None else person.user_id
        return Query(id, "preference", text, text, user)

    def _profile(self, person: PreferenceUser | None) -> Profile:
        from personakit.data.preferences.profiles import as_profile

        return Profile("", ()) if person is None else as_profile(person.user_id, person.signals)
