"""Counts what marks a writer's texts: openings and closings, length, punctuation, case, spelling, words.

Everything is counted; nothing is judged by a model. Openings and closings are runs of words with which
several texts begin or end, in any language; spelling is looked up for English.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from personakit.data.words import WORD

_TOKEN = re.compile(r"\n|\w+(?:['’.,:]\w+)*|[^\w\s]+")
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"')\]]*\s+|\n+")
_LONGEST_RUN = 7
#: A run counts where this many texts have it, and this share of them.
_FEWEST, _LEAST_SHARE = 2, 0.04
_MOST_PHRASES = 12
NAME = "NAME"
_EMOJI = re.compile(r"[\U0001F300-\U0001FAFF\u2600-\u27BF]|[:;]-?[)(DPp]")
PUNCTUATION: Mapping[str, re.Pattern[str]] = {
    "exclamation marks": re.compile(r"!"),
    "question marks": re.compile(r"\?"),
    "ellipses": re.compile(r"\.{2,}|…"),
    "dashes": re.compile(r"[–—]|(?<=\s)-{1,2}(?=\s)"),
    "semicolons": re.compile(r";(?![-)(DPp])"),
    "colons": re.compile(r":(?![-)(DPp/\d])"),
    "brackets": re.compile(r"(?<![:;-])\("),
    "quotation marks": re.compile(r"[\"“„«]"),
    "ampersands": re.compile(r"(?<=\s)&(?=\s)"),
    "emoji and smileys": _EMOJI,
}
_CONTRACTIONS = r"\b\w+(?:n['’]t|['’](?:ll|re|ve|d|m))\b"
SPELLING: Mapping[str, tuple[str, str]] = {  # one way, the other; counted are both
    "contractions (don't) or full forms (do not)": (
        _CONTRACTIONS,
        r"\b(?:do|does|did|is|are|was|were|will|would|can|could|should|have|has) ?not\b|"
        r"\bI (?:am|will|have)\b|\b(?:you|we|they) are\b|\bit is\b",
    ),
    "-ize or -ise": (
        r"\b(?:organ|real|recogn|apolog|final|summar)iz(?:e[sd]?|ing|ation)\b",
        r"\b(?:organ|real|recogn|apolog|final|summar)is(?:e[sd]?|ing|ation)\b",
    ),
    "-or or -our (color, colour)": (
        r"\b(?:color|favor|neighbor|behavior|honor|labor)\w*\b",
        r"\b(?:colour|favour|neighbour|behaviour|honour|labour)\w*\b",
    ),
    "-er or -re (center, centre)": (
        r"\b(?:center|meter|theater|liter)s?\b",
        r"\b(?:centre|metre|theatre|litre)s?\b",
    ),
    "short forms (u, thx, pls) or words": (
        r"\b(?:u|ur|r|thx|tks|pls|plz|btw|imo|fyi|asap|w/|b/c|gonna|wanna|cuz|tmrw)(?!\w)",
        r"\b(?:you|your|thanks|please|by the way|going to|because|tomorrow)\b",
    ),
    "i or I": (r"(?<![\w.])i(?=['’ ])(?!\.)", r"\bI\b"),
}


@dataclass(frozen=True, slots=True)
class Share:
    """Something that some of the texts have: how many, and the first example."""

    what: str
    texts: int
    example: str


@dataclass(frozen=True, slots=True)
class Spread:
    """The quartiles of a number over texts or sentences, rounded."""

    low: int
    median: int
    high: int


@dataclass(frozen=True, slots=True)
class Style:
    """The counts of a writer's texts. `per_1000` are occurrences in a thousand words."""

    texts: int
    words: int
    openings: Sequence[Share]
    closings: Sequence[Share]
    words_of_text: Spread
    words_of_sentence: Spread
    several_paragraphs: int
    no_final_mark: int
    lower_case: int
    capitals: float
    punctuation: Mapping[str, tuple[int, float, str]]
    spelling: Mapping[str, tuple[int, int]]
    phrases: Sequence[Share]


def count_style(texts: Sequence[str], others: Sequence[str] = (), names: Collection[str] = ()) -> Style:
    """Return the counts of `texts`, at least one.

    `others` are texts by other people, with which words and phrases are compared; `names` are words, in lower
    case, that count as one name in openings and closings.
    """
    tokens = [_TOKEN.findall(text) for text in texts]
    masked = [[NAME if each.casefold() in names else each for each in own] for own in tokens]
    words = sum(len(WORD.findall(text)) for text in texts)
    openings, begins = _runs(texts, masked)
    closings, ends = _runs(texts, masked, at_end=True)
    middles = [
        " ".join(own[begin : len(own) - end]) for own, begin, end in zip(masked, begins, ends, strict=True)
    ]
    sentences = [
        len(WORD.findall(each)) for text in middles for each in _SENTENCE_END.split(text) if WORD.search(each)
    ]
    return Style(
        texts=len(texts),
        words=words,
        openings=openings,
        closings=closings,
        words_of_text=_spread([len(WORD.findall(text)) for text in texts]),
        words_of_sentence=_spread(sentences or [0]),
        several_paragraphs=sum("\n\n" in text for text in texts),
        no_final_mark=sum(middle.rstrip("\n -–—/")[-1:].isalnum() for middle in middles),
        lower_case=sum(text.islower() for text in texts),
        capitals=_per_1000(sum(len(each) > 1 and each.isupper() for own in tokens for each in own), words),
        punctuation=_punctuation(texts, words),
        spelling=_spelling(texts),
        phrases=_phrases(middles, others, texts),
    )


def _runs(
    texts: Sequence[str], tokens: Sequence[list[str]], *, at_end: bool = False
) -> tuple[list[Share], list[int]]:
    """Return runs of tokens that texts begin or end with in common, and the length of each text's run.

    A run reaches to a mark, a line break or a name, or begins after one at the end of a text. Of several
    runs, a text counts for the longer and more frequent one.
    """
    ends = [own[::-1] if at_end else own for own in tokens]
    runs: Counter[tuple[str, ...]] = Counter()
    for own in ends:
        for n in range(1, min(_LONGEST_RUN, len(own) - 1) + 1):
            last = own[n] if at_end else own[n - 1]
            if (last == NAME or not last[0].isalnum()) and any(each[0].isalnum() for each in own[:n]):
                runs[tuple(own[:n])] += 1
    least = max(_FEWEST, math.ceil(_LEAST_SHARE * len(texts)))
    usable = [run for run, count in runs.items() if count >= least]
    left, lengths = set(range(len(texts))), [0] * len(texts)
    found = []
    for run in sorted(usable, key=lambda run: (-runs[run] * (1 + math.log(len(run))), run)):
        having = [place for place in sorted(left) if tuple(ends[place][: len(run)]) == run]
        if len(having) >= least:
            left -= set(having)
            for place in having:
                lengths[place] = len(run)
            shown, more = _TOKEN.findall(texts[having[0]]), len(run) + 4
            text = texts[having[0]]
            example = _readable(shown[-more:] if at_end else shown[:more], text)
            found.append(Share(_readable(run[::-1] if at_end else run, text), len(having), example))
    return sorted(found, key=lambda share: -share.texts), lengths


def _readable(run: Sequence[str], original: str) -> str:
    """Return tokens as a text. A mark joins a word where it does in the original, such as in `-Kai`."""
    text = run[0]
    for left, right in pairwise(run):
        words = left[-1].isalnum() and right[0].isalnum()
        text += right if left + right in original and not words else f" {right}"
    text = re.sub(r" +([,.!?…:;)]+)", r"\1", text)  # NAME is not in the original
    return re.sub(r"\s*\n\s*", " / ", text.strip())


def _spread(values: Sequence[int]) -> Spread:
    ordered = [*values, *values] if len(values) == 1 else values
    low, median, high = statistics.quantiles(ordered, n=4, method="inclusive")
    return Spread(round(low), round(median), round(high))


def percent(count: int, of: int) -> str:
    """Return a share in whole percents."""
    return f"{100 * count / of:.0f} %"


def _per_1000(count: int, words: int) -> float:
    return 1000 * count / max(1, words)


def _punctuation(texts: Sequence[str], words: int) -> dict[str, tuple[int, float, str]]:
    found = {}
    for name, pattern in PUNCTUATION.items():
        having = [text for text in texts if pattern.search(text)]
        if having:
            count = sum(len(pattern.findall(text)) for text in having)
            found[name] = (len(having), _per_1000(count, words), _around(having[0], pattern))
    return found


def _around(text: str, pattern: re.Pattern[str]) -> str:
    """Return the words around the first match."""
    found = pattern.search(text)
    assert found is not None
    before, after = text[: found.start()].split()[-3:], text[found.end() :].split()[:2]
    space = "" if found.start() == 0 or not text[found.start() - 1].isspace() else " "
    next_space = " " if text[found.end() : found.end() + 1].isspace() else ""
    return " ".join(before) + space + found[0] + next_space + " ".join(after)


def _spelling(texts: Sequence[str]) -> dict[str, tuple[int, int]]:
    found = {}
    for name, (one, other) in SPELLING.items():
        flags = 0 if name == "i or I" else re.IGNORECASE
        counts = tuple(sum(len(re.findall(form, text, flags)) for text in texts) for form in (one, other))
        if counts[0] or (counts[1] and "short forms" not in name):
            found[name] = (counts[0], counts[1])
    return found


def _phrases(texts: Sequence[str], others: Sequence[str], originals: Sequence[str]) -> list[Share]:
    """Return runs of one to three words that the writer uses more than others do.

    Ranked by the log-odds ratio of their occurrences with a prior of half an occurrence, over its standard
    error (after Monroe, Colaresi and Quinn 2008); listed from one standard error. Without texts by others,
    the longest frequent runs. `originals` are the texts with their ends, for the examples.
    """
    least = max(_FEWEST + 1, math.ceil(_LEAST_SHARE * len(texts)))
    having: dict[tuple[str, ...], int] = {}
    for n in (1, 2, 3):  # the parts of a frequent run are frequent: the others need not be counted
        counts = Counter(
            gram
            for text in texts
            for gram in set(_grams(text, n))
            if n == 1 or (gram[1:] in having and gram[:-1] in having)
        )
        having |= {gram: count for gram, count in counts.items() if count >= least}
    used, used_by_others = (
        Counter(gram for text in some for n in (1, 2, 3) for gram in _grams(text, n) if gram in having)
        for some in (texts, others)
    )
    total, total_of_others = (sum(1 for text in some for _ in _grams(text, 1)) for some in (texts, others))

    def score(gram: tuple[str, ...]) -> float:
        if not others:
            return having[gram] * (len(gram) - 1 + (len(gram[0]) > 6) / 2)
        x, y = used[gram] + 0.5, used_by_others[gram] + 0.5
        odds = math.log(x / (total - x + 1)) - math.log(y / (total_of_others - y + 1))
        return odds / math.sqrt(1 / x + 1 / y)

    found: list[tuple[str, ...]] = []
    for gram in sorted(filter(_is_phrase, having), key=lambda gram: (-score(gram), gram)):
        if (
            len(found) < _MOST_PHRASES
            and score(gram) >= 1
            and not any(set(gram) & set(other) for other in found)
        ):
            found.append(gram)
    return [Share(" ".join(gram), having[gram], _example(originals, gram)) for gram in found]


def _is_phrase(gram: tuple[str, ...]) -> bool:
    return len(gram) > 1 or len(gram[0]) > 1


def _grams(text: str, n: int) -> Iterator[tuple[str, ...]]:
    """Yield the runs of n words that no mark and no name divides."""
    for part in re.split(rf"[.!?…,;:()\n\d_]+|\b{NAME}\b", text):
        words = [word.casefold() for word in WORD.findall(part)]
        for start in range(len(words) - n + 1):
            yield tuple(words[start : start + n])


def _example(texts: Sequence[str], gram: tuple[str, ...]) -> str:
    pattern = re.compile(r"\b" + r"\W+".join(map(re.escape, gram)) + r"\b", re.IGNORECASE)
    text = next((text for text in texts if pattern.search(text)), None)
    return " ".join(gram) if text is None else _around(text, pattern)
