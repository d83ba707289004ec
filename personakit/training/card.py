"""The model card beside the weights: what it was made from, with what, and how to load it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_LOAD_FULL = """from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")
tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")"""

_LOAD_ADAPTER = """from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer

model = AutoPeftModelForCausalLM.from_pretrained("path/to/this/folder")
tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")"""


def write_card(
    folder: Path,
    *,
    title: str,
    base: str,
    facts: Mapping[str, Any],
    settings: Mapping[str, Any],
    adapter: bool,
) -> None:
    """Write README.md into `folder`, in place of the template that PEFT leaves there."""
    lines = [
        "---",
        f"library_name: {'peft' if adapter else 'transformers'}",
        "pipeline_tag: text-generation",
        "tags: [personakit]",
        "---",
        "",
        f"# {title}",
        "",
        f"{'LoRA adapter on' if adapter else 'Fine-tuned from'} `{base}` with personakit.",
        "",
        "Trained on user text: handle the weights with the care that the data deserves.",
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
        _LOAD_ADAPTER if adapter else _LOAD_FULL,
        "```",
        "",
    ]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")
