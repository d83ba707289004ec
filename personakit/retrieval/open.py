"""Opens a retriever by its name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from personakit.contracts import ContextProvider
from personakit.errors import UserError
from personakit.retrieval.bm25 import BM25
from personakit.retrieval.order import Nothing, Random, Recency

#: The encoder LaMP uses (rank_profiles.py).
DEFAULT_ENCODER = "facebook/contriever"

# What each retriever may be told beside k.
_OPTIONS: dict[str, tuple[str, ...]] = {
    "bm25": ("cached_profiles",),
    "dense": ("device", "batch_size", "cached_items"),
    "recency": (),
    "random": ("seed",),
    "none": (),
}
RETRIEVERS = tuple(_OPTIONS)

OpenProvider = Callable[[str, int], ContextProvider]
"""From what stands behind the colon, and how many items, to a `ContextProvider`."""
_OF_RUNS: dict[str, OpenProvider] = {}


def offer_provider(kind: str, open_: OpenProvider) -> None:
    """Let `kind:RUN` name, wherever a retriever is named, what `open_` opens: how methods compose.

    A method that chooses what a model is told is on a floor above; `personakit.methods` offers it here.
    """
    _OF_RUNS[kind] = open_


def open_retriever(name: str, k: int, **options: Any) -> ContextProvider:
    """Return the retriever that gives each query the best `k` items of its profile, best first.

    `name` is `bm25`, `dense` (with LaMP's encoder), `dense:NAME` (any transformers or
    sentence-transformers encoder, a hub name or a folder), `recency`, `random` or `none`, or `METHOD:RUN`
    where a method offers it (`offer_provider`). A profile
    of fewer than `k` items gives all of them, those that share no word with the query included, as
    in LaMP. `options` go to the retriever: `cached_profiles` (bm25), `device`, `batch_size`,
    `cached_items` (dense), `seed` (random).

    Raises `UserError` for an unknown name or option, for `k` below 1 (`none` asks for no `k`), and
    where an encoder cannot be loaded.
    """
    kind, colon, encoder = name.partition(":")
    if encoder and kind in _OF_RUNS and k > 0:
        return _OF_RUNS[kind](encoder, k)
    if kind not in _OPTIONS or (colon and (kind != "dense" or not encoder)):
        raise _unknown("retriever", name, (*RETRIEVERS, "dense:NAME"))
    for option in options:
        if option not in _OPTIONS[kind]:
            raise _unknown(f"option of the retriever {kind}", option, _OPTIONS[kind])
    if kind == "none":
        return Nothing()
    if k < 1:
        raise UserError(
            f"retriever {name}: k is {k}, expected at least 1",
            hint='ask for 1 item or more, or name the retriever "none"',
        )
    if kind == "bm25":
        return BM25(k, **options)
    if kind == "recency":
        return Recency(k)
    if kind == "random":
        return Random(k, **options)
    from personakit.retrieval.dense import Dense
    from personakit.retrieval.encoders import open_encoder

    for_encoder = {option: options.pop(option) for option in ("device", "batch_size") if option in options}
    return Dense(k, open_encoder(encoder or DEFAULT_ENCODER, **for_encoder), **options)


def _unknown(what: str, given: str, known: tuple[str, ...]) -> UserError:
    near = difflib.get_close_matches(given.casefold(), known, n=1)
    return UserError(
        f'unknown {what} "{given}", expected {"one of " + ", ".join(known) if known else "none"}',
        hint=f'did you mean "{near[0]}"?' if near else "choose one of these" if known else "leave it out",
    )
