"""Converts signals to a profile and back, because every `Personalizer` takes a profile.

A pair becomes an item with the fields `prompt`, `chosen` and `rejected`, a comment one with `comment`, a line
about the user one with `about`. History items are unchanged. Retrieval indexes the prompt and the chosen
answer of a pair.
"""

from __future__ import annotations

from collections.abc import Iterator

from personakit.records import PreferencePair, Profile, ProfileItem, Signals

_PAIR = {"prompt", "chosen", "rejected"}
_COMMENT = {"comment"}
_ABOUT = {"about"}
SIGNAL_FORMS = (_PAIR, _COMMENT, _ABOUT)
"""The fields of items that are signals."""


def as_profile(user_id: str, signals: Signals) -> Profile:
    """Return a user's signals as a profile. `as_signals` is the inverse."""
    return Profile(user_id, tuple(_items(signals)))


def as_signals(profile: Profile) -> Signals:
    """Return a profile as signals. All items of other forms are history items."""
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
