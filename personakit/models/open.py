"""One string names a model everywhere: `nano`, a folder or hub name, or `openai:MODEL`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from personakit.errors import UserError
from personakit.models.nano import FOLDER as NANO_FOLDER

if TYPE_CHECKING:
    from personakit.models.cache import KnownModel

_ENDPOINT = "openai:"


def resolve_model(name: str) -> str:
    """Return the folder or hub name that `name` stands for (`nano` becomes its folder).

    For whoever trains: raises `UserError` for an endpoint, whose weights are not here.
    """
    if name.startswith(_ENDPOINT):
        raise UserError(
            f'model "{name}" is an endpoint, expected weights on this machine',
            hint="name a folder, a hub model or nano",
        )
    return str(NANO_FOLDER) if name == "nano" else name


def open_language_model(
    name: str, *, adapter: Path | None = None, device: str = "auto", truncate: bool = False
) -> KnownModel:
    """Open the model that `name` stands for.

    `adapter` is a PEFT folder to put on it; `truncate` as in `LocalModel`. Raises `UserError` where
    there is no such model.
    """
    if name.startswith(_ENDPOINT):
        from personakit.models.endpoint import EndpointModel

        if adapter is not None:
            raise UserError(
                f'adapter "{adapter}" cannot be put on the endpoint "{name}"',
                hint="leave the adapter out, or name a local model",
            )
        return EndpointModel.from_environment(name.removeprefix(_ENDPOINT))
    from personakit.models.local import LocalModel

    return LocalModel.load(resolve_model(name), adapter=adapter, device=device, truncate=truncate)
