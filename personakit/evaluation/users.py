"""Gains per user, to name the users for whom a method is worse, which a mean hides.

A user's gain is the mean difference between the `utility` (in [0, 1], averaged over seeds) of the method and
of the other row, over the queries that both answered. With one or two queries per user it is mostly noise.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from personakit.evaluation.samples import read_samples
from personakit.files import atomic_file

USERS_FILE = "users.csv"
#: Maximum users listed in the results of each comparison.
MAX_LISTED = 10
#: Smaller differences count as ties.
TIE_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class UserGain:
    """The gain of a method over another row for one user."""

    method: str
    against: str
    user: str
    queries: int
    gain: float


def user_gains(log: Path, pairs: Sequence[tuple[str, str]]) -> list[UserGain]:
    """Return each user's gain for each pair (method, against), lowest first."""
    wanted = {label for pair in pairs for label in pair}
    utilities: dict[str, dict[tuple[str, str], list[float]]] = defaultdict(lambda: defaultdict(list))
    users: dict[tuple[str, str], str] = {}
    for sample in read_samples(log):
        if sample.method in wanted and sample.utility is not None:
            place = sample.task, sample.query_id
            users[place] = sample.user_id
            utilities[sample.method][place].append(sample.utility)
    gains = []
    for method, against in pairs:
        by_user: dict[str, list[float]] = defaultdict(list)
        for place, values in utilities[method].items():
            if place in utilities[against]:
                by_user[users[place]].append(fmean(values) - fmean(utilities[against][place]))
        some = [UserGain(method, against, user, len(each), fmean(each)) for user, each in by_user.items()]
        gains += sorted(some, key=lambda one: (one.gain, one.user))
    return gains


def users_document(gains: Sequence[UserGain]) -> list[dict[str, Any]]:
    """Return for each pair the number of users with gains and losses, and the largest losses."""
    pairs: dict[tuple[str, str], list[UserGain]] = defaultdict(list)
    for gain in gains:
        pairs[gain.method, gain.against].append(gain)
    return [
        {
            "method": method,
            "against": against,
            "users": len(some),
            "better": sum(one.gain > TIE_TOLERANCE for one in some),
            "worse": sum(one.gain < -TIE_TOLERANCE for one in some),
            "worst": [
                {"user": one.user, "queries": one.queries, "gain": round(one.gain, 6)}
                for one in some[:MAX_LISTED]
                if one.gain < -TIE_TOLERANCE
            ],
        }
        for (method, against), some in pairs.items()
    ]


def user_sentences(documents: Sequence[Mapping[str, Any]], users_are: str = "users") -> Iterator[str]:
    """Yield a sentence for each method's first pair, with the users with the largest losses."""
    firsts = {one["method"]: one for one in reversed(documents)}
    for one in reversed(firsts.values()):
        named = ", ".join(f"{worst['user']} {worst['gain']:+.2f}" for worst in one["worst"][:3])
        named += ", ..." if one["worse"] > 3 else ""
        yield (
            f"{one['method']} against {one['against']}: {one['better']} of {one['users']} {users_are} "
            f"gain, {one['worse']} lose" + (f" ({named})." if named else ".")
        )


def write_users(path: Path, gains: Sequence[UserGain]) -> None:
    """Write all users of all pairs as CSV, atomically."""
    import csv

    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(("method", "against", "user", "queries", "gain"))
        for one in gains:
            writer.writerow((one.method, one.against, one.user, one.queries, f"{one.gain:.6f}"))
