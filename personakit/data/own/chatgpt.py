"""ChatGPT's export (`conversations.json`): what its user wrote, and what it answers.

A conversation is a tree, because messages can be edited; read is the branch that was open last. A first
message answers nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from personakit.data.json_stream import stream_list
from personakit.data.own.exports import begins_with, json_file, needed_file
from personakit.data.own.records import ONLY_PERSON, Record, date_or_none
from personakit.data.skips import SkipCounts
from personakit.errors import UserError

FILE = "conversations.json"
NO_TEXT = "messages left out because they have no text (pictures, files, settings)"
BROKEN = "conversations left out because their messages are missing"


def recognises(source: Path) -> bool:
    """Return whether a file, or `conversations.json` in a folder, has the form of ChatGPT's export."""
    path = json_file(source, FILE)
    return path is not None and begins_with(path, rb'^\s*\[\s*\{(?s:.)*"mapping"\s*:\s*\{')


def read(source: Path, counts: SkipCounts) -> Iterator[Record]:
    """Yield the user's messages, conversation by conversation, at the memory of one."""
    path = needed_file(source, FILE)
    if not begins_with(path, rb"^\s*\["):
        raise UserError(f"{path} is no list of conversations", hint="export it again, or remove --format")
    for number, conversation in enumerate(stream_list(path), start=1):
        place = f"{path}, item {number}"
        branch = list(_branch(conversation)) if isinstance(conversation, dict) else []
        if not branch:
            counts.add(BROKEN, place)
        asked = None
        for message in branch:
            role = (message.get("author") or {}).get("role")
            text = _text(message.get("content"))
            if role == "user" and not text:
                counts.add(NO_TEXT, place)
            elif role == "user":
                time = message.get("create_time") or conversation.get("create_time")
                yield Record(ONLY_PERSON, text, place, date=date_or_none(time), request=asked)
            if role in ("user", "assistant") and text:
                asked = text if role == "assistant" else None


def _branch(conversation: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """Return the messages of the branch that was open last, the first one first."""
    nodes = conversation.get("mapping")
    if not isinstance(nodes, dict) or not nodes:
        return []
    place = conversation.get("current_node") or next(reversed(nodes))
    messages, seen = [], set()
    while isinstance(node := nodes.get(place), dict) and place not in seen:
        seen.add(place)
        if isinstance(node.get("message"), dict):
            messages.append(node["message"])
        place = node.get("parent")
    return reversed(messages)


def _text(content: Any) -> str:
    if not isinstance(content, dict) or content.get("content_type") not in ("text", "multimodal_text"):
        return ""
    return "\n".join(part for part in content.get("parts") or () if isinstance(part, str)).strip()
