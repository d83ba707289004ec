"""Splits the body of an e-mail into what its sender wrote and what it answers.

Works on the forms that mail programs write, in any language where the form allows it: lines that begin with
`>` and the line that introduces them, a rule of dashes with words in it, a block of header lines. Only an
introduction without marked lines after it is known by its verb and an address or a time of day. Text between
and below quotes is kept, and so is a sign-off ("Cheers, Kai"): it is the writer's. A signature goes, after
`--` or, where the rest is short, after `—` or `__`; so does a last line "Sent from my phone".

Why not a library: of the 27 made-up replies in `tests/data/own/reply_styles.py`, mail-parser-reply 1.36
and email-reply-parser 0.5.12 read 18 each (`benchmarks/reply_parsers.py`). They lose text below a quote,
languages or sign-offs.
"""

from __future__ import annotations

import itertools
import re
from typing import NamedTuple

_QUOTED = re.compile(r"\s{0,3}>")
_VERBS = (
    r"wrote|writes|schrieb\b.*|schreef\b.*|a écrit|escribió|escreveu|ha scritto|skrev\b.*|kirjoitti|"
    r"napisał\b.*|napsal\b.*|написал\b.*|пишет|írta\b.*|yazdı|님이 작성|写道"
)
_WROTE = re.compile(rf"\S.{{5,300}}(?:{_VERBS})\s?[:：]", re.IGNORECASE)
_RULE = re.compile(
    r"\s*[-_]{2,} ?[^-_]{0,40}(?:message|mail|nachricht|mensaje|mensagem|messaggio|bericht|meddelande|"
    r"meddelelse|melding|wiadomość|viesti|zpráva|сообщение|邮件|メッセージ)[^-_]{0,40} ?[-_]{2,}\s*",
    re.IGNORECASE,
)
_BEGIN = re.compile(
    r"\s*(?:begin forwarded message|anfang der weitergeleiteten (?:nachricht|e-mail)|"
    r"début du message (?:transféré|réexpédié)|inicio del mensaje reenviado|"
    r"inizio messaggio inoltrato|begin doorgestuurd bericht)\s?:\s*",
    re.IGNORECASE,
)
_FORWARD = re.compile(
    r"forward|weiterge|transf|réexp|reenv|encamin|inoltr|doorg|vidare|videre", re.IGNORECASE
)
_FROM = re.compile(
    r"\W{0,3}(?:From|Von|De|Da|Van|Od|Od kogo|Från|Fra|Lähettäjä|Feladó|Kimden|От|发件人|差出人|보낸 사람)"
    r"\s?[:：]\W{0,3}\S.*"
)
_SUBJECT = re.compile(
    r"\W{0,3}(?:Subject|Betreff|Objet|Asunto|Assunto|Oggetto|Onderwerp|Ämne|Emne|Temat|Aihe|Tárgy|Konu|Předmět|"
    r"Тема|主题|主題|件名|제목)\s?[:：]"
)
_HEADER = re.compile(r"\W{0,3}[^\W\d_][\w' -]{0,20}\s?[:：]\W{0,3}\S.*")
_SIGNATURE, _RULE_OR_SIGNATURE = re.compile(r"-- ?"), re.compile(r"(?:—|__) ?")
#: Lines of a signature below a mark that may also divide a text, and characters of each.
_SIGNATURE_LINES, _SIGNATURE_WIDTH = 8, 60
_SENT_FROM = re.compile(
    r"(?:sent from|get outlook for|gesendet von|von meinem .{3,30} gesendet|envoyé (?:de|depuis)|"
    r"enviado (?:desde|do)|inviato da|verzonden (?:vanaf|met)|skickat från|sendt fra|wysłano z)\b.{2,80}",
    re.IGNORECASE,
)
_SENT_FROM_WORDS = 8
_LONGEST_INTRODUCTION = 3  # lines: programs wrap it


class ReplyParts(NamedTuple):
    """What the sender wrote; what the message answers, None if it quotes nothing; whether it forwards."""

    own: str
    quoted: str | None = None
    forwards: bool = False


def split_reply(body: str) -> ReplyParts:
    """Split a body of plain text. `quoted` is what its author wrote, without what they quoted in turn."""
    own, quoted, forwards = _split(body)
    if forwards or not any(map(str.strip, quoted)):
        return ReplyParts(own, None, forwards)
    return ReplyParts(own, _split("\n".join(_unintroduced(quoted)))[0] or None)


def _split(body: str) -> tuple[str, list[str], bool]:
    """Return the sender's text, the lines of the rest, and whether these are forwarded."""
    lines = body.replace("\r\n", "\n").replace("\xa0", " ").split("\n")
    cut, after, forwards = _end(lines)
    own: list[str] = []
    quoted: list[str] = lines[after:]
    signed = False
    lines = "\n".join(lines[:cut]).rstrip().split("\n")
    for number, line in enumerate(lines):
        if _QUOTED.match(line):
            if not (number and _QUOTED.match(lines[number - 1])):  # a quote begins
                _drop_introduction(own)
                own.append("")
            signed = False  # what follows a quote is text again
            quoted.append(line.lstrip()[1:].removeprefix(" "))
        elif _signs(lines, number):
            signed = True
        elif not (signed or _sent_from(lines, number)):
            own.append(line)
    return _tidy(own), quoted, forwards


def _end(lines: list[str]) -> tuple[int, int, bool]:
    """Return the line from which all is another's, the first of their text, and whether it is forwarded."""
    headers = 0  # lines up to here have been looked at
    for number, line in enumerate(lines):
        if _RULE.fullmatch(line) or _BEGIN.fullmatch(line):
            forwards = bool(_FORWARD.search(line))
            return number, _after_headers(lines, number + 1), forwards
        if number >= headers and _FROM.fullmatch(line):
            headers = _after_headers(lines, number)
            if _are_headers(lines[number:headers]):
                start = number
                while start and not lines[start - 1].strip(" _-*"):  # a rule above it
                    start -= 1
                return start, headers, False
        count = _introduction(lines, number)
        found = " ".join(lines[number : number + count])
        if count and _is_timed(found) and not _quoted_next(lines, number + count):
            return number, number + count, False
    return len(lines), len(lines), False


def _are_headers(lines: list[str]) -> bool:
    """Tell the headers of a message from a list such as `From: the depot`."""
    mailed = any("@" in line or _SUBJECT.match(line) for line in lines)
    return mailed and sum(bool(_HEADER.fullmatch(line)) for line in lines) >= 3


def _signs(lines: list[str], number: int) -> bool:
    """Return whether a line is the mark above a signature."""
    if _SIGNATURE.fullmatch(lines[number]):
        return True
    if not _RULE_OR_SIGNATURE.fullmatch(lines[number]):
        return False
    start = number + 1
    below = list(
        itertools.takewhile(lambda line: not _QUOTED.match(line), lines[start : start + 1 + _SIGNATURE_LINES])
    )
    return len(below) <= _SIGNATURE_LINES and all(len(line) <= _SIGNATURE_WIDTH for line in below)


def _sent_from(lines: list[str], number: int) -> bool:
    """Return whether a program added a line: it stands apart, above the end, a quote or a signature."""
    line = lines[number].strip()
    if not _SENT_FROM.fullmatch(line) or len(line.split()) > _SENT_FROM_WORDS:
        return False
    below = next((place for place in range(number + 1, len(lines)) if lines[place].strip()), len(lines))
    if below < len(lines) and not (
        _QUOTED.match(lines[below]) or _signs(lines, below) or _introduction(lines, below)
    ):
        return False
    is_sentence = line[0].islower() or line.endswith((".", "!", "?"))
    return not is_sentence or not number or not lines[number - 1].strip()


def _after_headers(lines: list[str], start: int) -> int:
    while start < len(lines) and not lines[start].strip():
        start += 1
    while start < len(lines) and lines[start].strip():
        if not _HEADER.fullmatch(lines[start]) and not lines[start].startswith((" ", "\t")):
            break
        start += 1
    return start


def _quoted_next(lines: list[str], start: int) -> bool:
    return next((bool(_QUOTED.match(line)) for line in lines[start:] if line.strip()), False)


def _drop_introduction(own: list[str]) -> None:
    """Remove the line that introduces a quote from the end of the text: `On Tuesday, Lena wrote:`."""
    while own and not own[-1].strip():
        own.pop()
    for start in range(max(0, len(own) - _LONGEST_INTRODUCTION), len(own)):
        if _introduction(own, start) == len(own) - start:
            del own[start:]
            return
    if own and own[-1].rstrip().endswith((":", "：")) and _is_dated(own[-1]):  # in a language not listed
        own.pop()


def _introduction(lines: list[str], start: int) -> int:
    """Return how many lines from `start` introduce a quote: several only if a paragraph begins so."""
    for count in range(1, _LONGEST_INTRODUCTION + 1):
        part = lines[start : start + count]
        if len(part) < count or not part[-1].strip():
            return 0
        if count == 2 and (not _is_dated(part[0]) or (start and lines[start - 1].strip())):
            return 0
        if _WROTE.fullmatch(" ".join(part).strip()):
            return count
    return 0


def _is_dated(text: str) -> bool:
    return "@" in text or sum(map(str.isdigit, text)) >= 4


def _is_timed(text: str) -> bool:
    """Return whether a line has an address or a time of day: a story that somebody wrote has neither."""
    return "@" in text or re.search(r"(?<![\d.])\d{1,2}[:.h]\d\d(?![\d.])", text) is not None


def _unintroduced(quoted: list[str]) -> list[str]:
    """Return a quote without the introduction that some programs put inside it."""
    start = next((number for number, line in enumerate(quoted) if line.strip()), len(quoted))
    return quoted[start + _introduction(quoted, start) :]


def _tidy(lines: list[str]) -> str:
    text = "\n".join(line.rstrip() for line in lines).strip()
    return re.sub(r"\n{3,}", "\n\n", text)
