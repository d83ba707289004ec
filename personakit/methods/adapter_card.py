"""The card of an exported adapter: what it is, how PEFT loads it, and the prompts that it knows."""

from __future__ import annotations

from pathlib import Path

from personakit.data.lamp_formats import profile_item, task_format
from personakit.method import FinishedRun
from personakit.records import Context, Query
from personakit.rpo.choices import has_trace, uses_given_text, with_writer
from personakit.rpo.method import METHOD as RPO
from personakit.rpo.prompts import FIELDS, rewriter_prompt
from personakit.tasks import get_task

_CARD = """---
library_name: peft
{base_model}pipeline_tag: text-generation
tags: [personakit]
---

# A personalised LoRA adapter

- Base model: {base}.
- Method: {method}, trained with personakit.
- Privacy: it was trained on texts of people and may repeat parts of them. Protect it like these texts, and
  give it to nobody who may not read them.
- Licence: personakit sets none. The base model's licence holds, which personakit does not know, and so do
  the rights in the texts.

```python
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer

model = AutoPeftModelForCausalLM.from_pretrained("FOLDER")  # this folder
tokenizer = AutoTokenizer.from_pretrained("{tokenizer}")
```

## Its prompt

A prompt is one user message of the tokenizer's chat template, or stands alone where there is none.
{layout}
"""
_LAYOUT = """For {task}, with at most {k} items of the user's history:

```text
{prompt}
```

What the adapter writes is {answer}."""
_DRAFT = "{the base model's answer}"
#: The task whose prompt is shown where a run has all of them.
_TASK = "LaMP_7"


def adapter_card(run: FinishedRun, base: str, *, tokenizer: bool) -> str:
    """Return the card, without any text of the training data.

    `base` is the base model as the adapter names it; `tokenizer` says whether the folder has one.
    """
    local = Path(base).is_absolute() or Path(base).exists()
    stages = ", ".join(run.facts.get("stages", {}))
    return _CARD.format(
        base_model="" if local else f"base_model: {base}\n",
        base="a model in a local folder, which `adapter_config.json` names" if local else f"`{base}`",
        method=f"{run.method.upper()} (stages: {stages})",
        tokenizer="FOLDER" if tokenizer or local else base,
        layout=_layout(run) if run.method == RPO.name else "`personakit infer --run RUN --trace` shows it.",
    )


def _layout(run: FinishedRun) -> str:
    settings = with_writer(run.settings, run.facts.get("trajectory_writer"))
    task = get_task(settings.data.tasks[0] if settings.data.tasks else _TASK)
    form = task_format(task.name)
    items = [
        profile_item(
            task.name, str(number), {key: f"{{{key} of item {number}}}" for key in form.item_keys}, None
        )
        for number in (1, 2)
    ]
    prompt = rewriter_prompt(
        task,
        Query("1", task.name, form.template, "", ""),
        _DRAFT,
        Context(items=tuple(items)),
        count_tokens=len,
        max_length=1_000_000,
        given=uses_given_text(settings.draft, task),
    )
    tags = " ".join(f"`<{field}>...</{field}>`" for field in FIELDS)
    return _LAYOUT.format(
        task=task.name,
        k=settings.retrieval.k,
        prompt=prompt.strip(),
        answer=f"{tags}, the last of which is the answer" if has_trace(settings) else "the answer alone",
    )
