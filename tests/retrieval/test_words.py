from __future__ import annotations

import sys

from hypothesis import example, given, settings
from hypothesis import strategies as st

from personakit.retrieval.words import hash_query_words, hash_words

WHITE = "".join(character for character in map(chr, range(sys.maxunicode + 1)) if character.isspace())
# Words near the eight-byte windows' edges, characters of one to four bytes, lone surrogates, NUL.
text = st.text(st.sampled_from("ab\0ÿé€😀\ud800" + WHITE) | st.characters(), max_size=60)


@settings(deadline=None)  # other work on the machine is no failure
@given(st.lists(text, max_size=6))
@example(["a a\0 aaaaaaaa aaaaaaaaa aaaaaaaa\0 aaaaaaaaaaaaaaaa aaaaaaaaaaaaaaaaa"])
@example(["", " ", "one", ""])
@example([])
def test_words_are_those_of_str_split_and_equal_words_have_equal_hashes(documents):
    numbers, counts = hash_words(documents)
    words = [word for document in documents for word in document.split()]
    assert counts.tolist() == [len(document.split()) for document in documents]
    number_of = dict(zip(words, numbers.tolist(), strict=True))
    assert [number_of[word] for word in words] == numbers.tolist()
    assert len(set(number_of.values())) == len(number_of)


@settings(deadline=None)  # other work on the machine is no failure
@given(st.lists(text, max_size=6))
def test_query_and_document_words_have_equal_hashes(documents):
    words = list(dict.fromkeys(word for document in documents for word in document.split()))
    numbers, _ = hash_words([" ".join(words)])
    assert hash_query_words(words).tolist() == numbers.tolist()


def test_many_short_words_do_not_collide_in_their_high_bits():
    words = [f"{start}{number}" for start in ("", "w", "word-number-") for number in range(100_000)]
    assert len({number >> 12 for number in hash_query_words(words).tolist()}) == len(words)
