"""Published accuracies on POPI's benchmarks, shown only with the data set that they belong to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from personakit.data.folders import data_folder
from personakit.data.lamp_mini import is_lamp_mini
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


def published_rows(data_set: str | None) -> list[dict[str, Any]]:
    """Return the published accuracies on a data set; none for None."""
    return [
        {"method": method, "source": _SOURCE, "data": data_set, "accuracy": values[data_set]}
        for method, values in PUBLISHED.items()
        if data_set is not None and data_set in values
    ]


def published_data_set(name: str | None, data: str) -> str | None:
    """Return the data set that a data folder holds, as named or as recognised; None where it is unknown.

    An import is recognised by its format and its file's name, such as `DEMO.json` in AlignX's format.
    """
    names = PUBLISHED["POPI"]
    if name is not None:
        if name not in names:
            raise UserError(f'unknown --published "{name}"', hint=f"there is {', '.join(names)}")
        if is_lamp_mini(data_folder(data)):
            raise UserError(
                f"--published {name}: {data} is not {name}, and published figures do not apply to it",
                hint="leave it out",
            )
        return name
    try:
        document = json.loads((data_folder(data) / "dataset.json").read_text(encoding="utf-8"))
        made_from = document["made_from"]
        format, source = str(made_from["format"]), Path(str(made_from["source"])).stem.casefold()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    for known in names:
        collection, _, subset = known.rpartition(" ")
        if format == (collection.casefold() or "fspo") and subset.casefold() in source.split("_"):
            return known
    return None
