"""What chooses the context that a model is told, by name; runs may stand there."""

from __future__ import annotations

from pathlib import Path

from personakit.config import TrainRPO
from personakit.contracts import ContextProvider
from personakit.methods.pillow import history_matcher
from personakit.methods.popi import open_popi


def open_provider(settings: TrainRPO) -> ContextProvider:
    """Open the retriever that the settings name."""
    from personakit.retrieval import open_retriever

    offer_runs()
    return open_retriever(settings.retrieval.name, settings.retrieval.k)


def offer_runs() -> None:
    """Let what runs have learnt stand where a retriever is named: `pillow:RUN` picks, `popi:RUN` sums up."""
    from personakit.retrieval.open import register_provider

    register_provider("pillow", history_matcher)
    register_provider("popi", lambda run, k: open_popi(Path(run)).summariser())
