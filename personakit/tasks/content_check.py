"""Content check: whether a rewrite keeps the facts of its draft and invents none.

Facts are numbers, dates, links, e-mail addresses, mentions and names; names and words are those of
`content.py`. The check is by form, so it knows no paraphrase: `three weeks` for `21 days` is a number lost
and one invented. It does not see a changed meaning, such as a dropped `not`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from personakit.data.greetings import greeted
from personakit.data.words import IBAN, WORD
from personakit.tasks.content import entities_and_numbers, words_in, words_of

Kind = Literal["number", "date", "link", "e-mail address", "mention", "name"]

_ADDRESSES: Mapping[Kind, re.Pattern[str]] = {
    "link": re.compile(r"(?:https?://|www\.)[^\s<>\"]+", re.IGNORECASE),
    "e-mail address": re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    "mention": re.compile(r"(?<![\w@])@\w+"),
}
#: Text that is no content: hashtags are style, `[Your Name]` is to be filled in.
_NO_CONTENT = re.compile(r"#\w+|\[[^\]\n]{1,40}\]")
_DASH = r"\u2010-\u2013-"
#: What stands between the groups of a telephone number: ` - ` only before four digits.
_BETWEEN = rf"(?:[ \u00a0.()/{_DASH}]|\)[ ]|[ ]\(|[ ]/[ ](?!0)|[ ][{_DASH}][ ](?=\d{{4}}))?"
#: It begins with + or 0, or has the groups of an American one. It has no years, and no digit alone ends it.
_TELEPHONE = rf"""
    (?<![\w.,:/+-]) (?![\d ./-]{{0,20}}[./-](?:19|20)\d\d(?!\d))
    (?= \(?\+\d
      | \(?0\d[\d \u00a0.()/{_DASH}]{{0,20}}\d{{3}}
      | 0\d(?P<pair>[ .-])\d\d(?:(?P=pair)\d\d){{3}}
      | (?:1[ .-])?(?:\(\d{{3}}\)[ ]?|\d{{3}}[ .-])\d{{3}}[ .-]\d{{4}} )
    [(+]{{0,2}}\d(?:{_BETWEEN}\d){{6,14}} (?<![ ]\d)(?!\w|[.,:/-]?\d)
"""
_PM = r"[ \u00a0]?[Pp]\.?[Mm]\b"
#: After 12 only; "um 12 am Bahnhof" is German.
_AM = r"(?:[ \u00a0]?(?:AM\b|[Aa]\.[Mm]\b)|am\b|[ \u00a0]am\b(?=\s*(?:[.,;:!?)]|$)))"
#: Numbers that may be written in several forms, else digits; of a range (`9-10`) each end. `555-12-3456` is
#: no date, and `030/1234567` no fraction. Of `2-3 pm` both hours are pm.
_NUMBER = re.compile(
    rf"""
      (?P<date> (?<![\d./])(?!(?<=-)\d+-)
        (?:\d{{4}}|\d{{1,2}})(?P<mark>[./-])\d{{1,2}}(?P=mark)(?:\d{{4}}|\d{{1,2}})(?!(?P=mark)?\d) )
    | (?P<grouped> {IBAN} | {_TELEPHONE} | (?<![\w.,])\d{{1,3}}(?:\.\d{{3}}){{2,}}(?!\w|[.,]\d) )
    | (?<![\d.,:])(?P<midnight>12)(?:[.:](?P<past>[0-5]\d))?{_AM}
    | (?<![\d.,:])(?P<hour>1[0-2]|0?[1-9])(?:[.:](?P<minutes>[0-5]\d))?
      (?: {_PM} | (?=[ ]?(?:[{_DASH}]|to)[ ]?(?P<until>1[0-2]|0?[1-9])(?:[.:][0-5]\d)?{_PM}) )
    | \d{{1,3}}/\d{{1,3}}(?![/.,:]?\d)
    | \d+(?:[.,:]\d+)*
    """,
    re.VERBOSE,
)
#: What may be one number in groups.
_GROUPS = re.compile(rf"\d(?:{_BETWEEN}\d){{6,}}")
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_ONES = (
    *("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen"),
    *("fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
#: Without `one`, which is mostly a pronoun.
_NUMBER_WORDS = {word: str(number) for number, word in enumerate(_ONES, start=2)} | {
    word: str(10 * number) for number, word in enumerate(_TENS, start=2)
}
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_RELATIVE = {word: word for word in ("today", "tomorrow", "yesterday", "tonight")}
_FULL_DATES = {name: name for name in (*_DAYS, *_MONTHS)} | _RELATIVE
_SHORT_DATES = {name[:3]: name for name in (*_DAYS, *_MONTHS) if name != "may"} | {
    "tues": "tuesday",
    "weds": "wednesday",
    "thur": "thursday",
    "thurs": "thursday",
    "sept": "september",
    "tmrw": "tomorrow",
    "tmr": "tomorrow",
    "2day": "today",
}
_NOT_NAMES = _FULL_DATES.keys() | _SHORT_DATES.keys() | _NUMBER_WORDS.keys()
#: Also ordinary words: a date only where they are next to a number.
_AMBIGUOUS = frozenset({"may", "march", "mar", "sun", "sat", "mon", "dec", "jan", "wed", "tue"})
#: Often capitalised in greetings, sign-offs and asides, and never a name.
_FORMULA_WORDS = """
a afternoon all am an and as asap aside attached best btw can't cc cheers congrats congratulations
cordially day dear did don't dr e-mail email evening everybody everyone faithfully folks fw fwd fyi god
good greetings guys ha happy hello here hey hi how hugs i imho imo kind kindest kindly lol love luck madam
many miss more morning mr mrs ms night no not oh ok okay omg one p.m p.s person please pm ps re regards
respectfully rsvp sincerely sir so subject talk tbh team thank thanks the there to truly uhr very warm warmest
warmly week weekend wishes xoxo yes you your yours
"""
_FORMULA = frozenset(_FORMULA_WORDS.split())
#: Three words or more in capitals are emphasis, not names.
_SHOUTED = re.compile(r"\b[A-Z]{2,}(?:\W+[A-Z]{2,}){2,}\b")
#: A sign-off has at most this many words on a line.
_SIGN_OFF_WORDS = 4
#: Facts that a reason names.
_NAMED = 5
#: One or two words up to a mark or the end of the line: "Lena,".
_CALLED = re.compile(r"\s*([^\W\d_]{2,}(?:[ \t]+[^\W\d_]{2,})?)[ \t]*(?:[\n,.!?:;–—]|-[ \t]|$)")
_SEGMENT = re.compile(r"[\n.!?,;]+")


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact as it is written in a text; texts with the same `key` state the same one."""

    kind: Kind
    text: str
    key: str


@dataclass(frozen=True, slots=True)
class ContentCheck:
    """The draft's facts that a rewrite lost, and those that it states without a source, each once.

    `problems` counts the lost ones, and the invented ones as often as they stand in the rewrite.
    """

    lost: tuple[Fact, ...] = ()
    invented: tuple[Fact, ...] = ()
    problems: int = 0

    @property
    def passed(self) -> bool:
        """Whether nothing was lost or invented."""
        return not (self.lost or self.invented)

    @property
    def reason(self) -> str:
        """What was lost or invented, the first few of it, in a sentence without a full stop, or ""."""
        parts = []
        for verb, facts in (("loses", self.lost), ("invents", self.invented)):
            if facts:
                named = ", ".join(f"{fact.kind} {fact.text}" for fact in facts[:_NAMED])
                more = f" and {len(facts) - _NAMED} more" if len(facts) > _NAMED else ""
                parts.append(f"{verb} {named}{more}")
        return " and ".join(parts)


class ContentChecker:
    """Checks rewrites of one draft.

    They must have the facts of `draft`, and no other than those of draft and `request`. `history` are texts
    of the writer: facts of their sign-offs may be added, such as a name; other facts of the history belong to
    other texts and are inventions here. A word that the history has in lower case is no name, unless it is
    whom an opening addresses.
    """

    def __init__(self, draft: str, *, request: str = "", history: Sequence[str] = ()) -> None:
        self._given = {*_mentioned(draft), *_mentioned(request)}
        self._known = self._given | _signed(history)
        self._greeted = {name.casefold() for text in history for name in _greeted(text)}
        self._ordinary = {word for text in history for word in WORD.findall(_body(text)) if word.islower()}
        self._facts = [*facts_of(draft), *self._addressed(draft)]

    def check(self, candidate: str) -> ContentCheck:
        """Return what `candidate` lost and invented."""
        present = set(_mentioned(candidate))
        lost = _distinct(fact for fact in self._facts if fact.key not in present)
        addressed = {fact.key: fact for fact in self._addressed(candidate) if fact.key not in self._given}
        invented = [
            fact for fact in facts_of(candidate) if fact.key in addressed or not self._has_source(fact)
        ]
        stated = {fact.key for fact in invented}
        invented += [fact for key, fact in addressed.items() if key not in stated]
        return ContentCheck(lost, _distinct(invented), len(lost) + len(invented))

    def _addressed(self, text: str) -> Iterator[Fact]:
        """Yield the names in an opening: after a greeting, or alone where the history greets them."""
        names = list(_greeted(text))
        if not names and (called := _CALLED.match(text)):
            words = called[1].split()
            names = words if self._greeted.issuperset(map(str.casefold, words)) else []
        for name in names:
            if name[0].isupper() or name not in self._ordinary:
                yield Fact("name", name, name.casefold())

    def _has_source(self, fact: Fact) -> bool:
        return fact.key in self._known or (fact.kind == "name" and fact.key in self._ordinary)


def _greeted(text: str) -> Iterator[str]:
    """Yield the words of the names that a text greets; in lower case only such as no clause begins with."""
    if (found := greeted(text)) is not None:
        for word in WORD.findall(" ".join(found.names)):
            formula = word.casefold() in _FORMULA or word.casefold() in _NOT_NAMES
            if not formula and (word[0].isupper() or not found.goes_on):
                yield word


def _body(text: str) -> str:
    """Return a text without its greeting."""
    found = greeted(text)
    return text if found is None else text[found.end :]


def facts_of(text: str) -> Iterator[Fact]:
    """Yield the facts of a text, each as often as it stands there."""
    for kind, pattern in _ADDRESSES.items():
        for match in pattern.finditer(text):
            written = match.group().rstrip(".,;:!?)]}'’”")
            yield Fact(kind, written, _link(written) if kind == "link" else written.casefold())
        text = pattern.sub(" ", text)
    text = _NO_CONTENT.sub(" ", text)
    starts, ends = set(), set()
    for match in _NUMBER.finditer(text):
        yield Fact("number", match.group(), _number(match))
        starts.add(match.start())
        ends.add(match.end())
    for match in WORD.finditer(text):
        word, plain = match.group(), match.group().casefold()
        if plain in _NUMBER_WORDS:
            yield Fact("number", word, _NUMBER_WORDS[plain])
        short = word[0].isupper() and plain in _SHORT_DATES
        if plain not in _FULL_DATES and not short:
            continue
        beside = any(match.start() - gap in ends or match.end() + gap in starts for gap in range(3))
        if beside or plain not in _AMBIGUOUS:
            yield Fact("date", word, _date(plain))
    calm = _SHOUTED.sub(lambda shouted: shouted.group().lower(), text)
    names = entities_and_numbers(calm) - _FORMULA - _NOT_NAMES
    for name, word in sorted((name, word) for word, name in words_in(text) if name in names):
        if not any(character.isdigit() for character in name):
            yield Fact("name", word, name)


def _mentioned(text: str) -> Iterator[str]:
    """Yield the keys of all facts that a text may be read to state: generous, unlike `facts_of`."""
    yield from (fact.key for fact in facts_of(text))
    for word in words_of(text):
        yield word
        yield word.removesuffix("s")  # "johns book"
        yield _NUMBER_WORDS.get(word, "1" if word == "one" else word)
        yield _FULL_DATES.get(word) or _SHORT_DATES.get(word) or word
    for match in _NUMBER.finditer(text):
        yield _number(match)
        if match["grouped"]:
            yield from map(_without_zeros, re.findall(r"\d+", match.group()))
    yield from (_joined(match.group()) for match in _GROUPS.finditer(text))


def _signed(history: Sequence[str]) -> set[str]:
    """Return the keys of facts in the writer's sign-offs: the last short lines or phrases of their texts.

    Each must end two texts, unless there are fewer than three: a last line may also be a recipient's name.
    """
    counts: dict[str, int] = {}
    for text in history:
        segments = [part for part in _SEGMENT.split(text) if part.strip()]
        if len(segments) < 2:
            continue
        last = [part for part in segments[-2:] if len(part.split()) <= _SIGN_OFF_WORDS]
        for key in {key for part in last for key in _mentioned(part)} | {
            fact.key for fact in facts_of(text[-200:]) if fact.kind in ("link", "e-mail address")
        }:
            counts[key] = counts.get(key, 0) + 1
    return {key for key, count in counts.items() if count >= (2 if len(history) > 2 else 1)}


def _number(found: re.Match[str]) -> str:
    """Return a number without the variation of style: `1,200`, `09:00`, `2 pm`, `5.00`, `05/03/2024`."""
    written = found.group()
    if found["date"]:
        return "-".join(_without_zeros(part) for part in re.split(r"\D", written))
    if found["grouped"]:
        return _joined(written)
    if found["midnight"]:
        written = f"0:{found['past'] or '00'}"
    elif found["hour"]:
        hour, until = int(found["hour"]), found["until"]
        if until is None or hour % 12 < int(until) % 12:
            hour = hour % 12 + 12
        written = f"{hour}:{found['minutes'] or '00'}"
    if re.fullmatch(r"\d{1,3}(?:\.\d{3})+,\d\d?", written):
        written = written.replace(".", "")
    plain = re.sub(r",(?=\d{3}(?!\d))", "", written)
    plain = re.sub(r"[,:]", ".", plain)
    return _without_zeros(re.sub(r"(?<=\d)(?:\.00?)+$", "", plain))


def _joined(written: str) -> str:
    """Return the digits and letters of a number in groups, of a telephone's without what is not dialled."""
    return _without_zeros(re.sub(r"\(0\)|\W", "", written).casefold())


def _link(written: str) -> str:
    """Return a link as it may be written, too: without its scheme, and its host in lower case."""
    address = re.sub("^https?://", "", written, flags=re.IGNORECASE).rstrip("/")
    host, slash, path = address.partition("/")
    return host.casefold() + slash + path


def _without_zeros(digits: str) -> str:
    return re.sub(r"^0+(?=\d)", "", digits)


def _date(plain: str) -> str:
    return _FULL_DATES.get(plain) or _SHORT_DATES[plain]


def _distinct(facts: Iterable[Fact]) -> tuple[Fact, ...]:
    return tuple({(fact.kind, fact.key): fact for fact in facts}.values())
