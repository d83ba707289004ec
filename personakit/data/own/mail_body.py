"""The text of an e-mail: its parts, charsets, and line breaks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.message import Message

from personakit.data.own.html_text import html_text
from personakit.data.own.quotes import ReplyParts, split_reply

_PGP_START = re.compile(r"-----BEGIN PGP SIGNED MESSAGE-----\n(?:\w+: .*\n)*\n?")
_PGP_END = re.compile(r"-----BEGIN PGP SIGNATURE-----.*", re.DOTALL)
_LIST_FOOTER = re.compile(r"\n_{20,}\n.{0,60}mailing list\b.*", re.DOTALL | re.IGNORECASE)
_WIDTH = range(55, 81)  # columns at which programs wrap lines


@dataclass(frozen=True, slots=True)
class Body:
    """What the sender wrote and answers; whether a declared charset was wrong or unknown."""

    reply: ReplyParts
    wrong_charset: bool = False


def body(message: Message) -> Body:
    """Return the body of a message, without attachments. A plain text is preferred to HTML."""
    parts = _Parts()
    parts.collect(message)
    plain = _LIST_FOOTER.sub("", "\n\n".join(parts.plain))
    plain = _PGP_END.sub("", _PGP_START.sub("", plain))
    if plain.strip():
        reply = split_reply(plain)
    else:
        html = "\n".join(parts.html)
        reply = split_reply(html_text(html))
        if html and reply.quoted is None and not reply.forwards:
            whole = split_reply(html_text(html, quoted=True))
            reply = reply._replace(quoted=whole.quoted, forwards=whole.forwards)
    return Body(
        reply._replace(own=unwrapped(reply.own), quoted=reply.quoted and unwrapped(reply.quoted)), parts.wrong
    )


class _Parts:
    def __init__(self) -> None:
        self.plain: list[str] = []
        self.html: list[str] = []
        self.wrong = False

    def collect(self, part: Message) -> None:
        kind = part.get_content_type()
        if part.get_content_disposition() == "attachment" or part.get_filename():
            return
        if part.is_multipart():
            if part.get_content_maintype() == "multipart":
                for child in part.get_payload():
                    if isinstance(child, Message):
                        self.collect(child)
        elif kind in ("text/plain", "text/html"):
            text = self._decoded(part).replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
            if kind == "text/html":
                self.html.append(text)
            else:
                self.plain.append(_flowed(text) if _parameter(part, "format") == "flowed" else text)

    def _decoded(self, part: Message) -> str:
        content = part.get_payload(decode=True)
        if not isinstance(content, bytes):
            return ""
        declared = (_parameter(part, "charset") or "us-ascii").strip("'\" ")
        for charset in _charsets(content, declared):
            try:
                text = content.decode(charset)
            except (LookupError, UnicodeError, ValueError):
                continue
            if charset == "utf-8" != declared and not content.isascii():
                self.wrong = True
            return text
        self.wrong = True
        return content.decode("cp1252", errors="replace")


def _charsets(content: bytes, declared: str) -> tuple[str, ...]:
    """Bytes beyond ASCII that are valid UTF-8 are UTF-8, whatever the header says, but for wide charsets."""
    wide = declared.startswith(("utf-16", "utf-32", "iso-2022", "hz", "utf-7"))
    return (declared,) if wide or content.isascii() else ("utf-8", declared)


def _parameter(part: Message, name: str) -> str | None:
    try:
        value = part.get_param(name)
    except (ValueError, LookupError, TypeError):
        return None
    if isinstance(value, tuple):  # RFC 2231
        value = value[2]
    return str(value).casefold() if value else None


def _flowed(text: str) -> str:
    """Join the lines of a paragraph that end with a space (RFC 3676)."""
    joined: list[str] = []
    open_line = False
    for line in text.split("\n"):
        quoted, signature = line.startswith(">"), line == "-- "
        stuffed = line[1:] if line.startswith(" ") else line
        if open_line and joined and not quoted and not signature:
            joined[-1] += stuffed
        else:
            joined.append(stuffed)
        open_line = line.endswith(" ") and not signature and not quoted
    return "\n".join(joined)


def unwrapped(text: str) -> str:
    """Join the lines of paragraphs that a program has wrapped: all but the last are about as long."""
    paragraphs = []
    for paragraph in text.split("\n\n"):
        lines = paragraph.split("\n")
        wrapped = len(lines) > 1 and all(len(line) in _WIDTH for line in lines[:-1])
        if wrapped and not any(line.startswith(("- ", "* ", "  ")) for line in lines):
            paragraph = " ".join(line.strip() for line in lines)
        paragraphs.append(paragraph)
    return "\n\n".join(paragraphs)
