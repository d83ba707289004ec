"""Small profiles and queries for the retrieval tests."""

from __future__ import annotations

from collections.abc import Sequence

from personakit.records import Profile, ProfileItem, Query


def profile_of(*documents: str, user_id: str = "u", dates: Sequence[str | None] | None = None) -> Profile:
    """A profile whose items are called i0, i1, ... in order."""
    given = dates or [None] * len(documents)
    items = (
        ProfileItem(f"i{number}", {"text": text}, text, date)
        for number, (text, date) in enumerate(zip(documents, given, strict=True))
    )
    return Profile(user_id, tuple(items))


def query_of(text: str, id: str = "q", user_id: str = "u") -> Query:
    return Query(id, "LaMP_3", f"review: {text}", text, user_id)


def ids(context: object) -> list[str]:
    return [item.id for item in context.items]  # type: ignore[attr-defined]
