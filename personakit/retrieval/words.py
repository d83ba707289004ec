"""Every word of many documents as a 64-bit number, without one Python object per word.

A profile of 185 items holds some 18,000 words, and a Python string for each of them costs more than
all the arithmetic of BM25. So the documents become one array of bytes: words are found by comparing
each byte's whiteness with its neighbour's, and read eight bytes at a time. What `str.split` calls a
word is a word here, on any text (tests/retrieval/test_words.py).

Two different words get the same number with a probability of about 2^-64 a pair; the numbers are
equal across processes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Counts = NDArray[np.int64]

# A byte's whiteness, for text in which every other white character has become a space.
_WHITE = bytes(byte < 128 and chr(byte).isspace() for byte in range(256))
_WHITE_BEYOND_ASCII = re.compile(r"[^\S\x00-\x7f]")
# _PAD[n] fills a little-endian window of eight bytes after its first n, with a byte that is in no UTF-8.
_PAD = np.array([(1 << 64) - (1 << 8 * n) for n in range(9)], dtype=np.uint64)
# An odd multiplier is one-to-one and carries every bit upwards: the golden ratio's (Knuth, 6.4).
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
# The odd multipliers and shifts of splitmix64's finaliser (Steele et al., OOPSLA 2014).
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SHIFTS = np.uint64(30), np.uint64(27), np.uint64(31)


def number_words(documents: Sequence[str]) -> tuple[Words, Counts]:
    """Return the words of all documents in order, as numbers [words], and each one's count [documents]."""
    encoded = [_encode(document) for document in documents]
    numbers, starts = _number(b" ".join(encoded))
    sizes = np.fromiter(map(len, encoded), np.int64, len(encoded))
    words_until = starts.searchsorted((sizes + 1).cumsum())
    words_until[1:] -= words_until[:-1].copy()
    return numbers, words_until


def number_query(words: Iterable[str]) -> Words:
    """Return the numbers of single words, shape [words]."""
    return _number(_encode(" ".join(words)))[0]


def _encode(document: str) -> bytes:
    if not document.isascii():
        document = _WHITE_BEYOND_ASCII.sub(" ", document)
    return document.encode("utf-8", "surrogatepass")


def _number(text: bytes) -> tuple[Words, Counts]:
    """Return the number of each word of `text`, and where it starts, both of shape [words]."""
    # White on both sides gives every word two edges; eight more let a window start at any byte of text.
    text = b"".join((b" ", text, b" " * 9))
    white = np.frombuffer(text.translate(_WHITE), dtype=np.bool_)
    # Counted in `text` as it came, edges[0] is the first word's start, edges[1] its end, and so on.
    edges = (white[1:] != white[:-1]).nonzero()[0]
    starts, lengths = edges[0::2], edges[1::2] - edges[0::2]
    windows = np.ndarray((len(text) - 8,), dtype="<u8", buffer=text, offset=1, strides=(1,))
    numbers = windows[starts]
    numbers |= _PAD.take(lengths, mode="clip")
    numbers *= _SPREAD
    longer = (lengths > 8).nonzero()[0]
    offset = 8
    while len(longer):
        window = windows[starts[longer] + offset]
        window |= _PAD.take(lengths[longer] - offset, mode="clip")
        window ^= _mix(numbers[longer])
        window *= _SPREAD
        numbers[longer] = window
        offset += 8
        longer = longer[lengths[longer] > offset]
    return numbers, starts


def _mix(numbers: Words) -> Words:
    """Scramble in place, so that every bit of the input moves every bit of the output."""
    numbers ^= numbers >> _SHIFTS[0]
    numbers *= _FIRST
    numbers ^= numbers >> _SHIFTS[1]
    numbers *= _SECOND
    numbers ^= numbers >> _SHIFTS[2]
    return numbers
