"""Slack's export: a folder with `users.json` and a folder per channel, with a file per day."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from personakit.data.own.chats import Message
from personakit.data.own.exports import load
from personakit.data.own.records import Person
from personakit.data.skips import SkipCounts
from personakit.errors import UserError

NO_TEXT = "messages left out because they have no text (files, members, topics)"
BY_BOTS = "messages left out because a bot wrote them"
_TEXTS = frozenset({None, "thread_broadcast", "me_message"})
_MENTION = re.compile(r"<@(\w+)(?:\|([^>]+))?>")
_LINK = re.compile(r"<(?P<kind>[@#!]?)(?P<target>[^|>]+)(?:\|(?P<label>[^>]*))?>")


def recognises(source: Path) -> bool:
    """Return whether a folder has the files of Slack's export."""
    kinds = ("channels", "groups", "dms", "mpims")
    return (source / "users.json").is_file() and any((source / f"{kind}.json").is_file() for kind in kinds)


def read(source: Path, counts: SkipCounts) -> Iterator[Message]:
    """Yield the messages, channel by channel; a thread is a chat of its own."""
    if not (source / "users.json").is_file():
        raise UserError(
            f"{source} is no folder with users.json, expected Slack's export", hint="remove --format"
        )
    users = {user.id: user for user in _users(source / "users.json")}
    for channel in sorted(path for path in source.iterdir() if path.is_dir()):
        threads: dict[str, list[Message]] = {}
        for day in sorted(channel.glob("*.json")):
            messages = load(day)
            if not isinstance(messages, list):
                raise UserError(f"{day} is no list of messages", hint="export it again")
            for number, raw in enumerate(messages, start=1):
                place = f"{day}, message {number}"
                message = _message(raw, users, channel.name, place, counts)
                if message is not None:
                    threads.setdefault(message.chat, []).append(message)
        for thread in threads.values():
            yield from sorted(thread, key=lambda message: message.time)


def _message(
    raw: Any, users: Mapping[str, Person], channel: str, place: str, counts: SkipCounts
) -> Message | None:
    text = _text(str(raw.get("text") or ""), users) if isinstance(raw, dict) else ""
    if isinstance(raw, dict) and raw.get("bot_id"):
        counts.add(BY_BOTS, place)
    elif (
        not text.strip()
        or raw.get("subtype") not in _TEXTS
        or "user" not in raw
        or not _is_time(raw.get("ts"))
    ):
        counts.add(NO_TEXT, place)
    else:
        thread = str(raw.get("thread_ts") or "")
        user = str(raw["user"])
        time = datetime.fromtimestamp(float(raw["ts"]), UTC).replace(tzinfo=None)
        mentioned = _MENTION.findall(str(raw["text"]))
        people = tuple(users.get(id, Person(id, label)) for id, label in mentioned)
        return Message(users.get(user, Person(user)), text, time, f"{channel} {thread}", place, people=people)
    return None


def _is_time(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"\d{9,11}(\.\d+)?", value) is not None


def _users(path: Path) -> Iterator[Person]:
    for user in load(path):
        if isinstance(user, dict) and "id" in user:
            profile = user.get("profile") or {}
            yield Person(
                str(user["id"]),
                str(profile.get("real_name") or user.get("real_name") or user.get("name") or ""),
            )


def _text(text: str, users: Mapping[str, Person]) -> str:
    """Return a text with mentions as names, links as their label or address, and plain characters."""

    def shown(found: re.Match[str]) -> str:
        kind, target, label = found["kind"], found["target"], found["label"]
        if kind == "@":
            return f"@{users[target].name}" if target in users else f"@{label or target}"
        return (label or target) if kind != "!" else f"@{label or target}"

    return html.unescape(_LINK.sub(shown, text))
