"""Opens a model by name: `nano`, `smollm2`, a folder, a GGUF file, a hub name, or `openai:MODEL`.

`MODEL:terse`, `:wordy` and `:noisy` simulate other black-box models (`stand_ins.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from personakit.errors import UserError
from personakit.models import smollm2
from personakit.models.gguf import converted, is_gguf
from personakit.models.nano import FOLDER as NANO_FOLDER
from personakit.models.stand_ins import StandIn, fingerprint_of, split_name

if TYPE_CHECKING:
    from personakit.config.endpoint import EndpointSettings
    from personakit.models.cache import FingerprintedModel

_ENDPOINT = "openai:"


def resolve_model(name: str) -> str:
    """Return the folder or hub name for `name`: `nano`, `smollm2` and GGUF files become their folders.

    Used for training: raises `UserError` for an endpoint or a stand-in, which have no weights.
    """
    require_weights(name)
    if name == "nano":
        return str(NANO_FOLDER)
    if name == smollm2.NAME:
        return smollm2.find_smollm2()
    return str(converted(name)) if is_gguf(name) else name


def require_weights(name: str) -> None:
    """Raise `UserError` if `name` is an endpoint or a stand-in, which have no weights. Reads no file."""
    if is_endpoint(name):
        raise UserError(
            f'model "{name}" is an endpoint, expected local weights',
            hint="use a folder, a GGUF file, a hub model, nano or smollm2",
        )
    if split_name(name) is not None:
        raise UserError(
            f'model "{name}" is a stand-in for a black box, expected local weights',
            hint=f"use the model before the colon: {name.rpartition(':')[0]}",
        )


def is_endpoint(name: str) -> bool:
    """Return whether `name` is a model behind an API, which may cost money."""
    return name.startswith(_ENDPOINT)


def endpoint_addresses(names: Iterable[str]) -> dict[str, str]:
    """Return the address, without secrets, of each endpoint among `names`.

    The same name at another address is a different model. Raises `UserError` for an invalid endpoint.
    """
    from personakit.models.endpoint import EndpointModel

    return {
        name: EndpointModel.from_environment(name.removeprefix(_ENDPOINT)).address
        for name in names
        if is_endpoint(name)
    }


def check_model(name: str) -> str | None:
    """Raise `UserError` if the model does not exist, without loading it and without a paid request.

    Returns the model's fingerprint, or None if it is unknown before loading.
    """
    if is_endpoint(name):
        return open_language_model(name).fingerprint
    stand_in = split_name(name)
    if stand_in is not None:
        inner = check_model(stand_in[0])
        return inner and fingerprint_of(inner, stand_in[1])
    from personakit.models.model_files import locate

    return locate(resolve_model(name)).fingerprint


def open_language_model(
    name: str,
    *,
    adapter: Path | None = None,
    device: str = "auto",
    truncate: bool = False,
    endpoint: EndpointSettings | None = None,
) -> FingerprintedModel:
    """Open the model `name`.

    `adapter` is a PEFT folder to load on it; `truncate` as in `LocalModel`; `endpoint` configures requests.
    Raises `UserError` if the model does not exist.
    """
    if is_endpoint(name):
        from personakit.models.endpoint import EndpointModel

        if adapter is not None:
            raise UserError(
                f'adapter "{adapter}" cannot be applied to the endpoint "{name}"',
                hint="remove the adapter, or use a local model",
            )
        return EndpointModel.from_environment(name.removeprefix(_ENDPOINT), endpoint)
    stand_in = split_name(name)
    if stand_in is not None:
        if adapter is not None:
            raise UserError(
                f'adapter "{adapter}" cannot be applied to the stand-in "{name}"',
                hint="remove the adapter, or use a local model",
            )
        inner, kind = stand_in
        return StandIn(open_language_model(inner, device=device, truncate=truncate), kind)
    from personakit.models.local import LocalModel

    return LocalModel.load(resolve_model(name), adapter=adapter, device=device, truncate=truncate)
