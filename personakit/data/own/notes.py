"""A folder of Markdown or text files, or one of them: each is a text, long ones several.

The title (of the front matter, the first heading, else the file's name) is what the text is asked for. Code
blocks and quotes are left out. Dates are those of the front matter or of names such as `2024-03-05-title.md`;
a file that has neither has the time of its last change.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from personakit.data.own.records import ONLY_PERSON, Person, Record, date_or_none
from personakit.data.skips import SkipCounts

MARKDOWN = (".md", ".markdown")
SUFFIXES = (*MARKDOWN, ".txt", ".text")
TITLED = "Write a text with the title: {title}"
NOT_TEXT = "files left out because they are not UTF-8"
BY_CHANGE = "files dated by their last change, because they have no date in them"
#: A longer text is cut between paragraphs: a model reads a few hundred words at a time.
PIECE = 3_000
_FRONT = re.compile(r"---[ \t]*\n(?P<front>.*?)\n(?:---|\.\.\.)[ \t]*\n", re.DOTALL)
_FIELD = re.compile(r"^(?P<key>title|date|author):[ \t]*(?P<value>.+?)[ \t]*$", re.MULTILINE | re.IGNORECASE)
_HEADING = re.compile(r"\s*#{1,6}[ \t]+(?P<title>[^\n]+?)[ \t#]*\n")
_CODE = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.MULTILINE | re.DOTALL)
_QUOTE = re.compile(r"^[ \t]{0,3}>.*\n?", re.MULTILINE)
_NAMED_DATE = re.compile(r"(\d{4}-\d\d-\d\d)[-_ ]*")


def recognises(source: Path) -> bool:
    """Return whether a folder has Markdown or text files, or is a Markdown file: others may be anything."""
    if source.is_file():
        return source.name.casefold().endswith(MARKDOWN)
    return next(files(source), None) is not None


def read(source: Path, counts: SkipCounts) -> Iterator[Record]:
    """Yield the texts of a folder, sorted by path."""
    for path in files(source):
        note = _note(path, counts)
        if note is None:
            continue
        date = note.date
        if date is None:
            counts.add(BY_CHANGE, str(note.path))
            date = date_or_none(datetime.fromtimestamp(note.path.stat().st_mtime, UTC))
        for number, piece in enumerate(_pieces(note.text), start=1):
            request = TITLED.format(title=note.title) if number == 1 else None
            place = f"{note.path}, part {number}"
            yield Record(note.writer, piece, place, date=date, request=request)


def files(source: Path) -> Iterator[Path]:
    """Yield the Markdown and text files of a folder, sorted by path, none hidden; or a file itself."""
    if source.is_file() and source.name.casefold().endswith(SUFFIXES):
        yield source
    for folder, folders, names in os.walk(source):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.casefold().endswith(SUFFIXES) and not name.startswith("."):
                yield Path(folder) / name


@dataclass(frozen=True, slots=True)
class _Note:
    path: Path
    writer: Person
    title: str
    date: str | None
    text: str


def _note(path: Path, counts: SkipCounts) -> _Note | None:
    try:
        text = path.read_text(encoding="utf-8-sig").replace("\r\n", "\n")
    except (UnicodeError, OSError):
        counts.add(NOT_TEXT, str(path))
        return None
    named = _NAMED_DATE.match(path.stem)
    title = (path.stem[named.end() :] if named else path.stem).replace("-", " ").replace("_", " ").strip()
    note = _Note(path, ONLY_PERSON, title or path.stem, named and date_or_none(named[1]), text)
    front = _FRONT.match(text)
    if front is not None:
        fields = {
            each["key"].casefold(): each["value"].strip("\"'") for each in _FIELD.finditer(front["front"])
        }
        note = replace(
            note,
            text=text[front.end() :],
            title=fields.get("title", note.title),
            date=date_or_none(fields["date"]) if "date" in fields else note.date,
            writer=Person.named(fields["author"]) if "author" in fields else note.writer,
        )
    heading = _HEADING.match(note.text + "\n")
    if heading is not None:
        titled = note.title if front and "title:" in front["front"] else heading["title"]
        note = replace(note, title=titled, text=note.text[heading.end() :])
    return replace(note, text=_QUOTE.sub("", _CODE.sub("", note.text)).strip())


def _pieces(text: str) -> Iterator[str]:
    """Yield the paragraphs of a text together, up to `PIECE` characters."""
    piece = ""
    for paragraph in re.split(r"\n{2,}", text):
        if piece and len(piece) + len(paragraph) > PIECE:
            yield piece
            piece = ""
        piece = f"{piece}\n\n{paragraph}" if piece else paragraph
    yield piece
