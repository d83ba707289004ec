"""Builds a stage and its settings from keyword arguments of both."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar

from personakit.config.training import LoraSettings, TrainingSettings
from personakit.training.run import Run
from personakit.training.stage import Stage

_STAGE = {one.name for one in fields(Stage)}
_LORA = {one.name for one in fields(LoraSettings)}


Settings = TypeVar("Settings", bound=TrainingSettings)


def staged(kind: type[Settings], run: Run, name: str, **given: Any) -> tuple[Settings, Stage]:
    """Return settings of this kind, and the stage; without `r` it trains all weights."""
    lora = LoraSettings(**{"r": 0} | {key: given.pop(key) for key in _LORA & given.keys()})
    place = {key: given.pop(key) for key in _STAGE & given.keys()}
    return kind(**given), Stage(run, name, lora=lora, **place)
