"""Fast tokenisation for BM25: every whitespace-separated word of many documents as a 64-bit hash.

A profile of 185 items has about 18,000 words, and creating a Python string for each would dominate BM25's
run time. Instead, the documents form one byte array: word boundaries are found by comparing neighbouring
bytes, and words are read eight bytes at a time. Words are those of `str.split`, for any text
(tests/retrieval/test_words.py).

Two different words collide with probability of about 2^-64. Hashes are equal across processes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Counts = NDArray[np.int64]

# Whether each byte is whitespace. Non-ASCII whitespace is replaced by a space beforehand.
_IS_SPACE = bytes(byte < 128 and chr(byte).isspace() for byte in range(256))
_NON_ASCII_SPACE = re.compile(r"[^\S\x00-\x7f]")
# _PAD[n] fills a little-endian window of eight bytes after its first n with 0xff, which UTF-8 never contains.
_PAD = np.array([(1 << 64) - (1 << 8 * n) for n in range(9)], dtype=np.uint64)
# Fibonacci hashing: an odd multiplier is a bijection and propagates every bit upwards (Knuth, 6.4).
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
# The odd multipliers and shifts of splitmix64's finaliser (Steele et al., OOPSLA 2014).
_MIX_FIRST, _MIX_SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SHIFTS = np.uint64(30), np.uint64(27), np.uint64(31)


def hash_words(documents: Sequence[str]) -> tuple[Words, Counts]:
    """Return the hashes of all words in order, shape [words], and the word counts, shape [documents]."""
    encoded = [_encode(document) for document in documents]
    hashes, starts = _hash(b" ".join(encoded))
    sizes = np.fromiter(map(len, encoded), np.int64, len(encoded))
    words_until = starts.searchsorted((sizes + 1).cumsum())
    words_until[1:] -= words_until[:-1].copy()
    return hashes, words_until


def hash_query_words(words: Iterable[str]) -> Words:
    """Return the hashes of single words, shape [words]."""
    return _hash(_encode(" ".join(words)))[0]


def digest(*documents: str) -> bytes:
    """Return a hash that stands for documents in a cache, which then keeps no readable text."""
    lengths = ",".join(str(len(document)) for document in documents)
    content = "\0".join((lengths, *documents)).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, digest_size=16).digest()


def _encode(document: str) -> bytes:
    if not document.isascii():
        document = _NON_ASCII_SPACE.sub(" ", document)
    return document.encode("utf-8", "surrogatepass")


def _hash(text: bytes) -> tuple[Words, Counts]:
    """Return the hash and the start of each word of `text`, both of shape [words]."""
    # Spaces on both sides give every word two edges; eight more allow a window to start at any byte of text.
    text = b"".join((b" ", text, b" " * 9))
    is_space = np.frombuffer(text.translate(_IS_SPACE), dtype=np.bool_)
    # In the original `text`, edges[0] is the first word's start, edges[1] its end, and so on.
    edges = (is_space[1:] != is_space[:-1]).nonzero()[0]
    starts, lengths = edges[0::2], edges[1::2] - edges[0::2]
    windows = np.ndarray((len(text) - 8,), dtype="<u8", buffer=text, offset=1, strides=(1,))
    hashes = windows[starts]
    hashes |= _PAD.take(lengths, mode="clip")
    hashes *= _MULTIPLIER
    longer = (lengths > 8).nonzero()[0]
    offset = 8
    while len(longer):
        window = windows[starts[longer] + offset]
        window |= _PAD.take(lengths[longer] - offset, mode="clip")
        window ^= _mix(hashes[longer])
        window *= _MULTIPLIER
        hashes[longer] = window
        offset += 8
        longer = longer[lengths[longer] > offset]
    return hashes, starts


def _mix(hashes: Words) -> Words:
    """Mix the bits in place, so that every input bit affects every output bit."""
    hashes ^= hashes >> _SHIFTS[0]
    hashes *= _MIX_FIRST
    hashes ^= hashes >> _SHIFTS[1]
    hashes *= _MIX_SECOND
    hashes ^= hashes >> _SHIFTS[2]
    return hashes
