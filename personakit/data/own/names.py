"""Replaces other people's names, e-mail addresses and long numbers, each always by the same made-up one.

Recognised are

- words of the names of people in headers, chats and commits, of those whom a text greets ("Hi Lena,") and of
  those with a title before their name ("Mr Brown"): each word of three letters or more, in any case, and with
  an s at its end ("Lenas"). Of an address without a name, `lena.weiss@...`, the words before the @. A name
  that is also a word (Will, May) is one only where it stands as one, and never with an s;
- e-mail addresses;
- numbers of seven digits or more, as of telephones, accounts and orders (no dates), and IBANs.

Not recognised are people who are only mentioned and never wrote or received anything, nicknames, places,
companies, postal addresses, and what follows from the content. The writer's own names and addresses stay.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from personakit.data.greetings import GREETING, NOT_NAMES, ORGANISATIONS, TITLE, greeted
from personakit.data.own.records import Person
from personakit.data.own.word_names import CAPITALISED, PLAIN
from personakit.data.words import IBAN

_FIRST_NAMES = (
    "Alba Anouk Bela Bruno Carla Clea Dario Edda Elio Enno Fabia Falk Gesa Greta Hauke Ilja Ines Jarle "
    "Jorun Kaja Kilian Lenz Levke Linus Maike Malte Marit Mika Nele Nils Odile Okka Orla Pelle Quirin "
    "Rahel Remo Runa Sanna Silas Svea Tamsin Tibor Tove Ulla Vada Vilja Wanja Wencke Xenia Yara Yoris "
    "Zeno Zita"
).split()
_SURNAMES = (
    "Adler Ahrens Basso Bergman Brandt Caspari Dahl Delmas Ekberg Falkner Ferro Garvin Gruber Halden "
    "Harms Iversen Jansen Kessler Kolbe Lindahl Lorca Marten Mancini Neuhaus Norling Olsen Ortega "
    "Pavlik Perrin Quast Rasmus Renner Sandoval Sievers Tamm Thorsen Ullrich Valdez Vance Wexler "
    "Winther Yilmaz Zander Zeller"
).split()
#: Of names, not names themselves.
_PARTICLES = frozenset("and das den der die the und van von".split())
_TITLED = re.compile(rf"(?:{TITLE} ?)+(?<= )(?P<names>[A-ZÀ-Þ][^\W\d_]{{2,}})")
_TITLES = re.compile(rf"(?:{TITLE}[ ,]*)+", re.IGNORECASE)
_BEFORE_GREETED = re.compile(rf"\W*{GREETING},?[ \t]+(?:\w+ (?:and|und) )?", re.IGNORECASE)
_BEFORE, _AFTER = re.compile(r"([^\W\d_]+) $"), re.compile(r" ([^\W\d_]+)")
_WORD = re.compile(r"[^\W\d_]+")
_ADDRESSES_AND_LINKS = re.compile(r"\S*[@/]\S*|\bwww\.\S+")
_LEAST_DIGITS = 7
_MOST_WORDS = 6  # of a person's name; longer ones are of lists and companies
_PART = re.compile(
    r"(?P<address>[\w.+-]+@[\w-]+(?:\.[\w-]+)+)"
    rf"|(?P<iban>{IBAN})"
    r"|(?P<number>(?<![\w.])\+?\(?\d(?:[ \u00a0\u202f()/.\u2010-\u2013-]{0,2}\d){6,18}(?!\w))"
    r"|(?P<word>[^\W\d_]{3,})"
)
_DATE = re.compile(
    r"(?<!\d)(?<!\d[./-])(?:\d{4}-\d\d?-\d\d?|\d\d?([./-])\d\d?\1\d{2,4}|"
    r"(?:19|20)\d\d ?[\u2010-\u2013-] ?(?:19|20)\d\d)(?![./-]?\d)"
)
_RANGE = re.compile(r" ?[\u2010-\u2013-] ?")
_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:\.\d{3})+")


class Pseudonyms:
    """Replaces what it recognises. `counts` has the number of replacements by kind.

    `people` are those around the texts, `me` the writer under all addresses, `texts` what the writer wrote,
    `requests` what it answers: together they tell the name Mark from the word. Whom the requests greet most
    may be the writer, who keeps their name (`_writers_name`). Texts are returned in Unicode's form NFC.
    """

    def __init__(
        self,
        people: Iterable[Person],
        me: Sequence[Person],
        texts: Iterable[str],
        requests: Iterable[str] = (),
    ) -> None:
        texts, requests = [_nfc(text) for text in texts], [_nfc(text) for text in requests]
        self._me = {each.id.casefold() for each in me}
        self._signed = {word for text in (*texts, *requests) for word in _last_word(text)}
        strangers = [each for each in dict.fromkeys(people) if each.id.casefold() not in self._me]
        names = [name for each in strangers for name in self._names_of(each)]
        around = {word for name in names for word in _words(name)}
        known_as = _nfc(" ".join(f"{each.name} {each.id.partition('@')[0]}" for each in me))
        self._mine = {*_words(known_as), *_writers_name(requests, texts, around, known_as)}
        self.counts: Counter[str] = Counter()
        self._addresses: dict[str, str] = {}
        self._numbers: dict[str, str] = {}
        self._used: set[str] = set()
        names += [name for text in (*texts, *requests) for name in _titled(text)]
        found = [each for text in (*texts, *requests) if (each := greeted(text)) is not None]
        names += [name for each in found if not each.goes_on for name in each.names]
        sure = {word for name in names for word in _words(name)}
        names += [name for each in found if each.goes_on for name in each.names if name[0].isupper()]
        pools = {word: pool for name in names for word, pool in self._name_words(name)}
        self._full = {pair for name in names for pair in itertools.pairwise(_words(name))}
        self._names = _pseudonyms(pools, self._mine)
        self._ordinary = self._ordinary_words([*texts, *requests], sure)
        self._names |= self._genitives([*texts, *requests])

    @property
    def distinct(self) -> dict[str, int]:
        """How many different words of names, addresses and numbers were replaced."""
        return {"names": len(self._used), "addresses": len(self._addresses), "numbers": len(self._numbers)}

    @property
    def words(self) -> frozenset[str]:
        """The words of names, real and made-up, in lower case."""
        return frozenset(self._names) | {name.casefold() for name in self._names.values()}

    def replace(self, text: str) -> str:
        """Return the text with everything replaced that is recognised."""
        text = _nfc(text)
        return _PART.sub(lambda found: self._replacement(found, text), text)

    def _replacement(self, found: re.Match[str], text: str) -> str:
        whole, kind = found[0], str(found.lastgroup)
        if kind == "word":
            name = self._names.get(whole.casefold())
            if name is None or not self._is_name(found, text):
                return whole
            self.counts["names"] += 1
            self._used.add(name.rstrip("s"))  # "Lenas" is Lena
            return name.upper() if whole.isupper() else name.lower() if whole.islower() else name
        if kind == "address":
            if whole.casefold() in self._me:
                return whole
            self.counts["addresses"] += 1
            return self._addresses.setdefault(
                whole.casefold(), f"person{len(self._addresses) + 1}@example.org"
            )
        if kind == "number" and not _is_number(whole):
            return whole
        self.counts["numbers"] += 1
        key = re.sub(r"\W", "", whole)
        serial = self._numbers.setdefault(key, str(len(self._numbers) + 1))
        return _with_serial(whole, serial)

    def _is_name(self, found: re.Match[str], text: str) -> bool:
        """Tell a name from the same word: by the words beside it, its place, and its capital letter."""
        word = found[0].casefold()
        if word not in self._ordinary and word not in CAPITALISED and word not in PLAIN:
            return True
        before, after = (beside and beside[1].casefold() for beside in _beside(found, text))
        if _is_addressed(found, text) or (before, word) in self._full or (word, after) in self._full:
            return True
        capital = not found[0].islower() and not _begins_sentence(found, text)
        return capital and word not in CAPITALISED

    def _names_of(self, person: Person) -> Iterator[str]:
        """Yield a person's name; without one, the words of the address that may be it."""
        local, at, _ = person.id.partition("@")
        if person.name.strip() and "@" not in person.name:
            yield _TITLES.sub("", _nfc(person.name))
        elif at:
            words = _WORD.findall(_nfc(local))
            if len(words) > 1 or self._signed.issuperset(map(str.casefold, words)):
                yield " ".join(words)

    def _name_words(self, name: str) -> Iterator[tuple[str, Sequence[str]]]:
        """Yield the words of a name, each with the pool of its kind; none of a list or a company."""
        last, comma, first = name.partition(",")
        words = [word for word in _words(f"{first} {last}" if comma else name) if word not in _PARTICLES]
        if 0 < len(words) <= _MOST_WORDS and "@" not in name and not ORGANISATIONS.intersection(words):
            for place, word in enumerate(words):
                if word not in self._mine and word not in NOT_NAMES:
                    yield word, _SURNAMES if place and place == len(words) - 1 else _FIRST_NAMES

    def _ordinary_words(self, texts: Iterable[str], sure: Collection[str]) -> frozenset[str]:
        """Return the name words that the texts use as words: more often in lower case than as a name.

        For names that are `sure`, only texts that begin with a capital count: who writes all in lower case
        writes names so, too. Others may be the word after a greeting ("hey running late").
        """
        lower: Counter[str] = Counter()
        upper: Counter[str] = Counter()
        for text in texts:
            begins_upper = text.lstrip("\"'(*[ ")[:1].isupper()
            greeting = greeted(text)
            for found in _WORD.finditer(_ADDRESSES_AND_LINKS.sub(lambda part: " " * len(part[0]), text)):
                word = found[0].casefold()
                if word in self._names and (begins_upper or word not in sure):
                    if found[0].islower():
                        lower[word] += greeting is None or found.start() >= greeting.end
                    elif not _begins_sentence(found, text):
                        upper[word] += 1
        return frozenset(word for word, count in lower.items() if count > upper[word])

    def _genitives(self, texts: Iterable[str]) -> dict[str, str]:
        """Return the forms in -s of the names that are no words, with those of the made-up ones: "Lenas".

        A form that the texts write in lower case is a word ("this", "days"), unless they write the name so.
        """
        written = {word for text in texts for word in _WORD.findall(_ADDRESSES_AND_LINKS.sub(" ", text))}
        words = self._ordinary | CAPITALISED | PLAIN
        taken = words.union(self._mine, self._names)
        return {
            f"{word}s": f"{name}s"
            for word, name in self._names.items()
            if word not in words and f"{word}s" not in taken
            if f"{word}s" not in written or word in written
        }


def _pseudonyms(pools: Mapping[str, Sequence[str]], mine: Collection[str]) -> dict[str, str]:
    """Return a name for each word, by the hash of the word: another import nearly always has the same."""
    taken = {*pools, *mine}
    names = {}
    for word, pool in pools.items():
        start = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4])
        for step in itertools.count():
            turn = step // len(pool)
            name = pool[(start + step) % len(pool)] + "abcdefghiklmnoprstuvwz"[turn % 22] * turn
            if name.casefold() not in taken:
                break
        taken.add(name.casefold())
        names[word] = name
    return names


def _words(name: str) -> Iterable[str]:
    return (word.casefold() for word in _WORD.findall(name) if len(word) >= 3)


def _begins_sentence(found: re.Match[str], text: str) -> bool:
    before = text[max(0, found.start() - 20) : found.start()].rstrip(" \t\"'(*_-")
    return not before or before[-1] in ".!?:\n"


def _is_addressed(found: re.Match[str], text: str) -> bool:
    """Return whether a word is greeted, has a title, stands alone on a line, or signs the text."""
    before, after = text[: found.start()], text[found.end() :]
    line, rest = before[before.rfind("\n") + 1 :], after.partition("\n")[0]
    if _BEFORE_GREETED.fullmatch(line) and not rest[:2].strip(" \t").isalnum():
        return True
    if re.search(rf"{TITLE} ?$", line):
        return True
    if found[0].islower():
        return not after.strip(" \t\n,!:.-") and (not line.strip() or line.rstrip().endswith(","))
    if not line.strip(" \t\"'(*_-"):
        return not rest.strip(" ,!:.-") or rest.startswith(",")
    return not after.strip(" \t\n,!:.-") and line.rstrip().endswith(",")


def _beside(found: re.Match[str], text: str) -> tuple[re.Match[str] | None, re.Match[str] | None]:
    """Return the words directly before and after a word."""
    return _BEFORE.search(text[max(0, found.start() - 40) : found.start()]), _AFTER.match(text, found.end())


def _titled(text: str) -> Iterator[str]:
    return (found["names"] for found in _TITLED.finditer(text))


def _writers_name(
    requests: Iterable[str], texts: Iterable[str], around: Collection[str], known_as: str
) -> tuple[str, ...]:
    """Return the words of the name that the requests greet most, () where that is hardly the writer's.

    It is greeted at least twice, and more often than in the texts; it is part of `known_as`, or nobody else
    is greeted so. Nobody of `around` is meant, and no two people are.
    """
    own = Counter(word for text in texts for name in _greeted(text) for word in _words(name))
    by_requests = Counter(tuple(_words(names[0])) for text in requests if len(names := _greeted(text)) == 1)
    counts: Counter[tuple[str, ...]] = Counter()
    for name, count in by_requests.items():
        if name and not set(name).intersection(around):
            counts[name] = count - max(own[word] for word in name)
    candidates = [name for name, count in counts.most_common() if count > 0]
    if not candidates or counts[candidates[0]] < 2:
        return ()
    most, *others = candidates
    fits = all(word in known_as.casefold() for word in most)
    return most if fits or all(set(most).intersection(other) for other in others) else ()


def _greeted(text: str) -> tuple[str, ...]:
    found = greeted(text)
    return () if found is None else found.names


def _last_word(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text[-60:])[-1:]]


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _is_number(text: str) -> bool:
    """Tell a telephone's or an account's number from dates and sums."""
    groups = re.findall(r"\d+", _DATE.sub(" ", text))
    dialled = text.lstrip("(")[0] in "+0"
    return (
        sum(map(len, groups)) >= _LEAST_DIGITS
        and not all(map(_THOUSANDS.fullmatch, _RANGE.split(text)))
        and (dialled or max(map(len, groups)) >= 3)
    )


def _with_serial(text: str, serial: str) -> str:
    """Return a number of the same form: zeros, and the serial number at its end."""
    zeros = re.sub(r"\d", "0", text)
    if zeros[:2].isalpha():  # an IBAN
        zeros = "XX" + re.sub(r"[A-Z0-9]", "0", text[2:])
    characters = list(zeros)
    places = [place for place, character in enumerate(characters) if character == "0"]
    for place, digit in zip(reversed(places), reversed(serial), strict=False):
        characters[place] = digit
    return "".join(characters)
