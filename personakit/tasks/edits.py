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

from personakit.data.greetings import OPENING_WORDS

#: More edits are not undone one by one: each is a check of the whole text. Our choice.
MOST_UNDONE = 200
_TOKEN = re.compile(r"(\S+)(\s*)")
#: Also an emoticon or an emoji on its own.
_SENTENCE_END = re.compile(r"[.!?:][\"')\]’”]*$|^[^\w\s]{2,}$|^[^\w\s,;&+*/=–—-]$")
#: An opening or a sign-off has at most this many words, and begins with one of these unless it is a name.
_SHORT = 6
_CLOSING_WORDS = """
thanks thank thx ty cheers best kind kindest warm warmest many regards sincerely yours respectfully love
take ttyl xo xoxo later bye danke gruß grüße viele liebe beste mit merci cordialement bien gracias saludos
grazie saluti obrigado abraço groet groeten
"""
_CLOSINGS = frozenset(_CLOSING_WORDS.casefold().split())


def changed_words(draft: str, candidate: str) -> int:
    """Return the number of words inserted, deleted and replaced."""
    return Levenshtein.distance(draft.split(), candidate.split())


def edit_share(draft: str, candidate: str) -> float:
    """Return the changed words over the draft's words (over 1 if it has none)."""
    return changed_words(draft, candidate) / max(1, len(draft.split()))


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


def undo_edits(draft: str, candidate: str, problems: Callable[[str], int]) -> str:
    """Return `candidate` without those edits that cause problems, or the draft if some remain.

    `problems` counts the problems of a text. An edit, a run of changed words, is undone where that leaves
    fewer of them. Of more than `MOST_UNDONE` edits, none is.
    """
    count = problems(candidate)
    if not count:
        return candidate
    before, after = _Tokens.of(draft), _Tokens.of(candidate)
    kept = list(_hunks(before, after))
    if len(kept) > MOST_UNDONE:
        return draft
    for hunk in tuple(kept):
        without = [each for each in kept if each is not hunk]
        fewer = problems(_apply(before, after, without))
        if fewer < count:
            kept, count = without, fewer
    return draft if count or not kept else _apply(before, after, kept)


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
    for hunk in _hunks(before, after):
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


def _hunks(before: _Tokens, after: _Tokens) -> Iterator[_Hunk]:
    """Yield the maximal runs of words that an optimal alignment changes; an opening and a sign-off apart."""
    opcodes = Levenshtein.opcodes(before.words, after.words)
    for equal, run in itertools.groupby(opcodes, key=lambda opcode: opcode.tag == "equal"):
        if equal:
            continue
        first, *_, last = [*run] * 2
        start, stop, new_start, new_stop = first.src_start, last.src_end, first.dest_start, last.dest_end
        if start == 0:
            opening, new_opening = _opening(before, stop), _opening(after, new_stop)
            if new_opening:
                yield _Hunk(0, opening, 0, new_opening)
                start, new_start = opening, new_opening
        signing, new_signing = stop, new_stop
        if stop == len(before.words):
            new_signing = _sign_off(after, new_start)
            signing = stop if new_signing == new_stop else _sign_off(before, start)
        if (signing, new_signing) > (start, new_start):
            yield _Hunk(start, signing, new_start, new_signing)
        if (signing, new_signing) < (stop, new_stop):
            yield _Hunk(signing, stop, new_signing, new_stop)


def _opening(tokens: _Tokens, stop: int) -> int:
    """Return where the greeting that begins a text ends, at most `stop`; 0 if there is none."""
    for place in range(min(stop, _SHORT)):
        word = tokens.words[place]
        if word.endswith(",") or _ends_sentence(tokens, place):
            named = place < 2 and word.endswith((",", ":")) and "\n" in tokens.spaces[place]  # `Ada,`
            return place + 1 if named or _letters(tokens.words[:1]) in OPENING_WORDS else 0
    return 0


def _sign_off(tokens: _Tokens, start: int) -> int:
    """Return where the sign-off of a text begins, at least `start`; its number of words if there is none."""
    count = len(tokens.words)
    for place in range(max(start, count - _SHORT, 1), count):
        if _ends_sentence(tokens, place - 1):
            on_a_line = "\n" in tokens.spaces[place - 1] and not tokens.words[-1].endswith((".", "!", "?"))
            if _letters(tokens.words[place : place + 1]) in _CLOSINGS or (on_a_line and count - place < 4):
                return place
    return count


def _rank(hunk: _Hunk, before: _Tokens, after: _Tokens) -> int:
    """Return 0 for an opening or a sign-off, 1 for case and punctuation only, 2 for other edits."""
    opens = hunk.start == 0 and 0 < hunk.new_stop == _opening(after, hunk.new_stop)
    signs_off = hunk.stop == len(before.words) and (
        len(after.words) > hunk.new_start == _sign_off(after, hunk.new_start)
    )
    if (opens and hunk.stop == _opening(before, hunk.stop)) or (
        signs_off and hunk.start == _sign_off(before, hunk.start)
    ):
        return 0
    old, new = before.words[hunk.start : hunk.stop], after.words[hunk.new_start : hunk.new_stop]
    return 1 if _letters(old) == _letters(new) else 2


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

    for hunk in sorted(hunks, key=lambda hunk: (hunk.start, hunk.new_start)):
        keep(hunk.start)
        if hunk.new_start > 0 and hunk.start > 0:
            spaces[-1] = after.spaces[hunk.new_start - 1]
        words.extend(after.words[hunk.new_start : hunk.new_stop])
        spaces.extend(after.spaces[hunk.new_start : hunk.new_stop])
        if spaces[-1] == "" and len(words) > 1 and hunk.stop < len(before.words):
            spaces[-1] = " "
        place = hunk.stop
    keep(len(before.words))
    spaces[-1] = before.spaces[-1] if before.spaces else ""
    return "".join(word + space for word, space in zip(words, spaces, strict=True))
