"""WhatsApp's "Export chat": a text file, or a folder with one or several and their media.

A message begins with a date, a time and a name, with brackets or a dash as in the first one; other lines go
on with the message above. Android and iOS write them differently, and each in the format of the phone's
region. Whether the day or the month comes first is decided by all dates of the file: a chat goes forward.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from personakit.data.own.chats import Message
from personakit.data.own.records import Person
from personakit.data.skips import SkipCounts
from personakit.errors import UserError

_MARKS = dict.fromkeys(map(ord, "\u200e\u200f\u202a\u202b\u202c\u2068\u2069\ufeff"))
_START = re.compile(
    r"(?P<bracket>\[)?(?P<date>\d{1,4}[./-]\s?\d{1,2}[./-]\s?\d{1,4})\.?,?\s+(?:[^\W\d_]{1,4}\.?\s)?"
    r"(?P<half_before>上午|下午|오전|오후|午前|午後)?\s?"
    r"(?P<time>\d{1,2}[:.]\d\d(?:[:.]\d\d)?)\s?(?P<half>[apAP]\.?\s?[mM]\.?)?\]?\s*(?P<dash>[-–]\s+)?(?P<rest>.*)"
)
_NAMED = re.compile(r"(?P<name>[^:]{1,80}): ?(?P<text>.*)")
_AFTERNOON = frozenset({"下午", "오후", "午後"})
#: What WhatsApp writes instead of a text: `<Media omitted>`, or on iOS a line that begins with a mark.
_PLACEHOLDER = re.compile(r"<[^<>\n]+>|.*\((?:file attached|Datei angehängt|fichier joint|archivo adjunto)\)")
_DELETED = re.compile(
    r"(?:this message was deleted|you deleted this message|diese nachricht wurde gelöscht|"
    r"du hast diese nachricht gelöscht|ce message a été supprimé|eliminaste este mensaje|"
    r"se eliminó este mensaje|questo messaggio è stato eliminato|esta mensagem foi apagada|null)\.?",
    re.IGNORECASE,
)
_EDITED = re.compile(r"\s*<[^<>\n]{3,60}>$")
NO_TEXT = "messages left out because they have no text (media, deleted, calls)"
SYSTEM = "lines of WhatsApp's own left out (members, encryption)"
NO_CHAT = "text files left out because they are no chat"
_READ_FIRST = 20  # lines, to recognise the file


def recognises(source: Path) -> bool:
    """Return whether a file, or a text file of a folder, is an exported chat."""
    return any(map(_is_chat, text_files(source)))


def read(source: Path, counts: SkipCounts) -> Iterator[Message]:
    """Yield the messages, chat by chat. Raises `UserError` if no order of day and month fits all dates."""
    files = text_files(source)
    if len(files) == 1:
        yield from _messages(files[0], counts)
        return
    for path in files:
        if _is_chat(path):
            yield from _messages(path, counts)
        else:
            counts.add(NO_CHAT, str(path))


def text_files(source: Path) -> list[Path]:
    """Return the files that are read, or counted where they are no chat."""
    return sorted(filter(_is_text, source.rglob("*"))) if source.is_dir() else [source]


def _messages(path: Path, counts: SkipCounts) -> Iterator[Message]:
    month_first = _month_first(path)
    for number, found, text in _started(path):
        place = f"{path}, line {number}"
        named = _NAMED.fullmatch(found["rest"])
        if named is None:
            counts.add(SYSTEM, place)
            continue
        is_note = named["text"].startswith("\u200e")
        text = _EDITED.sub("", text).translate(_MARKS).strip()
        first, _, caption = text.partition("\n")
        if _PLACEHOLDER.fullmatch(first.strip()):
            text = caption.strip()
        if is_note or not text or _DELETED.fullmatch(text):
            counts.add(NO_TEXT, place)
            continue
        name = named["name"].translate(_MARKS).strip().removeprefix("~").strip()
        yield Message(Person.named(name), text, _time(found, place, month_first), str(path), place)


def _is_text(path: Path) -> bool:
    return path.suffix.casefold() == ".txt" and path.is_file()


def _is_chat(path: Path) -> bool:
    if not _is_text(path):
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as handle:
        lines = [_without_first_mark(line) for line in itertools.islice(handle, _READ_FIRST)]
    return bool(lines) and bool(_START.fullmatch(lines[0])) and any(map(_is_message, lines))


def _without_first_mark(line: str) -> str:
    return line.rstrip("\r\n").lstrip("\u200e\u200f\ufeff")


def _is_message(line: str) -> bool:
    found = _START.fullmatch(line)
    return found is not None and _NAMED.fullmatch(found["rest"]) is not None


def _started(path: Path) -> Iterator[tuple[int, re.Match[str], str]]:
    """Yield the number and the match of each line that begins a message, with the text of the message."""
    begun: tuple[int, re.Match[str]] | None = None
    lines: list[str] = []
    form: tuple[bool, bool] | None = None
    with path.open(encoding="utf-8-sig", errors="replace") as handle:
        for number, line in enumerate(handle, start=1):
            line = _without_first_mark(line)
            found = _START.fullmatch(line)
            found_form = None if found is None else (bool(found["bracket"]), bool(found["dash"]))
            form = form or found_form
            if found is None or found_form != form:  # such as an appointment inside a message
                lines.append(line)
                continue
            if begun is not None:
                yield *begun, "\n".join(lines)
            named = _NAMED.fullmatch(found["rest"])
            begun, lines = (number, found), [named["text"] if named else ""]
    if begun is not None:
        yield *begun, "\n".join(lines)


def _parts(found: re.Match[str]) -> tuple[int, int, int]:
    first, second, third = re.split(r"[./-]", found["date"])
    return int(first), int(second), int(third)


def _month_first(path: Path) -> bool:
    """Return whether dates have the month first: so none is impossible, and the fewest go back in time."""
    dates = [_parts(found) for _, found, _ in _started(path)]
    steps_back = {}
    for month_first in (False, True):
        read = [_date(each, month_first) for each in dates]
        if all(1 <= month <= 12 and 1 <= day <= 31 for _, month, day in read):
            steps_back[month_first] = sum(later < earlier for earlier, later in itertools.pairwise(read))
    if not steps_back:
        raise UserError(
            f"{path} has dates with the day first and others with the month first, expected one order",
            hint="export the chat again",
        )
    return min(steps_back, key=lambda month_first: (steps_back[month_first], month_first))


def _date(parts: tuple[int, int, int], month_first: bool) -> tuple[int, int, int]:
    """Return year, month and day."""
    first, second, third = parts
    if first > 31:
        return first, second, third
    year = third if third > 99 else 2000 + third
    return (year, first, second) if month_first else (year, second, first)


def _time(found: re.Match[str], place: str, month_first: bool) -> datetime:
    hour, minute, second = (int(part) for part in re.split("[:.]", found["time"] + ":0")[:3])
    half = (found["half"] or "").casefold()
    if half or found["half_before"]:
        hour = hour % 12 + 12 * (half.startswith("p") or found["half_before"] in _AFTERNOON)
    try:
        return datetime(*_date(_parts(found), month_first), hour, minute, second)
    except ValueError as error:
        when = f"{found['date']}, {found['time']}"
        raise UserError(f"{place}: {when} is no date and time", hint="export the chat again") from error
