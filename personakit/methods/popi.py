"""Opens a run of POPI, and rows of `eval preference`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personakit.contracts import Personalizer
from personakit.errors import UserError
from personakit.methods.open_models import one_at_a_time, open_base
from personakit.methods.runs import FinishedRun, read_run

if TYPE_CHECKING:
    from personakit.popi.opening import OpenRun
    from personakit.popi.summary_files import WrittenSummary


@one_at_a_time
def open_popi(folder: Path) -> OpenRun:
    """Open a run of POPI: its base and all its adapters, in memory once for all that ask for it in a row."""
    from personakit.popi.opening import OpenRun

    run = read_run(folder)
    if run.method != "popi":
        raise UserError(
            f"{folder}: a run of {run.method}, which has no summaries", hint="name a run of `train popi`"
        )
    return OpenRun.load(folder, run.settings)


def open_with_summary(folder: Path, written: WrittenSummary, *, base: str | None = None) -> Personalizer:
    """Open a run of POPI that answers with a summary from elsewhere; `base` answers in its generator's place.

    Whoever asks is told of by this summary: it is refused for a query of another user than it is about.
    """
    from personakit.popi.inferring import OneSummary

    summaries = OneSummary(written.summary, written.user_id)
    return open_popi(folder).personalizer(None if base is None else open_base(base), summaries)


def open_heuristic(name: str, data: str, personas: Mapping[str, str], beta: float) -> Any:
    """Open a row of `eval preference` that needs no model: `length` or `persona-lookup`."""
    from personakit.data.preferences import open_preferences
    from personakit.popi.heuristics import Indifferent, LengthAlone, PersonaLookup
    from personakit.popi.opening import Judged

    if name == "length":
        policy: Any = LengthAlone()
    else:
        policy = PersonaLookup.from_users(open_preferences(data, "train"), personas)
    return Judged(policy, Indifferent(), policy, beta)


def popi_lacks(run: FinishedRun, row: str) -> str | None:
    """Say why a run of POPI cannot give a row of `eval preference`; None where it can."""
    from personakit.popi.opening import FROZEN_GENERATOR, POPULATION, adapters_of

    needed = {"population": POPULATION, "frozen-generator": FROZEN_GENERATOR}.get(row)
    if needed is None or needed in adapters_of(run.folder):
        return None
    return f"no {needed} was trained beside the run (controls)"
