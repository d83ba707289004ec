"""Where a local model's files are, found without loading them; a name that leads nowhere is told at once.

transformers tries an unknown hub name, or one that cannot be reached, again and again for most of a
minute. One question to the hub answers faster: it says "no such model", or cannot be reached. Only when
it answers late or with an error of its own is the ordinary way left to try, with all its patience.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from personakit.errors import UserError
from personakit.models.environment import keep_quiet
from personakit.models.fingerprint import fingerprint_of
from personakit.models.nano import FOLDER as NANO_FOLDER

_PATIENCE = 10.0  # seconds for the hub's first answer; a slower one is asked by transformers itself


@dataclass(frozen=True, slots=True)
class Location:
    """A folder or hub name, the adapter to put on it, and what is known of the hub."""

    source: str
    adapter: Path | None = None
    commit: str | None = None
    """The hub's commit; None for a folder, or where the hub did not say."""
    offline: bool = False
    """The hub cannot be reached, and its files are on this machine."""

    @property
    def folders(self) -> Sequence[Path]:
        """The folders the weights come from, the adapter's last; a hub model has none of its own."""
        base = [Path(self.source)] if Path(self.source).is_dir() else []
        return base if self.adapter is None else [*base, self.adapter]

    @property
    def fingerprint(self) -> str | None:
        """What `LocalModel.fingerprint` will be; None where that needs the hub's answer."""
        if Path(self.source).is_dir():
            return fingerprint_of(None, self.folders)
        return self.commit and fingerprint_of(f"{self.source}@{self.commit}", self.folders)


def locate(name: str, adapter: Path | None = None) -> Location:
    """Find a folder or a hub name. A folder that holds a PEFT adapter leads to its base model too.

    Raises `UserError` where there is no such folder, it holds no model, or the hub has no such name.
    """
    folder = Path(name).expanduser()
    if adapter is None and (folder / "adapter_config.json").is_file():
        adapter = folder
        name = _base_of(folder)
        folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(
                f'model folder "{folder}" has no config.json',
                hint="name the folder that transformers' save_pretrained wrote, for a run its model/",
            )
        return Location(str(folder), adapter)
    if name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise UserError(
            f"model {name}: no such folder", hint='give a folder, a hub name, "nano", or "openai:MODEL"'
        )
    commit, offline = _ask_hub(name)
    return Location(name, adapter, commit, offline)


def context_window(place: Location) -> int | None:
    """Return the largest number of positions of the model there, None where it does not say."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(place.source, local_files_only=place.offline)
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    return int(positions) if positions else None


def nowhere(name: str) -> UserError:
    """What is said of a name that neither this machine nor the hub knows."""
    return UserError(
        f'model "{name}" is neither a folder nor available from the hub',
        hint='name a folder, a hub model that can be reached from here, "nano", or "openai:MODEL"',
    )


def _ask_hub(name: str) -> tuple[str | None, bool]:
    """Return the commit, and whether the hub cannot be reached (and the files are here)."""
    keep_quiet()
    import httpx2
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        return HfApi().model_info(name, timeout=_PATIENCE).sha, False
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise nowhere(name) from error
    except (httpx2.TimeoutException, HfHubHTTPError):
        return None, False  # a slow link, or a hub in trouble
    except (httpx2.TransportError, OfflineModeIsEnabled) as error:
        there = try_to_load_from_cache(name, "config.json")
        if not isinstance(there, str):
            raise nowhere(name) from error
        return Path(there).parent.name, True  # .../snapshots/COMMIT/config.json


def _base_of(adapter: Path) -> str:
    """The base model an adapter names; the built-in one is found again wherever it is installed."""
    document = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    base = str(document.get("base_model_name_or_path") or "")
    if not base:
        raise UserError(
            f'adapter folder "{adapter}" does not name its base model',
            hint='set "base_model_name_or_path" in its adapter_config.json',
        )
    if not Path(base).is_dir() and Path(base).parts[-3:] == NANO_FOLDER.parts[-3:]:
        return str(NANO_FOLDER)
    return base
