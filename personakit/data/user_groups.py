"""Derives users for LaMP's user-based split, whose files carry no user ids.

Two queries of one user have nearly the same profile, so queries are joined if they share at least half of the
smaller profile's distinct items. One shared item is not enough: different users may have an equal item (a
popular movie with a popular tag, a paper with two authors), which would chain nearly all users of LaMP-1 and
LaMP-2 together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

MIN_SHARED = 0.5
_WINDOWS = 5
_MULTIPLIERS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F)
_ROWS_AT_ONCE = 512


class UserGroups:
    """Collects profiles as item hashes and groups those of the same user."""

    def __init__(self) -> None:
        self._digests: list[np.ndarray[Any, Any]] = []
        self._sizes: list[int] = []

    def add(self, digests: np.ndarray[Any, Any], sizes: Sequence[int]) -> None:
        """Add profiles: the hashes of their items (uint64, concatenated) and the number of items of each."""
        self._digests.append(digests)
        self._sizes += sizes

    def first_queries(self) -> list[int]:
        """Return for each query the index of the first query of the same user.

        A query with an empty profile is its own user.
        """
        import numpy as np
        from scipy.sparse import coo_array  # type: ignore[import-untyped]
        from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]

        queries = len(self._sizes)
        if not any(self._sizes):
            return list(range(queries))
        digests = np.concatenate(self._digests)
        order = np.argsort(digests, kind="stable")  # equal items stay in query order
        rows = np.repeat(np.arange(queries, dtype=np.int32), self._sizes)[order]
        digests = digests[order]
        new_item = np.r_[True, digests[1:] != digests[:-1]]
        distinct = new_item | np.r_[True, rows[1:] != rows[:-1]]  # count repeated items of a profile once
        items = np.cumsum(new_item, dtype=np.int32)[distinct] - 1
        rows = rows[distinct]
        sizes = np.bincount(rows, minlength=queries)
        shared = np.bincount(items)[items] > 1
        items, rows = items[shared], rows[shared]
        shape = (int(items.max(initial=0)) + 1, queries)
        item_queries = coo_array((np.ones(len(items), dtype=np.int32), (items, rows)), shape=shape).tocsr()
        query_items = item_queries.T.tocsr()
        pairs = []
        for start in range(0, queries, _ROWS_AT_ONCE):
            common = (query_items[start : start + _ROWS_AT_ONCE] @ item_queries).tocoo()
            left, right = common.row + start, common.col
            same_user = common.data >= MIN_SHARED * np.minimum(sizes[left], sizes[right])
            pairs.append(np.stack([left[same_user], right[same_user]]))
        left, right = np.concatenate(pairs, axis=1)
        edges = coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(queries, queries))
        _, labels = connected_components(edges, directed=False)
        _, first = np.unique(labels, return_index=True)
        first_queries: list[int] = first[labels].tolist()
        return first_queries


def profiles_of_shared_users(
    profiles: tuple[np.ndarray[Any, Any], Sequence[int]], others: tuple[np.ndarray[Any, Any], Sequence[int]]
) -> list[int]:
    """Return the indices of those profiles of `one` whose user also occurs in `other`, by the rule above.

    Each argument holds item hashes (uint64, concatenated) and the number of items per profile.
    """
    import numpy as np
    from scipy.sparse import coo_array

    common = np.intersect1d(profiles[0], others[0])
    if not len(common):
        return []

    def incidence(digests: np.ndarray[Any, Any], sizes: Sequence[int]) -> Any:
        rows = np.repeat(np.arange(len(sizes)), sizes)
        index = np.minimum(np.searchsorted(common, digests), len(common) - 1)
        shared = common[index] == digests
        shape = (len(sizes), len(common))
        matrix = coo_array((np.ones(shared.sum()), (rows[shared], index[shared])), shape=shape).tocsr()
        matrix.data[:] = 1  # count repeated items of a profile once
        return matrix

    holdings, other_holdings = incidence(*profiles), incidence(*others)
    sizes, other_sizes = (_distinct(*pair) for pair in (profiles, others))
    found: list[int] = []
    for start in range(0, len(sizes), _ROWS_AT_ONCE):
        shared_counts = (holdings[start : start + _ROWS_AT_ONCE] @ other_holdings.T).tocoo()
        row = shared_counts.row + start
        same_user = shared_counts.data >= MIN_SHARED * np.minimum(sizes[row], other_sizes[shared_counts.col])
        found += np.unique(row[same_user]).tolist()
    return found


def _distinct(digests: np.ndarray[Any, Any], sizes: Sequence[int]) -> np.ndarray[Any, Any]:
    """Return the number of distinct items of each profile."""
    import numpy as np

    rows = np.repeat(np.arange(len(sizes)), sizes)
    order = np.lexsort((digests, rows))
    first = np.ones(len(order), dtype=bool)
    first[1:] = (np.diff(rows[order]) != 0) | (digests[order][1:] != digests[order][:-1])
    return np.bincount(rows[order][first], minlength=len(sizes))


def item_digests(fields: Sequence[Any]) -> np.ndarray[Any, Any]:
    """Return a 64-bit hash of each item from its fields, given as Arrow string arrays without nulls.

    For each field it covers the length and five evenly spaced windows of eight bytes (all of a short text).
    That is enough to distinguish a user's items and much faster than hashing everything. A few collisions do
    no harm: two users are joined only if half of a profile collides.
    """
    import numpy as np

    digest = np.zeros(len(fields[0]), dtype=np.uint64)
    for field in fields:
        _, offsets, data = field.buffers()
        ends = np.frombuffer(offsets, dtype=np.int32)[field.offset : field.offset + len(field) + 1].astype(
            np.int64
        )
        starts, lengths = ends[:-1], np.diff(ends)
        padded = np.zeros((0 if data is None else data.size) + 8, dtype=np.uint8)
        if data is not None:
            padded[:-8] = np.frombuffer(data, dtype=np.uint8)
        words = np.ndarray((len(padded) - 7,), dtype="<u8", buffer=padded.data, strides=(1,))
        unused_bits = (8 * (8 - np.minimum(lengths, 8))).astype(np.uint64)
        last_start = np.maximum(lengths - 8, 0)
        digest = _mix(digest, lengths.astype(np.uint64))
        for window in range(_WINDOWS):
            word = words[starts + last_start * window // (_WINDOWS - 1)]
            # A shift by 64 bits is undefined; an empty text is covered by its length.
            digest = _mix(digest, np.where(lengths > 0, word << (unused_bits & np.uint64(63)), np.uint64(0)))
    return digest


def _mix(digest: np.ndarray[Any, Any], word: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    import numpy as np

    first, second = map(np.uint64, _MULTIPLIERS)
    digest = (digest ^ (word * first)) * second
    mixed: np.ndarray[Any, Any] = digest ^ (digest >> np.uint64(31))
    return mixed
