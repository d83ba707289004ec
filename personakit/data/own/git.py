"""A git history: the messages of a writer's commits, each asked for by what it changes."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from personakit.data.own.records import IsMe, Person, Record, date_or_none
from personakit.data.skips import SkipCounts, counted
from personakit.errors import UserError

ASKED = "Write the message of a commit that changes {summary}:\n{files}"
MAX_FILES = 12
_COMMIT, _FIELD = "\x1e", "\x1f"
_FORMAT = _COMMIT + _FIELD.join(("%H", "%aN", "%aE", "%aI", "%B")) + _FIELD
#: Lines for machines at the end: `Signed-off-by:`, `Change-Id:`, and how they go on; not `Note: ...`.
_TRAILERS = re.compile(
    r"\n+(?:(?:(?:[A-Z][A-Za-z]*(?:-[A-Za-z]+)+|Bug|Cc|Closes|Fixes|Issue|Link|Refs|git-svn-id): ?\S[^\n]*"
    r"|\(cherry picked from [^\n]*)(?:\n[ \t]+[^\n]*)*(?:\n|\Z))+\Z"
)
BY_BOTS = "commits left out because a bot wrote them"
_REVERT = re.compile(r'Revert "|.*This reverts commit ', re.DOTALL)
_MARKED = re.compile(r"(?:fixup|squash|amend)! ")


def recognises(source: Path) -> bool:
    """Return whether a folder is a git repository, with a working tree or without one."""
    return (source / ".git").exists() or all((source / name).exists() for name in ("HEAD", "objects", "refs"))


@dataclass(frozen=True, slots=True)
class GitArchive:
    """The commits before HEAD, without merges; names and addresses as the repository's mailmap has them."""

    source: Path
    counts: SkipCounts

    def writers(self) -> Iterable[Person]:
        """Yield the author of each commit, but for bots."""
        return (author for author in self._authors() if not _is_bot(author))

    def _authors(self) -> Iterator[Person]:
        for line in _git(self.source, "log", "--no-merges", "--format=%aE\x1f%aN"):
            address, _, name = line.rstrip("\n").partition(_FIELD)
            yield Person(address.casefold(), name)

    def records(self, is_me: IsMe) -> Iterator[Record]:
        """Yield the chosen authors' commits; count those of bots."""
        authors = Counter(self._authors())
        for author, commits in authors.items():
            if _is_bot(author):
                self.counts.add(BY_BOTS, f"{self.source}, by {author.name}", commits)
        chosen = sorted({author.id for author in authors if is_me(author)})
        options = [f"--author=<{address}>" for address in chosen]
        lines = _git(
            self.source,
            "log",
            "--no-merges",
            "-i",
            "-F",
            *options,
            f"--format={_FORMAT}",
            "--numstat",
            "--no-renames",
        )
        for commit in _commits(lines):
            hash, name, address, date, message, changes = commit.split(_FIELD, 5)
            writer = Person(address.casefold(), name)
            if is_me(writer):
                yield _record(writer, f"{self.source}, commit {hash[:10]}", date, message, changes)

    def owner(self) -> Person | None:
        """Return None: the history is of all its authors."""
        return None


def _is_bot(author: Person) -> bool:
    return author.name.endswith("[bot]")


def _record(writer: Person, place: str, date: str, message: str, changes: str) -> Record:
    skipped = None
    if _REVERT.match(message):
        skipped = "reverts, whose text git writes"
    elif _MARKED.match(message):
        skipped = "commits to be merged into others (fixup!)"
    text = _TRAILERS.sub("", message.rstrip())
    return Record(
        writer, text, place, date=date_or_none(date), request=_request(changes.splitlines()), skipped=skipped
    )


def _request(changes: Sequence[str]) -> str | None:
    rows = [line.split("\t", 2) for line in changes if line.count("\t") >= 2]
    if not rows:
        return None
    added, removed = (sum(int(row[side]) for row in rows if row[side].isdecimal()) for side in (0, 1))
    files = counted(len(rows), "files")
    shown = [
        f"{path} (binary)" if plus == "-" else f"{path} (+{plus} -{minus})"
        for plus, minus, path in rows[:MAX_FILES]
    ]
    if len(rows) > MAX_FILES:
        shown.append(f"and {len(rows) - MAX_FILES} more")
    return ASKED.format(summary=f"{files} (+{added} -{removed})", files="\n".join(shown))


def _commits(lines: Iterable[str]) -> Iterator[str]:
    parts: list[str] = []
    for line in lines:
        if line.startswith(_COMMIT):
            if parts:
                yield "".join(parts)
            parts = [line[1:]]
        else:
            parts.append(line)
    if parts:
        yield "".join(parts)


def _git(source: Path, *arguments: str) -> Iterator[str]:
    """Yield the lines that git prints. Raises `UserError` with git's own message where it fails."""
    command = [
        "git",
        "-c",
        "core.quotePath=false",
        "-c",
        "log.showSignature=false",
        "-C",
        str(source),
        *arguments,
    ]
    try:
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            yield from process.stdout
            said = " ".join(process.stderr.read().split())
    except FileNotFoundError as error:
        raise UserError(
            f"{source} is a git repository, and git is not installed", hint="install git"
        ) from error
    if process.returncode:
        raise UserError(
            f"{source}: git cannot read the history ({said})", hint="check it with `git log` in the folder"
        )
