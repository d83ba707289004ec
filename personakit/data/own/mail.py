"""Mail: an mbox (also Gmail's Takeout and Thunderbird's), a Maildir, a folder of them or of `.eml` files.

A text is what the sender wrote, without quotes, signature and forwarded parts (`quotes.py`). Its request is
the message it answers: of the archive, if it is there, else what the reply quotes. A message that answers
nothing has its subject.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from email.header import decode_header
from email.message import Message
from email.parser import BytesHeaderParser
from email.utils import getaddresses, parsedate_to_datetime
from pathlib import Path

from personakit.data.own.mail_body import body
from personakit.data.own.mbox import (
    Places,
    is_maildir,
    is_mbox,
    is_message,
    message_at,
    message_files,
    messages,
)
from personakit.data.own.records import IsMe, Person, Record, date_or_none
from personakit.data.skips import SkipCounts

NEW_MAIL = "Write an e-mail with the subject: {subject}"
WRONG_CHARSET = "texts read as UTF-8 or Windows-1252, because their charset is wrong or unknown"
_REPLY = re.compile(
    r"\s*((re|aw|sv|vs|antw|odp|rif|res|ynt|fwd?|wg|tr|rv|i|enc)(\[\d+\])?\s?[:：]\s*)+", re.IGNORECASE
)
_AUTOMATIC_SUBJECT = re.compile(
    r"\s*(?:auto(?:matic)?[ -]?(?:reply|response)|out of (?:the )?office|automatische antwort|"
    r"abwesenheits|réponse automatique|respuesta automática|resposta automática|risposta automatica|"
    r"automatisch antwoord|autosvar|undeliver|delivery status notification|mail delivery|unzustellbar|"
    r"(?:accepted|declined|tentative|angenommen|zugesagt|abgelehnt|abgesagt)\s?:)",
    re.IGNORECASE,
)
_DRAFTS = re.compile(
    r"\b(?:drafts?|entw[uü]rfe?|brouillons?|borradore?s?|bozze?|concepten|rascunhos?)\b", re.IGNORECASE
)
_IDS = re.compile(r"<[^<>\s]+>")


def recognises(source: Path) -> bool:
    """Return whether a file is an mbox or a message, or a folder has any."""
    if source.is_dir():
        return is_maildir(source) or bool(message_files(source))
    return is_mbox(source) or is_message(source)


@dataclass
class MailArchive:
    """The messages of a source. `counts` takes what was read in another way than its headers say."""

    source: Path
    counts: SkipCounts
    _files: list[Path] = field(default_factory=list)
    _places: Places | None = None

    def writers(self) -> Iterable[Person]:
        """Yield the sender of each message, and remember where each message is."""
        self._files, places = message_files(self.source), Places()
        for number, path in enumerate(self._files):
            for start, raw in messages(path):
                headers = _headers(raw)
                for id in _IDS.findall(_header(headers, "Message-ID"))[:1]:
                    places.add(id, number, start)
                sender = _sender(headers)
                if sender is not None:
                    yield sender
        self._places = places

    def records(self, is_me: IsMe) -> Iterator[Record]:
        """Yield the messages of the chosen senders."""
        if self._places is None:
            for _ in self.writers():
                pass
        for path in self._files:
            for number, (_, raw) in enumerate(messages(path), start=1):
                headers = _headers(raw)
                sender = _sender(headers)
                if sender is None:
                    self.counts.add("messages without a sender", f"{path}, message {number}")
                elif is_me(sender):
                    yield self._record(message_from_bytes(raw), sender, path, number)

    def owner(self) -> Person | None:
        """Return None: headers do not say whose mailbox it is."""
        return None

    def _record(self, message: Message, sender: Person, path: Path, number: int) -> Record:
        place = f"{path}, message {number}"
        found = body(message)
        if found.wrong_charset:
            self.counts.add(WRONG_CHARSET, place)
        reply, subject = found.reply, _header(message, "Subject").strip()
        request, people = reply.quoted, _people(message)
        asked = self._asked(message)
        if asked is not None:
            parent = body(asked).reply.own
            request, people = parent or request, (*people, *_people(asked))
        if request is None and subject and not (_REPLY.match(subject) or message["In-Reply-To"]):
            request = NEW_MAIL.format(subject=subject)
        return Record(
            sender,
            reply.own,
            place,
            date=_date(message),
            request=request,
            people=people,
            skipped=_not_own(message, subject, path, forwards=reply.forwards and not reply.own),
        )

    def _asked(self, message: Message) -> Message | None:
        """Return the message of the archive that this one answers."""
        assert self._places is not None
        ids = (
            _IDS.findall(_header(message, "In-Reply-To")) or _IDS.findall(_header(message, "References"))[-1:]
        )
        found = self._places.find(ids[0]) if ids else None
        return None if found is None else message_from_bytes(message_at(self._files[found[0]], found[1]))


def _not_own(message: Message, subject: str, path: Path, *, forwards: bool) -> str | None:
    """Return why a message is not a text of its sender, or None."""
    submitted = _header(message, "Auto-Submitted").strip().casefold() or "no"
    automatic = (
        submitted != "no"
        or message["X-Autoreply"] is not None
        or message["X-Autorespond"] is not None
        or _header(message, "Precedence").strip().casefold() == "auto_reply"
        or message.get_content_type() in ("multipart/report", "text/calendar")
        or _AUTOMATIC_SUBJECT.match(subject)
    )
    if automatic:
        return "automatic replies"
    flags = path.name.rpartition(":2,")[2] if ":2," in path.name else ""
    if _DRAFTS.search(_header(message, "X-Gmail-Labels")) or set(flags) & {"D", "T"}:
        return "drafts and deleted messages"
    if (
        _header(message, "Content-Type")
        .casefold()
        .startswith(("multipart/encrypted", "application/pkcs7-mime"))
    ):
        return "encrypted messages"
    return "forwards without a word of one's own" if forwards else None


def _headers(raw: bytes) -> Message:
    return BytesHeaderParser().parsebytes(re.split(rb"\r?\n\r?\n", raw, maxsplit=1)[0])


def _raw(message: Message, name: str) -> str:
    """Return a header as it stands, with bytes beyond ASCII as UTF-8, else Windows-1252."""
    value = next((each for key, each in message.raw_items() if key.casefold() == name.casefold()), "")
    return _decoded(" ".join(str(value).split()).encode("utf-8", "surrogateescape"), None)


def _header(message: Message, name: str) -> str:
    """Return a header, decoded; where its encoding is wrong, as it stands."""
    return _unencoded(_raw(message, name))


def _unencoded(raw: str) -> str:
    try:
        return "".join(
            _decoded(part, charset) if isinstance(part, bytes) else part
            for part, charset in decode_header(raw)
        )
    except (ValueError, LookupError):
        return raw


def _decoded(part: bytes, charset: str | None) -> str:
    for each in ("utf-8", charset or "utf-8"):
        with suppress(LookupError, UnicodeError):
            return part.decode(each)
    return part.decode("cp1252", errors="replace")


def _addresses(message: Message, *names: str) -> list[Person]:
    values = [_raw(message, name) for name in names]
    found = getaddresses([value for value in values if value])
    return [
        Person(address.casefold(), " ".join(_unencoded(name).split()))
        for name, address in found
        if "@" in address
    ]


def _sender(message: Message) -> Person | None:
    return next(iter(_addresses(message, "From")), None)


def _people(message: Message) -> tuple[Person, ...]:
    return tuple(_addresses(message, "From", "To", "Cc", "Reply-To"))


def _date(message: Message) -> str | None:
    try:
        return date_or_none(parsedate_to_datetime(_header(message, "Date")))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
