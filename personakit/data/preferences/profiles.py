"""A user's signals as a profile, and back: what a `Personalizer` is handed is always a profile.

A pair is an item with the fields `prompt`, `chosen` and `rejected`, a comment one with `comment` alone, a
line about the user one with `about`; history items stay as they are. Retrieval reads of a pair what was asked
and what was preferred.
"""

from __future__ import annotations

from collections.abc import Iterator

from personakit.records import PreferencePair, Profile, ProfileItem, Signals

_PAIR = {"prompt", "chosen", "rejected"}
_COMMENT = {"comment"}
_ABOUT = {"about"}


def as_profile(user_id: str, signals: Signals) -> Profile:
    """Return a user's signals as a profile; `as_signals` gives them back."""
    return Profile(user_id, tuple(_items(signals)))


def as_signals(profile: Profile) -> Signals:
    """Return a profile as signals; items that are no pair, comment or line about the user are history."""
    pairs, comments, about, items = [], [], [], []
    for item in profile.items:
        fields = item.fields
        if fields.keys() == _PAIR:
            pairs.append(
                PreferencePair(profile.user_id, fields["prompt"], fields["chosen"], fields["rejected"])
            )
        elif fields.keys() == _COMMENT:
            comments.append(fields["comment"])
        elif fields.keys() == _ABOUT:
            about.append(fields["about"])
        else:
            items.append(item)
    return Signals(tuple(pairs), tuple(comments), tuple(about), tuple(items))


def _items(signals: Signals) -> Iterator[ProfileItem]:
    for number, line in enumerate(signals.about, start=1):
        yield ProfileItem(f"about-{number}", {"about": line}, line)
    for number, comment in enumerate(signals.comments, start=1):
        yield ProfileItem(f"comment-{number}", {"comment": comment}, comment)
    yield from signals.items
    for number, pair in enumerate(signals.pairs, start=1):
        fields = {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
        yield ProfileItem(f"pair-{number}", fields, f"{pair.prompt} {pair.chosen}")
