"""BM25 against rank_bm25 on data of LaMP's shape: a profile of 185 items of 100 words (LaMP-3's mean).

    python benchmarks/retrieval.py [--queries 60] [--repeats 5] [--untuned]

Both select the top 4 of the same profiles, alternately, in one process, and must agree. *New user*: the
profile is new, so the time includes indexing. *Asked again*: the profile's index is kept; this is compared
with rank_bm25 as LaMP uses it (one index per query) and with one whose index is kept too. Words are drawn
from 20,000 by Zipf's law. glibc's malloc is tuned as for training, which saves page faults for large arrays,
unless `--untuned`. The table is printed and written to benchmarks/results/retrieval.md.
"""

from __future__ import annotations

import argparse
import ctypes
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from rank_bm25 import BM25Okapi

from personakit.files import write_text
from personakit.records import Profile, ProfileItem, Query
from personakit.retrieval import open_retriever

T = TypeVar("T")

ITEMS, WORDS, VOCABULARY, TOP = 185, 100, 20_000, 4
RESULTS = Path(__file__).parent / "results" / "retrieval.md"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--untuned", action="store_true", help="leave malloc as it is")
    arguments = parser.parse_args()
    tuned = not arguments.untuned and tune_malloc()
    new, again = measure(arguments.queries, arguments.repeats)
    table = "\n".join(
        [
            "| ms a query (median) | rank_bm25, index a query | rank_bm25, index kept | personakit | ratio |",
            "|---|---|---|---|---|",
            f"| new user | {new['rank_bm25']:.2f} | | {new['personakit']:.2f} "
            f"| **{new['rank_bm25'] / new['personakit']:.1f}** |",
            f"| asked again | {new['rank_bm25']:.2f} | {again['rank_bm25']:.2f} | {again['personakit']:.3f} "
            f"| **{new['rank_bm25'] / again['personakit']:.0f}** "
            f"(index kept: {again['rank_bm25'] / again['personakit']:.0f}) |",
        ]
    )
    note = (
        f"{ITEMS} items of {WORDS} words, queries of {WORDS} words, top {TOP}; {arguments.queries} users, "
        f"{arguments.repeats} repeats; malloc {'tuned' if tuned else 'as it is'}; "
        f"Python {platform.python_version()}, NumPy {np.__version__}."
    )
    print(f"{table}\n\n{note}")
    write_text(RESULTS, f"# BM25 (`python benchmarks/retrieval.py`)\n\n{table}\n\n{note}\n")


def measure(queries: int, repeats: int) -> tuple[dict[str, float], dict[str, float]]:
    """Return the median milliseconds per query for new users, and for users whose index is kept."""
    rng = np.random.default_rng(0)
    asked = [make_query(rng, number) for number in range(queries)]
    keeping = open_retriever("bm25", TOP, cached_profiles=queries)
    new: dict[str, list[float]] = {"rank_bm25": [], "personakit": []}
    again: dict[str, list[float]] = {"rank_bm25": [], "personakit": []}
    for _ in range(repeats):
        for query, profile in asked:
            expected = timed(new["rank_bm25"], lambda *pair: ask(make_index(pair[1]), *pair), query, profile)
            fresh = open_retriever("bm25", TOP)
            found = timed(new["personakit"], fresh.context, [query], [profile])[0].items
            assert [item.id for item in found] == [item.id for item in expected], "the top 4 differ"
        for query, profile in asked:
            index = make_index(profile)
            keeping.context([query], [profile])
            timed(again["rank_bm25"], ask, index, query, profile)
            timed(again["personakit"], keeping.context, [query], [profile])
    return medians(new), medians(again)


def make_query(rng: np.random.Generator, number: int) -> tuple[Query, Profile]:
    ranks = np.arange(1, VOCABULARY + 1)
    texts = [
        " ".join(np.base_repr(7919 * rank, 36).lower() for rank in row)
        for row in rng.choice(ranks, (ITEMS + 1, WORDS), p=1 / ranks / (1 / ranks).sum())
    ]
    items = tuple(ProfileItem(f"{number}-{place}", {}, text) for place, text in enumerate(texts[1:]))
    user = str(number)
    return Query(user, "LaMP_3", texts[0], texts[0], user), Profile(user, items)


def make_index(profile: Profile) -> BM25Okapi:
    return BM25Okapi([item.document.split() for item in profile.items])


def ask(index: BM25Okapi, query: Query, profile: Profile) -> list[ProfileItem]:
    return list(index.get_top_n(query.search_text.split(), profile.items, n=TOP))


def timed(seconds: list[float], call: Callable[..., T], *arguments: object) -> T:
    start = time.perf_counter()
    result = call(*arguments)
    seconds.append(time.perf_counter() - start)
    return result


def medians(seconds: dict[str, list[float]]) -> dict[str, float]:
    return {name: 1000 * statistics.median(values) for name, values in seconds.items()}


def tune_malloc() -> bool:
    """Keep large blocks in the process (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD); glibc only."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all([mallopt(-3, 1 << 30), mallopt(-1, 1 << 30), mallopt(-2, 1 << 26)])


if __name__ == "__main__":
    main()
