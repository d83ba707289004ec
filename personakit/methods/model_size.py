"""Counts a model's parameters without loading it, and fits the settings to them (`config.model_size`)."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personakit.config.loading import config_files, given_keys, load
from personakit.config.model_size import (
    BY_SIZE,
    TITLES,
    ChosenSetting,
    check_rates,
    fit_to_size,
    in_words,
    size_class,
)
from personakit.errors import UserError
from personakit.models import smollm2
from personakit.models.number_format import count_weights

_BY_NAME = re.compile(r"(?:^|[-_/])(\d+(?:\.\d+)?)([BbMm])(?=[-_.:]|$)")


@dataclass(frozen=True, slots=True)
class ModelSize:
    """The size of a model, and where it is known from."""

    parameters: int
    source: str
    """Such as "its configuration"."""
    window: int | None = None
    """The context window in tokens, if known."""


_KNOWN = {
    "nano": ModelSize(1_000_000, "its configuration"),
    smollm2.NAME: ModelSize(smollm2.PARAMETERS, "its configuration", smollm2.WINDOW),
}
"""The models that come with the package, wherever their files are: nothing is read or converted."""


@dataclass(frozen=True, slots=True)
class FittedSettings:
    """The settings that were chosen for the size of the model."""

    model: str
    size: ModelSize
    chosen: Mapping[str, ChosenSetting]
    """By dotted key."""

    @property
    def facts(self) -> dict[str, Any]:
        """The entry of run.json."""
        return {
            "model": self.model,
            "parameters": self.size.parameters,
            "known_from": self.size.source,
            "class": TITLES[size_class(self.size.parameters)],
            "settings": {key: chosen.value for key, chosen in self.chosen.items()},
        }

    def __str__(self) -> str:
        """The settings as a short block of text."""
        entries = "  ".join(f"{key}={_text(chosen.value)}" for key, chosen in self.chosen.items())
        return "\n".join(
            (
                f"{self.model} has {in_words(self.size.parameters)} parameters by {self.size.source}; "
                f"what you did not set is chosen for {TITLES[size_class(self.size.parameters)]} parameters:",
                *textwrap.wrap(entries, 100, initial_indent="  ", subsequent_indent="  "),
            )
        )


def load_fitted(
    schema: type[Any], path: Path | None, overrides: Sequence[str]
) -> tuple[Any, FittedSettings | None]:
    """Load settings as `config.load` does, and fit what the user has not set to the size of the model.

    What a file sets counts as the user's, with one exception. A shipped config is written for the model that
    it names, so where another model of another size is named on the command line, the values of the file that
    depend on the size do not count. The second value is None where nothing was fitted: a small model, or one
    of unknown size.

    Raises `UserError` as `load` does, and for a learning rate that is known to destroy a model of this size.
    """
    settings = load(schema, path, overrides)
    if schema not in BY_SIZE or (size := model_size(settings.model)) is None:
        return settings, None
    of_file, of_command = given_keys(path, overrides)
    if path in config_files().values():
        named = load(schema, path).model
        own = None if named == settings.model else model_size(named, ask_hub=False)
        other = named != settings.model and (
            own is None or size_class(own.parameters) != size_class(size.parameters)
        )
        if other:
            of_file = frozenset()
    chosen = fit_to_size(settings, size.parameters, of_file | of_command, window=size.window)
    check_rates(settings, size.parameters)
    return settings, FittedSettings(settings.model, size, chosen) if chosen else None


def model_size(name: str, *, ask_hub: bool = True) -> ModelSize | None:
    """Return the size of a local model or hub model; None if it is not known.

    It is counted from the model's configuration, without its weights. If that is not on this machine and the
    hub does not answer (or is not asked), it is read from the name ("Qwen3-8B").
    """
    from personakit.training.stage_memory import cached_config

    if name in _KNOWN:
        return _KNOWN[name]
    if ask_hub or Path(name).expanduser().is_dir():
        try:
            config = cached_config(name)
        except UserError:  # reported by the checks that follow
            config = None
        if config is not None:
            window = getattr(config.get_text_config(), "max_position_embeddings", None)
            return ModelSize(count_weights(config), "its configuration", int(window) if window else None)
    found = _BY_NAME.search(name)
    if found is None or Path(name).expanduser().exists():
        return None
    unit = 1e9 if found[2] in "Bb" else 1e6
    return ModelSize(round(float(found[1]) * unit), "its name (its configuration is not on this machine)")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else f"{value:g}"
