"""Finds the files of a local model without loading them, and fails fast for unknown names.

transformers retries an unknown or unreachable hub name for most of a minute. A single request to the hub
answers faster. Only if that request times out or the hub returns an error is the decision left to
transformers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from personakit.errors import UserError
from personakit.models.environment import silence_libraries
from personakit.models.fingerprint import fingerprint_of
from personakit.models.nano import FOLDER as NANO_FOLDER
from personakit.models.proxies import check_client, proxy_for

_HUB_TIMEOUT = 10.0  # timeout in seconds for the request to the hub


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A folder or hub name, the adapter to load on it, and the state of the hub."""

    source: str
    adapter: Path | None = None
    commit: str | None = None
    """The hub's commit; None for a folder, or if the hub did not answer."""
    offline: bool = False
    """Whether the hub is unreachable while the files are cached locally."""

    @property
    def folders(self) -> Sequence[Path]:
        """The folders of the weights, with the adapter's last. A hub model has only its adapter's."""
        base = [Path(self.source)] if Path(self.source).is_dir() else []
        return base if self.adapter is None else [*base, self.adapter]

    @property
    def fingerprint(self) -> str | None:
        """The value of `LocalModel.fingerprint`, or None if that needs the hub."""
        if Path(self.source).is_dir():
            return fingerprint_of(None, self.folders)
        return self.commit and fingerprint_of(f"{self.source}@{self.commit}", self.folders)


def locate(name: str, adapter: Path | None = None) -> ModelFiles:
    """Find a folder or hub model. A folder with a PEFT adapter also gives its base model.

    Raises `UserError` if the folder does not exist, holds no model, or the hub has no such name.
    """
    folder = Path(name).expanduser()
    if adapter is None and (folder / "adapter_config.json").is_file():
        adapter = folder
        name = _base_model(folder)
        folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(
                f'model folder "{folder}" has no config.json',
                hint="give the folder that transformers' save_pretrained wrote; for a run, its model/",
            )
        return ModelFiles(str(folder), adapter)
    if name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise UserError(
            f"model {name}: no such folder", hint='give a folder, a hub name, "nano", or "openai:MODEL"'
        )
    commit, offline = _query_hub(name)
    return ModelFiles(name, adapter, commit, offline)


def context_window(files: ModelFiles) -> int | None:
    """Return the model's maximum number of positions, or None if its configuration does not give it."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(files.source, local_files_only=files.offline)
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    return int(positions) if positions else None


def model_not_found(name: str, unreachable: str = "") -> UserError:
    """Return the error for a name that is neither a folder nor on the hub, which may be `unreachable`."""
    proxy = proxy_for(unreachable) if unreachable else None
    through = f" (it cannot be reached through the proxy {proxy})" if proxy else ""
    return UserError(
        f'model "{name}" is neither a folder nor available from the hub{through}',
        hint='give a folder, a hub model that is reachable, "nano", or "openai:MODEL"',
    )


def _query_hub(name: str) -> tuple[str | None, bool]:
    """Return the commit, and whether the hub is unreachable while the files are cached locally."""
    silence_libraries()
    import httpx2
    from huggingface_hub import HfApi, constants, try_to_load_from_cache
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        if constants.is_offline_mode():  # before the hub's client is made, which fails on unusable proxies
            raise OfflineModeIsEnabled
        check_client(constants.ENDPOINT)
        return HfApi().model_info(name, timeout=_HUB_TIMEOUT).sha, False
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise model_not_found(name) from error
    except (httpx2.TimeoutException, HfHubHTTPError):
        return None, False  # a slow connection, or an error of the hub
    except (httpx2.TransportError, OfflineModeIsEnabled) as error:
        cached_config = try_to_load_from_cache(name, "config.json")
        if not isinstance(cached_config, str):
            asked = "" if isinstance(error, OfflineModeIsEnabled) else constants.ENDPOINT
            raise model_not_found(name, asked) from error
        return Path(cached_config).parent.name, True  # .../snapshots/COMMIT/config.json


def _base_model(adapter: Path) -> str:
    """Return the base model of an adapter. The built-in model is found wherever it is installed."""
    document = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    base = str(document.get("base_model_name_or_path") or "")
    if not base:
        raise UserError(
            f'adapter folder "{adapter}" does not give its base model',
            hint='set "base_model_name_or_path" in its adapter_config.json',
        )
    if not Path(base).is_dir() and Path(base).parts[-3:] == NANO_FOLDER.parts[-3:]:
        return str(NANO_FOLDER)
    return base
