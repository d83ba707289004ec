"""Copies a run's LoRA adapter for other tools: as a PEFT folder, or as GGUF with llama.cpp's converter."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from personakit.errors import RunError, UserError
from personakit.files import atomic_file, atomic_folder, write_json
from personakit.method import FinishedRun
from personakit.methods.adapter_card import adapter_card
from personakit.methods.runs import read_run
from personakit.methods.table import METHODS
from personakit.models import smollm2
from personakit.models.open import resolve_model

CONVERTER = "convert_lora_to_gguf.py"
_CONFIG = "adapter_config.json"


def export_adapter(run: Path, folder: Path) -> None:
    """Copy the adapter of a finished run into the new folder, with a card of its own.

    Raises `UserError` if the run has no adapter, or the folder exists.
    """
    if folder.exists():
        raise UserError(f"{folder}: exists already, expected a new folder", hint="choose another name")
    finished = read_run(run)
    source, base = _adapter(finished)
    with atomic_folder(folder) as temporary:
        shutil.copytree(source, temporary, dirs_exist_ok=True)
        if base == smollm2.NAME or smollm2.is_conversion(Path(base)):  # nobody else has that folder
            base = smollm2.HUB_NAME
            _set_base(temporary / _CONFIG, base)
        card = adapter_card(finished, base, tokenizer=(temporary / "tokenizer_config.json").is_file())
        (temporary / "README.md").write_text(card, encoding="utf-8")


def export_gguf(run: Path, file: Path, llama_cpp: Path | None = None) -> None:
    """Convert the adapter of a finished run to the new GGUF file.

    Raises `UserError` if llama.cpp's converter is not found, the run has no adapter, or the file exists, and
    `RunError` if the converter fails.
    """
    if file.exists():
        raise UserError(f"{file}: exists already, expected a new file", hint="choose another name")
    source, base = _adapter(read_run(run))
    found = shutil.which(CONVERTER) if llama_cpp is None else str(llama_cpp / CONVERTER)
    if found is None or not Path(found).is_file():
        place = "on the PATH" if llama_cpp is None else f"in {llama_cpp}"
        raise UserError(
            f"llama.cpp's {CONVERTER} is not {place}",
            hint="name a checkout of llama.cpp with --llama-cpp DIR, or use personakit export adapter",
        )
    with atomic_file(file) as temporary:
        model = resolve_model(base)
        named = ["--base" if Path(model).is_dir() else "--base-model-id", model]
        command = [sys.executable, found, "--outfile", str(temporary), *named, str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not temporary.stat().st_size:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise RunError(
                f"{found} failed with exit status {done.returncode}: {last}",
                hint="its requirements (llama.cpp's requirements.txt) must be installed in this Python",
            )


def _adapter(finished: FinishedRun) -> tuple[Path, str]:
    """Return the folder of a run's adapter, and its base model as the adapter names it."""
    source = finished.folder / METHODS[finished.method].result
    config = source / _CONFIG
    if not config.is_file():
        raise UserError(
            f"{source} has no {_CONFIG}: the run has no single LoRA adapter",
            hint="train with lora.r=16; a model whose weights were all trained is exported by copying model/",
        )
    return source, str(json.loads(config.read_text(encoding="utf-8"))["base_model_name_or_path"])


def _set_base(config: Path, base: str) -> None:
    document = json.loads(config.read_text(encoding="utf-8"))
    write_json(config, document | {"base_model_name_or_path": base})
