"""Makes users for LaMP's user-based split, whose files carry no user id.

Two queries of one user repeat nearly the same profile, so queries are joined when they share at
least half of the smaller profile's distinct items. Half and not one: different users may well hold
an equal item (a popular movie with a popular tag, a paper of two authors), and joining on one would
chain nearly all users of LaMP-1 and LaMP-2 into a single one.
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
    """Collects profiles as item digests, then tells which belong together."""

    def __init__(self) -> None:
        self._digests: list[np.ndarray[Any, Any]] = []
        self._sizes: list[int] = []

    def add(self, digests: np.ndarray[Any, Any], sizes: Sequence[int]) -> None:
        """Add the next profiles: their items' digests (uint64, end to end) and how many each has."""
        self._digests.append(digests)
        self._sizes += sizes

    def leaders(self) -> list[int]:
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
        order = np.argsort(digests, kind="stable")  # equal items stay in the order of their queries
        rows = np.repeat(np.arange(queries, dtype=np.int32), self._sizes)[order]
        digests = digests[order]
        new_item = np.r_[True, digests[1:] != digests[:-1]]
        distinct = new_item | np.r_[True, rows[1:] != rows[:-1]]  # an item twice in a profile counts once
        items = np.cumsum(new_item, dtype=np.int32)[distinct] - 1
        rows = rows[distinct]
        sizes = np.bincount(rows, minlength=queries)
        shared = np.bincount(items)[items] > 1
        items, rows = items[shared], rows[shared]
        shape = (int(items.max(initial=0)) + 1, queries)
        holders = coo_array((np.ones(len(items), dtype=np.int32), (items, rows)), shape=shape).tocsr()
        holds = holders.T.tocsr()
        pairs = []
        for start in range(0, queries, _ROWS_AT_ONCE):
            common = (holds[start : start + _ROWS_AT_ONCE] @ holders).tocoo()
            left, right = common.row + start, common.col
            joined = common.data >= MIN_SHARED * np.minimum(sizes[left], sizes[right])
            pairs.append(np.stack([left[joined], right[joined]]))
        left, right = np.concatenate(pairs, axis=1)
        edges = coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(queries, queries))
        _, labels = connected_components(edges, directed=False)
        _, first = np.unique(labels, return_index=True)
        leaders: list[int] = first[labels].tolist()
        return leaders


def with_a_shared_profile(
    one: tuple[np.ndarray[Any, Any], Sequence[int]], other: tuple[np.ndarray[Any, Any], Sequence[int]]
) -> list[int]:
    """Return the profiles of `one` whose user is among those of `other`, by the rule for queries above.

    Both are items' digests, end to end, and how many each profile has.
    """
    import numpy as np
    from scipy.sparse import coo_array

    common = np.intersect1d(one[0], other[0])
    if not len(common):
        return []

    def holders(digests: np.ndarray[Any, Any], sizes: Sequence[int]) -> Any:
        rows = np.repeat(np.arange(len(sizes)), sizes)
        place = np.minimum(np.searchsorted(common, digests), len(common) - 1)
        shared = common[place] == digests
        shape = (len(sizes), len(common))
        matrix = coo_array((np.ones(shared.sum()), (rows[shared], place[shared])), shape=shape).tocsr()
        matrix.data[:] = 1  # an item twice in a profile counts once
        return matrix

    mine, theirs = holders(*one), holders(*other)
    sizes, their_sizes = (_distinct(*side) for side in (one, other))
    found: list[int] = []
    for start in range(0, len(sizes), _ROWS_AT_ONCE):
        both = (mine[start : start + _ROWS_AT_ONCE] @ theirs.T).tocoo()
        row = both.row + start
        joined = both.data >= MIN_SHARED * np.minimum(sizes[row], their_sizes[both.col])
        found += np.unique(row[joined]).tolist()
    return found


def _distinct(digests: np.ndarray[Any, Any], sizes: Sequence[int]) -> np.ndarray[Any, Any]:
    """The number of distinct items of each profile."""
    import numpy as np

    rows = np.repeat(np.arange(len(sizes)), sizes)
    order = np.lexsort((digests, rows))
    first = np.ones(len(order), dtype=bool)
    first[1:] = (np.diff(rows[order]) != 0) | (digests[order][1:] != digests[order][:-1])
    return np.bincount(rows[order][first], minlength=len(sizes))


def item_digests(fields: Sequence[Any]) -> np.ndarray[Any, Any]:
    """Return a 64-bit digest of each item from its fields, given as Arrow string arrays without nulls.

    Of each field it covers the length and five evenly spaced windows of eight bytes (all of a short
    text): enough to tell a user's items apart at a fraction of the cost of hashing everything. Two
    items taken for one by mistake would still have to be half of a profile to join two users.
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
        unused = (8 * (8 - np.minimum(lengths, 8))).astype(np.uint64)
        room = np.maximum(lengths - 8, 0)
        digest = _mixed(digest, lengths.astype(np.uint64))
        for window in range(_WINDOWS):
            word = words[starts + room * window // (_WINDOWS - 1)]
            # a shift by 64 is undefined: an empty text is told by its length
            digest = _mixed(digest, np.where(lengths > 0, word << (unused & np.uint64(63)), np.uint64(0)))
    return digest


def _mixed(digest: np.ndarray[Any, Any], word: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    import numpy as np

    first, second = map(np.uint64, _MULTIPLIERS)
    digest = (digest ^ (word * first)) * second
    mixed: np.ndarray[Any, Any] = digest ^ (digest >> np.uint64(31))
    return mixed
