"""Who gains and who loses: a mean gain hides the users for whom a method is worse, so they are named.

A user's gain is the mean difference between the method's and the other row's `utility` (in [0, 1], averaged
over seeds) over the queries that both answered. With one or two queries per user it is mostly luck.
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
#: Users named in a results document, of each comparison.
NAMED = 10
#: Smaller differences are none.
SAME = 1e-9


@dataclass(frozen=True, slots=True)
class UserGain:
    """What a method is worth to one user, over another row."""

    method: str
    against: str
    user: str
    queries: int
    gain: float


def user_gains(log: Path, pairs: Sequence[tuple[str, str]]) -> list[UserGain]:
    """Return every user's gain in each pair (method, against), the worst first."""
    wanted = {label for pair in pairs for label in pair}
    worth: dict[str, dict[tuple[str, str], list[float]]] = defaultdict(lambda: defaultdict(list))
    users: dict[tuple[str, str], str] = {}
    for sample in read_samples(log):
        if sample.method in wanted and sample.utility is not None:
            place = sample.task, sample.query_id
            users[place] = sample.user_id
            worth[sample.method][place].append(sample.utility)
    gains = []
    for method, against in pairs:
        by_user: dict[str, list[float]] = defaultdict(list)
        for place, values in worth[method].items():
            if place in worth[against]:
                by_user[users[place]].append(fmean(values) - fmean(worth[against][place]))
        some = [UserGain(method, against, user, len(each), fmean(each)) for user, each in by_user.items()]
        gains += sorted(some, key=lambda one: (one.gain, one.user))
    return gains


def users_document(gains: Sequence[UserGain]) -> list[dict[str, Any]]:
    """Count for each pair who is better off and who is worse, and name those worst off."""
    pairs: dict[tuple[str, str], list[UserGain]] = defaultdict(list)
    for gain in gains:
        pairs[gain.method, gain.against].append(gain)
    return [
        {
            "method": method,
            "against": against,
            "users": len(some),
            "better": sum(one.gain > SAME for one in some),
            "worse": sum(one.gain < -SAME for one in some),
            "worst": [
                {"user": one.user, "queries": one.queries, "gain": round(one.gain, 6)}
                for one in some[:NAMED]
                if one.gain < -SAME
            ],
        }
        for (method, against), some in pairs.items()
    ]


def user_sentences(documents: Sequence[Mapping[str, Any]], users_are: str = "users") -> Iterator[str]:
    """Yield a sentence for each method's first pair, naming the users with the largest losses."""
    firsts = {one["method"]: one for one in reversed(documents)}
    for one in reversed(firsts.values()):
        named = ", ".join(f"{worst['user']} {worst['gain']:+.2f}" for worst in one["worst"][:3])
        yield (
            f"{one['method']} against {one['against']}: {one['better']} of {one['users']} {users_are} "
            f"gain, {one['worse']} lose" + (f" ({named}, ...)." if named else ".")
        )


def write_users(path: Path, gains: Sequence[UserGain]) -> None:
    """Write all users of all pairs as CSV, whole or not at all."""
    import csv

    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(("method", "against", "user", "queries", "gain"))
        for one in gains:
            writer.writerow((one.method, one.against, one.user, one.queries, f"{one.gain:.6f}"))
