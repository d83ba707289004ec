"""Telegram's export as JSON (`result.json`): one chat, or all chats of an account."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from personakit.data.own.chats import ChatArchive, Message
from personakit.data.own.exports import begins_with, json_file, load, needed_file
from personakit.data.own.records import Archive, Person
from personakit.data.skips import SkipCounts
from personakit.errors import UserError

FILE = "result.json"
_FORM = (
    rb'^\s*\{\s*"(?:about|name|personal_information)"(?s:.)*"(?:personal_information|from_id|date_unixtime)"'
)
NO_TEXT = "messages left out because they have no text (media, calls, members)"
FORWARDED = "messages left out because they are forwarded"
BY_BOTS = "messages left out because a bot wrote them"


def recognises(source: Path) -> bool:
    """Return whether a file, or `result.json` in a folder, has the form of Telegram's export."""
    path = json_file(source, FILE)
    return path is not None and begins_with(path, _FORM)


def open_export(source: Path, counts: SkipCounts) -> Archive:
    """Open an export. Raises `UserError` if it is cut off or has another form."""
    path = needed_file(source, FILE)
    document = load(path)
    document = document if isinstance(document, dict) else {}
    chats = (document.get("chats") or {}).get("list") or [document]
    messages = [chat for chat in chats if isinstance(chat, dict) and isinstance(chat.get("messages"), list)]
    if not messages:
        raise UserError(f"{path} has no chat with messages", hint="export it again, as machine-readable JSON")
    owner = (document.get("personal_information") or {}).get("user_id")
    return ChatArchive(
        lambda found: _messages(path, messages, found),
        counts,
        None if owner is None else Person(f"user{owner}"),
    )


def _messages(path: Path, chats: list[dict[str, Any]], counts: SkipCounts) -> Iterator[Message]:
    for chat in chats:
        name = str(chat.get("id", chat.get("name")))
        for number, each in enumerate(chat["messages"], start=1):
            raw = each if isinstance(each, dict) else {}
            place = f"{path}, chat {name}, message {raw.get('id', number)}"
            text = _text(raw.get("text") or "")
            writer, time = raw.get("from_id"), _time(raw)
            if raw.get("forwarded_from"):
                counts.add(FORWARDED, place)
            elif raw.get("via_bot") or str(writer).startswith("channel"):
                counts.add(BY_BOTS, place)
            elif raw.get("type") != "message" or not text.strip() or writer is None or time is None:
                counts.add(NO_TEXT, place)
            else:
                yield Message(
                    Person(str(writer), str(raw.get("from") or "")),
                    text,
                    time,
                    name,
                    place,
                    id=str(raw.get("id")),
                    answers=str(raw["reply_to_message_id"]) if "reply_to_message_id" in raw else None,
                )


def _text(value: Any) -> str:
    """Return a text, which is in parts where it has links or bold words."""
    parts = value if isinstance(value, list) else [value]
    return "".join(str(part.get("text", "")) if isinstance(part, dict) else str(part) for part in parts)


def _time(raw: dict[str, Any]) -> datetime | None:
    try:
        return datetime.fromisoformat(raw["date"]).replace(tzinfo=None)
    except (KeyError, TypeError, ValueError):
        return None
