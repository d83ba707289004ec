"""Adds a PEFT adapter to a loaded model, and rejects one whose weights do not fit."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from personakit.errors import UserError
from personakit.models.environment import suppress_peft_warnings
from personakit.models.weight_names import in_one_line, in_words


def load_adapter(model: Any, folder: Path, *, name: str = "default", trainable: bool = False) -> Any:
    """Return the `PeftModel` of `model` with the adapter in `folder`, called `name`.

    `model` may be a `PeftModel` already. PEFT leaves weights that it does not find in the file as they are
    initialised, without effect, and drops weights that the model has no place for: here both raise
    `UserError`, and so does an adapter of other sizes or kinds than the model's.
    """
    from peft import PeftModel

    folder = Path(folder).expanduser()
    if not (folder / "adapter_config.json").is_file():
        raise UserError(
            f'adapter folder "{folder}" has no adapter_config.json',
            hint="give the folder that PEFT's save_pretrained wrote",
        )
    base = model.base_model.model if isinstance(model, PeftModel) else model
    try:
        with suppress_peft_warnings(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Found missing adapter keys")  # an error below
            if not isinstance(model, PeftModel):
                model = PeftModel.from_pretrained(
                    model, str(folder), adapter_name=name, is_trainable=trainable
                )
            # Of a first adapter, PEFT reports nothing: its weights are loaded again for the report.
            report = model.load_adapter(str(folder), adapter_name=name, is_trainable=trainable)
    except Exception as error:
        raise UserError(
            f'adapter "{folder}" does not fit its base model: {in_one_line(error)}',
            hint="load it with the base model it was trained on",
        ) from error
    # PEFT finds an adapter's keys by a part of its name, which may be a part of another adapter's.
    missing = [key for key in report.missing_keys if f".{name}." in f"{key}."]
    problems = [
        f"{label} {in_words(names)}"
        for label, names in (("lacks", missing), ("has the unknown", report.unexpected_keys))
        if names
    ]
    if problems:
        raise UserError(
            f'adapter "{folder}" {" and ".join(problems)}, which does not fit {type(base).__name__}',
            hint="load it with the base model it was trained on, or save it again with save_pretrained",
        )
    return model
