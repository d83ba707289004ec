"""The model card next to the weights: base model, training data, settings, and how to load them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_LOAD_FULL = """from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")
tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")"""

_LOAD_ADAPTER = """from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer

{name} = AutoPeftModelForCausalLM.from_pretrained("path/to/this/folder{place}")
tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")"""


def write_card(
    folder: Path,
    *,
    title: str,
    base: str,
    facts: Mapping[str, Any],
    settings: Mapping[str, Any],
    adapters: Sequence[str] = (),
) -> None:
    """Write README.md into `folder`, replacing PEFT's template.

    `adapters` are the names of the LoRA adapters in the folder, empty after full fine-tuning.
    """
    loading = "\n\n".join(map(_loading, adapters)) if adapters else _LOAD_FULL
    kind = f"LoRA adapter{'s' if len(adapters) > 1 else ''} on" if adapters else "Fine-tuned from"
    lines = [
        "---",
        f"library_name: {'peft' if adapters else 'transformers'}",
        "pipeline_tag: text-generation",
        "tags: [personakit]",
        "---",
        "",
        f"# {title}",
        "",
        f"{kind} `{base}` with personakit.",
        "",
        "Trained on user text: protect the weights like the data.",
        "",
        "| training data | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in facts.items()),
        "",
        "| setting | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in settings.items()),
        "",
        "```python",
        loading,
        "```",
        "",
    ]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


def _loading(adapter: str) -> str:
    # PEFT saves an adapter in a subfolder of its name unless it is called "default".
    if adapter == "default":
        return _LOAD_ADAPTER.format(name="model", place="")
    return _LOAD_ADAPTER.format(name=adapter, place=f"/{adapter}")
