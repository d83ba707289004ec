"""Opens a retriever by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from personakit.contracts import ContextProvider
from personakit.errors import UserError
from personakit.retrieval.bm25 import BM25
from personakit.retrieval.order import NoRetrieval, Random, Recency

#: The encoder LaMP uses (rank_profiles.py).
DEFAULT_ENCODER = "facebook/contriever"

# The options that each retriever accepts besides k.
_OPTIONS: dict[str, tuple[str, ...]] = {
    "bm25": ("cached_profiles",),
    "dense": ("device", "batch_size", "cached_items"),
    "recency": (),
    "random": ("seed",),
    "none": (),
}
RETRIEVERS = tuple(_OPTIONS)

OpenProvider = Callable[[str, int], ContextProvider]
"""Opens a `ContextProvider` from the text after the colon and the number of items."""
_PROVIDER_OPENERS: dict[str, OpenProvider] = {}


def register_provider(kind: str, open_: OpenProvider) -> None:
    """Register `open_` for retriever names of the form `kind:RUN`, so that methods can be combined.

    `personakit.methods` calls this for methods that provide context; retrieval must not import them.
    """
    _PROVIDER_OPENERS[kind] = open_


def open_retriever(name: str, k: int, **options: Any) -> ContextProvider:
    """Return the retriever that gives each query the best `k` items of its profile, best first.

    `name` is `bm25`, `dense` (LaMP's encoder), `dense:NAME` (a transformers or sentence-transformers encoder,
    hub name or folder), `recency`, `random`, `none`, or `METHOD:RUN` for a registered method
    (`register_provider`). A profile of fewer than `k` items yields all of them, also those that share no word
    with the query, as in LaMP. `options` are passed on: `cached_profiles` (bm25); `device`, `batch_size`,
    `cached_items` (dense); `seed` (random).

    Raises `UserError` for an unknown name or option, for `k` below 1 (except with `none`), and if an encoder
    cannot be loaded.
    """
    kind, colon, encoder = name.partition(":")
    if encoder and kind in _PROVIDER_OPENERS and k > 0:
        return _PROVIDER_OPENERS[kind](encoder, k)
    if kind not in _OPTIONS or (colon and (kind != "dense" or not encoder)):
        raise _unknown("retriever", name, (*RETRIEVERS, "dense:NAME"))
    for option in options:
        if option not in _OPTIONS[kind]:
            raise _unknown(f"option of the retriever {kind}", option, _OPTIONS[kind])
    if kind == "none":
        return NoRetrieval()
    if k < 1:
        raise UserError(
            f"retriever {name}: k is {k}, expected at least 1",
            hint='use a k of 1 or more, or the retriever "none"',
        )
    if kind == "bm25":
        return BM25(k, **options)
    if kind == "recency":
        return Recency(k)
    if kind == "random":
        return Random(k, **options)
    from personakit.retrieval.dense import Dense
    from personakit.retrieval.encoders import open_encoder

    encoder_options = {
        option: options.pop(option) for option in ("device", "batch_size") if option in options
    }
    return Dense(k, open_encoder(encoder or DEFAULT_ENCODER, **encoder_options), **options)


def _unknown(what: str, given: str, known: tuple[str, ...]) -> UserError:
    close = difflib.get_close_matches(given.casefold(), known, n=1)
    return UserError(
        f'unknown {what} "{given}", expected {"one of " + ", ".join(known) if known else "none"}',
        hint=f'did you mean "{close[0]}"?' if close else "choose one of these" if known else "remove it",
    )
