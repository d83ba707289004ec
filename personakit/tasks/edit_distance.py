"""Edit distance between two texts, in characters."""

from __future__ import annotations


def edit_distance(first: str, second: str) -> int:
    """Return how many insertions, deletions and replacements of a character turn one into the other.

    Bit-parallel (Myers 1999, in the form of Hyyrö 2003): a column of the table is two integers, the
    rows where the distance rises and where it falls by one, so a text costs one step a character.
    """
    if not first:
        return len(second)
    places: dict[str, int] = {}
    for row, character in enumerate(first):
        places[character] = places.get(character, 0) | 1 << row
    every_row = (1 << len(first)) - 1
    last_row = 1 << len(first) - 1
    rises, falls, distance = every_row, 0, len(first)
    for character in second:
        equal = places.get(character, 0)
        diagonal = (((equal & rises) + rises) ^ rises) | equal | falls
        right_rises = falls | ~(diagonal | rises) & every_row
        right_falls = rises & diagonal
        distance += bool(right_rises & last_row) - bool(right_falls & last_row)
        right_rises = right_rises << 1 | 1
        rises = (right_falls << 1 | ~(diagonal | right_rises)) & every_row
        falls = right_rises & diagonal & every_row
    return distance


def edit_similarity(first: str, second: str) -> float:
    """Return 1 - edit distance / the longer length, in [0, 1]; two empty texts are equal."""
    longer = max(len(first), len(second))
    return 1.0 - edit_distance(first, second) / longer if longer else 1.0
