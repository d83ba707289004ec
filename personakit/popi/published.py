"""Published accuracies on POPI's benchmarks, shown only where the user names the data set."""

from __future__ import annotations

from typing import Any

from personakit.data.folders import imported_format
from personakit.errors import UserError

_SOURCE = "arXiv 2510.17881, from a third party's summary"
#: Accuracies in percent by method and data set.
PUBLISHED = {
    "POPI": {
        "ELIX": 80.14,
        "Review": 95.76,
        "Roleplay": 72.36,
        "AlignX DEMO": 90.44,
        "AlignX Arbitrary": 71.12,
        "AlignX PAIR": 58.73,
        "AlignX UGC": 58.54,
    },
    "AlignXpert-ICA (raw context, full data)": {
        "AlignX DEMO": 91.44,
        "AlignX Arbitrary": 75.19,
        "AlignX PAIR": 58.48,
        "AlignX UGC": 59.63,
    },
}


def published_accuracies(name: str | None, data: str) -> list[dict[str, Any]]:
    """Return the published accuracies on the data set called `name`; none for None.

    Raises `UserError` for an unknown name, or where `data` was not imported from that collection's format.
    """
    if name is None:
        return []
    names = PUBLISHED["POPI"]
    if name not in names:
        raise UserError(f'unknown --published "{name}"', hint=f"there is {', '.join(names)}")
    expected = "alignx" if name.startswith("AlignX") else "fspo"
    if imported_format(data) != expected:
        raise UserError(
            f"--published {name}: {data} was not imported with --format {expected}, as {name} would be",
            hint="leave it out: published figures are shown with their own data set only",
        )
    return [
        {"method": method, "source": _SOURCE, "data": name, "accuracy": values[name]}
        for method, values in PUBLISHED.items()
        if name in values
    ]
