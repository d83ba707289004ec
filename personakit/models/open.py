"""One string names a model everywhere: `nano`, a folder or hub name, or `openai:MODEL`.

`MODEL:terse`, `:wordy` and `:noisy` are stand-ins for other black boxes (`stand_ins.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from personakit.errors import UserError
from personakit.models.nano import FOLDER as NANO_FOLDER
from personakit.models.stand_ins import StandIn, fingerprint_of, split_name

if TYPE_CHECKING:
    from personakit.config.endpoint import EndpointSettings
    from personakit.models.cache import KnownModel

_ENDPOINT = "openai:"


def resolve_model(name: str) -> str:
    """Return the folder or hub name that `name` stands for (`nano` becomes its folder).

    For whoever trains: raises `UserError` for an endpoint, whose weights are not here, and for a
    stand-in, which is no model.
    """
    if is_endpoint(name):
        raise UserError(
            f'model "{name}" is an endpoint, expected weights on this machine',
            hint="name a folder, a hub model or nano",
        )
    if split_name(name) is not None:
        raise UserError(
            f'model "{name}" is a stand-in for a black box, expected weights on this machine',
            hint=f"name what stands before the colon: {name.rpartition(':')[0]}",
        )
    return str(NANO_FOLDER) if name == "nano" else name


def is_endpoint(name: str) -> bool:
    """Whether `name` is a model behind an API, whose answers may cost money."""
    return name.startswith(_ENDPOINT)


def endpoint_addresses(names: Iterable[str]) -> dict[str, str]:
    """Return where those of `names` that are endpoints are, without what opens them.

    The same name at another address is another model. Raises `UserError` for one that cannot be asked.
    """
    from personakit.models.endpoint import EndpointModel

    return {
        name: EndpointModel.from_environment(name.removeprefix(_ENDPOINT)).address
        for name in names
        if is_endpoint(name)
    }


def check_model(name: str) -> str | None:
    """Raise `UserError` where `name` leads nowhere; load nothing, and make no request that is paid for.

    Returns the model's fingerprint, or None where it cannot be known without loading.
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
) -> KnownModel:
    """Open the model that `name` stands for.

    `adapter` is a PEFT folder to put on it; `truncate` as in `LocalModel`; `endpoint` is how a server
    is asked. Raises `UserError` where there is no such model.
    """
    if is_endpoint(name):
        from personakit.models.endpoint import EndpointModel

        if adapter is not None:
            raise UserError(
                f'adapter "{adapter}" cannot be put on the endpoint "{name}"',
                hint="leave the adapter out, or name a local model",
            )
        return EndpointModel.from_environment(name.removeprefix(_ENDPOINT), endpoint)
    stand_in = split_name(name)
    if stand_in is not None:
        if adapter is not None:
            raise UserError(
                f'adapter "{adapter}" cannot be put on the stand-in "{name}"',
                hint="leave the adapter out, or name a local model",
            )
        inner, kind = stand_in
        return StandIn(open_language_model(inner, device=device, truncate=truncate), kind)
    from personakit.models.local import LocalModel

    return LocalModel.load(resolve_model(name), adapter=adapter, device=device, truncate=truncate)
