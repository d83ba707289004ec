"""How much of a draft a rewrite changes, and a rewrite that changes at most a share of it.

Words are what stands between white space, as written: a comma or a capital letter changes a word. The edit
share is the word-level edit distance over the number of the draft's words (above 1 for long additions).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein

_TOKEN = re.compile(r"(\S+)(\s*)")
_SENTENCE_END = re.compile(r"[.!?:][\"')\]’”]*$")
#: An opening or a sign-off has at most this many words.
_SHORT = 6


def edit_share(draft: str, candidate: str) -> float:
    """Return the words inserted, deleted and replaced, over the draft's words (over 1 if it has none)."""
    before = draft.split()
    return Levenshtein.distance(before, candidate.split()) / max(1, len(before))


def limit_edits(
    draft: str, candidate: str, max_share: float, allowed: Callable[[str], bool] = lambda text: True
) -> str:
    """Return `draft` with those edits of `candidate` that change at most `max_share` of its words.

    Edits are those of the word alignment. Edits within one sentence are applied together, or the sentence
    might not be grammatical; changes of case and punctuation stand alone. They are applied in this order
    while they fit: opening and sign-off, case and punctuation, then sentences with few changes first. An
    edit is left out where `allowed` is false for the text with it (for example because it loses a fact).
    """
    if edit_share(draft, candidate) <= max_share and allowed(candidate):
        return candidate
    before, after = _Tokens.of(draft), _Tokens.of(candidate)
    remaining = int(max_share * len(before.words) + 1e-9)
    applied: list[_Hunk] = []
    for edit in sorted(_edits(before, after), key=lambda edit: (edit.rank, edit.cost, edit.hunks[0].start)):
        if edit.cost > remaining:
            continue
        if allowed(_apply(before, after, [*applied, *edit.hunks])):
            applied += edit.hunks
            remaining -= edit.cost
    return _apply(before, after, applied) if applied else draft


@dataclass(frozen=True)
class _Tokens:
    """The words of a text, the white space before the first and after each, and the sentence of each."""

    before: str
    words: list[str]
    spaces: list[str]
    sentences: list[int]

    @classmethod
    def of(cls, text: str) -> _Tokens:
        found = _TOKEN.findall(text)
        words, spaces = [word for word, _ in found], [space for _, space in found]
        sentences, number = [], 0
        for word, space in found:
            sentences.append(number)
            number += "\n" in space or _SENTENCE_END.search(word) is not None
        return cls(text[: len(text) - len(text.lstrip())], words, spaces, sentences)


@dataclass(frozen=True)
class _Hunk:
    """Words [start, stop) of the draft become words [new_start, new_stop) of the candidate."""

    start: int
    stop: int
    new_start: int
    new_stop: int

    @property
    def cost(self) -> int:
        return max(self.stop - self.start, self.new_stop - self.new_start)


@dataclass(frozen=True)
class _Edit:
    """Hunks that are applied together; a lower rank comes first."""

    hunks: Sequence[_Hunk]
    rank: int

    @property
    def cost(self) -> int:
        return sum(hunk.cost for hunk in self.hunks)


def _edits(before: _Tokens, after: _Tokens) -> Iterator[_Edit]:
    together: list[_Hunk] = []
    last_sentence = -1
    for hunk in _hunks(before.words, after.words):
        if (rank := _rank(hunk, before, after)) < 2:
            yield _Edit([hunk], rank)
            continue
        sentences = [before.sentences[place] for place in range(hunk.start, hunk.stop)]
        if not sentences:  # an insertion belongs to the sentence that it stands in
            inside = hunk.start > 0 and not _ends_sentence(before, hunk.start - 1)
            sentences = [before.sentences[hunk.start - 1]] if inside else []
        if together and (not sentences or sentences[0] > last_sentence):
            yield _Edit(together, 2)
            together = []
        together.append(hunk)
        last_sentence = sentences[-1] if sentences else -1
    if together:
        yield _Edit(together, 2)


def _hunks(before: Sequence[str], after: Sequence[str]) -> Iterator[_Hunk]:
    """Yield the maximal runs of words that an optimal alignment changes."""
    runs = itertools.groupby(Levenshtein.opcodes(before, after), key=lambda opcode: opcode.tag == "equal")
    for equal, opcodes in runs:
        if not equal:
            run = list(opcodes)
            yield _Hunk(run[0].src_start, run[-1].src_end, run[0].dest_start, run[-1].dest_end)


def _rank(hunk: _Hunk, before: _Tokens, after: _Tokens) -> int:
    """Return 0 for an opening or a sign-off, 1 for case and punctuation only, 2 for other edits."""
    old, new = before.words[hunk.start : hunk.stop], after.words[hunk.new_start : hunk.new_stop]
    if hunk.start == 0 and _is_own_sentence(hunk, before, after):
        return 0
    signs_off = hunk.stop == len(before.words) and hunk.start > 0 and _ends_sentence(before, hunk.start - 1)
    if signs_off and max(len(old), len(new)) <= _SHORT:
        return 0
    return 1 if _letters(old) == _letters(new) else 2


def _is_own_sentence(hunk: _Hunk, before: _Tokens, after: _Tokens) -> bool:
    """Whether a hunk at the beginning is a short greeting that replaces nothing else."""
    if hunk.cost > _SHORT or hunk.new_stop == hunk.new_start:
        return False
    whole_new = _ends_greeting(after, hunk.new_stop - 1)
    return whole_new and (hunk.stop == hunk.start or _ends_greeting(before, hunk.stop - 1))


def _ends_greeting(tokens: _Tokens, place: int) -> bool:
    return tokens.words[place].endswith(",") or _ends_sentence(tokens, place)


def _ends_sentence(tokens: _Tokens, place: int) -> bool:
    return "\n" in tokens.spaces[place] or _SENTENCE_END.search(tokens.words[place]) is not None


def _letters(words: Sequence[str]) -> str:
    return "".join(character for character in "".join(words).casefold() if character.isalnum())


def _apply(before: _Tokens, after: _Tokens, hunks: Sequence[_Hunk]) -> str:
    """Return the draft with some hunks; the white space around them is the candidate's."""
    words, spaces = [""], [before.before]
    place = 0

    def keep(stop: int) -> None:
        words.extend(before.words[place:stop])
        spaces.extend(before.spaces[place:stop])

    for hunk in sorted(hunks, key=lambda hunk: (hunk.start, hunk.stop)):
        keep(hunk.start)
        if hunk.new_start > 0 and hunk.start > 0:
            spaces[-1] = after.spaces[hunk.new_start - 1]
        words.extend(after.words[hunk.new_start : hunk.new_stop])
        spaces.extend(after.spaces[hunk.new_start : hunk.new_stop])
        if spaces[-1] == "" and hunk.stop < len(before.words):
            spaces[-1] = " "
        place = hunk.stop
    keep(len(before.words))
    spaces[-1] = before.spaces[-1] if before.spaces else ""
    return "".join(word + space for word, space in zip(words, spaces, strict=True))
