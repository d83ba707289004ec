"""The table of sources of own texts. A new one is a file that yields records, and a line here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from personakit.data.folders import imported_format
from personakit.data.json_stream import unreadable
from personakit.data.own import chatgpt, git, mail, mbox, notes, slack, telegram, whatsapp
from personakit.data.own.chats import ChatArchive, Message
from personakit.data.own.pairs import open_pairs, open_profile
from personakit.data.own.records import Archive, Record, SimpleArchive
from personakit.data.skips import SkipCounts
from personakit.errors import UserError

Open = Callable[[Path, SkipCounts, Mapping[str, str]], Archive]


@dataclass(frozen=True, slots=True)
class Source:
    """A kind of source. `recognises` looks at the content; a table is recognised by its columns instead.

    `strangers` says that most of its writers may be unknown to the chosen one, such as newsletters: only the
    people of the texts have names that are replaced. `files` are those of a folder that its reader takes,
    also without a suffix of its own.
    """

    recognises: Callable[[Path], bool]
    open: Open
    strangers: bool = False
    files: Callable[[Path], Iterable[Path]] = lambda source: ()


def _simple(read: Callable[[Path, SkipCounts], Iterator[Record]]) -> Open:
    return lambda source, counts, columns: SimpleArchive(partial(read, source), counts)


def _chat(read: Callable[[Path, SkipCounts], Iterator[Message]]) -> Open:
    return lambda source, counts, columns: ChatArchive(partial(read, source), counts)


#: In the order in which they are tried: a repository may hold notes, an export folder text files.
SOURCES: Mapping[str, Source] = {
    "git": Source(git.recognises, lambda source, counts, columns: git.GitArchive(source, counts)),
    "mail": Source(
        mail.recognises,
        lambda source, counts, columns: mail.MailArchive(source, counts),
        strangers=True,
        files=mbox.message_files,
    ),
    "chatgpt": Source(chatgpt.recognises, _simple(chatgpt.read)),
    "telegram": Source(
        telegram.recognises, lambda source, counts, columns: telegram.open_export(source, counts)
    ),
    "slack": Source(slack.recognises, _chat(slack.read)),
    "whatsapp": Source(whatsapp.recognises, _chat(whatsapp.read), files=whatsapp.text_files),
    "notes": Source(notes.recognises, _simple(notes.read), files=notes.files),
    "pairs": Source(lambda source: False, open_pairs),
    "profile": Source(lambda source: False, open_profile),
}

NOT_READ = "text files left out: import them on their own (--format notes)"


def recognise(source: Path) -> str | None:
    """Return the name of the source that a file or folder is by its content, or None."""
    try:
        if not source.exists():
            return None
        return next((name for name, each in SOURCES.items() if each.recognises(source)), None)
    except OSError as error:
        raise unreadable(source, error) from error


def count_others(source: Path, format: str, counts: SkipCounts) -> None:
    """Count the files and folders in a folder that are sources of another format, so are not read.

    A repository is its history, whatever files it has.
    """
    if format == "git" or not source.is_dir():
        return
    others: list[Path] = []
    for path in sorted(source.iterdir()):
        with suppress(UserError):  # a file that cannot be read
            found = recognise(path) if path.is_file() or path.is_dir() else None
            if found not in (None, format, "notes"):
                counts.add(f"{found} sources left out: import them on their own", str(path))
                others.append(path)
    read = set(SOURCES[format].files(source))
    for path in notes.files(source):
        if path not in read and not any(map(path.is_relative_to, others)):
            counts.add(NOT_READ, str(path))


def holds_own_texts(path: str | Path) -> bool:
    """Return whether a data folder was imported from one writer's texts, whose newest are held out."""
    return imported_format(path) in SOURCES
