"""Disjoint sets (union-find with path halving)."""

from __future__ import annotations


class DisjointSets:
    """A partition of the integers 0 to `size` - 1, initially into single elements."""

    def __init__(self, size: int) -> None:
        self._parents = list(range(size))

    def union(self, first: int, second: int) -> None:
        """Merge the sets of two elements."""
        self._parents[self._root(first)] = self._root(second)

    def labels(self) -> list[int]:
        """Return each element's set number, counted in order of first appearance."""
        numbers: dict[int, int] = {}
        return [numbers.setdefault(self._root(index), len(numbers)) for index in range(len(self._parents))]

    def _root(self, index: int) -> int:
        parents = self._parents
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index
