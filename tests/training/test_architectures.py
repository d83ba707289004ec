"""Every cell of the table in docs/models.md: architectures, chat templates, and ways of training."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from models.chat_templates import FAMILIES as TEMPLATES
from models.chat_templates import Family, make_tokenizer
from models.gguf_files import write_gguf
from models.shared_prefix.families import make

from personakit.config.training import TrainingSettings
from personakit.models.local import LocalModel
from personakit.models.open import open_language_model
from personakit.training.run import Run
from personakit.training.supervised import PromptCompletion, finetune
from training.staging import staged

TABLE = Path(__file__).parents[2] / "docs" / "models.md"
COLUMNS = ("chat template", "no template", "think template", "LoRA", "full", "four bits", "GGUF")

# The chat template, the think template and the class of each architecture.
ARCHITECTURES: dict[str, tuple[str, str | None, str]] = {
    "Llama": ("Llama 3", "DeepSeek-R1", "Llama"),
    "Qwen3": ("Qwen3", "Qwen3-Thinking", "Qwen3"),
    "Mistral": ("Mistral", None, "Mistral"),
    "Phi-3": ("Phi-3", None, "Phi3"),
    "Gemma 2": ("Gemma 2", None, "Gemma2"),
    "Gemma 3": ("Gemma 3", None, "Gemma3"),
    "GPT-2": ("ChatML", None, "GPT2"),
}
GGUF = ("Llama",)
CELLS = [
    (name, column)
    for name, (_, think, _) in ARCHITECTURES.items()
    for column in COLUMNS
    if (column != "think template" or think) and (column != "GGUF" or name in GGUF)
]
# Every column runs for one architecture in `make test`, and everything for Gemma's end of turn.
QUICK = {("Llama", "no template"), ("Llama", "GGUF"), ("Qwen3", "think template"), ("Qwen3", "four bits")} | {
    ("Gemma 2", "chat template"),
    ("Gemma 2", "LoRA"),
    ("Gemma 3", "full"),
}


def cells(*columns: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("name", "column"),
        [
            pytest.param(*cell, marks=[] if cell in QUICK else pytest.mark.extended, id="-".join(cell))
            for cell in CELLS
            if cell[1] in columns
        ],
    )


def save(name: str, family: Family, folder: Path) -> Path:
    """Write a random model of the architecture with the family's tokenizer."""
    tokenizer = make_tokenizer(family)
    more: dict[str, Any] = {"head_dim": 16} if name.startswith("Gemma") else {}
    model = make(
        ARCHITECTURES[name][2],
        double=False,
        **{"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2} | more,
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        max_position_embeddings=512,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@cells("chat template", "no template", "think template")
def test_scores_are_those_of_the_rendered_conversation(name: str, column: str, tmp_path: Path) -> None:
    chat, think, _ = ARCHITECTURES[name]
    family = TEMPLATES[{"chat template": chat, "no template": "none", "think template": str(think)}[column]]
    model = LocalModel.load(str(save(name, family, tmp_path / "model")), device="cpu")
    tokenizer = model.tokenizer
    if family.template is None:
        text = "Why?"
    else:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": "Why?"}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,
        )
    before = tokenizer(text, add_special_tokens=family.template is None)["input_ids"]
    after = tokenizer(f"{family.lead}So.{family.end}", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        log_p = torch.log_softmax(model.model(torch.tensor([before + after])).logits[0].double(), dim=-1)
    expected = sum(float(log_p[len(before) - 1 + i, token]) for i, token in enumerate(after))
    assert model.score(["Why?"], ["So."]) == pytest.approx([expected], abs=1e-3)
    end = tokenizer.convert_tokens_to_ids(family.end)
    declared = model.model.generation_config.eos_token_id
    assert end in (declared if isinstance(declared, list) else [declared]), "TRL's trainers stop there too"


@pytest.mark.slow
@cells("LoRA", "full", "four bits")
def test_learns_an_answer_and_where_it_ends(name: str, column: str, tmp_path: Path) -> None:
    if column == "four bits":
        pytest.importorskip("bitsandbytes")
    base = save(name, TEMPLATES[ARCHITECTURES[name][0]], tmp_path / "base")
    given: dict[str, Any] = {
        "r": 0 if column == "full" else 8,
        "load_in_4bit": column == "four bits",
        "learning_rate": 3e-3 if column == "full" else 1e-2,
        "num_train_epochs": 60,
        "per_device_train_batch_size": 1,
        "lr_scheduler_type": "constant",
        "logging_steps": 50,
        "save_steps": 50,
        "device": "cpu",
        "dtype": "float32",
    }
    with Run.create(tmp_path / "run", "rpo", {}, 0) as run:
        settings, stage = staged(TrainingSettings, run, "sft", **given)
        done = finetune(str(base), [PromptCompletion("Q", "ab")], settings, stage)
    model = LocalModel.load(str(done.model), device="cpu")
    assert model.generate(["Q"], max_new_tokens=6)[0][0].strip() == "ab"


@cells("GGUF")
def test_a_gguf_file_answers(name: str, column: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSONAKIT_CACHE", str(tmp_path / "cache"))
    file = write_gguf(tmp_path / "tiny.gguf")
    model = open_language_model(str(file), device="cpu")
    assert model.score(["ab"], ["ab"])[0] < 0


def test_the_table_says_what_is_tested() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in TABLE.read_text(encoding="utf-8").splitlines()
        if re.match(r"\| (architecture|" + "|".join(map(re.escape, ARCHITECTURES)) + r")\b", line)
    ]
    header, *body = rows
    assert tuple(header[1:]) == COLUMNS
    told = {(row[0], column): cell for row in body for column, cell in zip(COLUMNS, row[1:], strict=True)}
    assert {cell for cell, word in told.items() if word == "yes"} == set(CELLS)
    assert set(told.values()) <= {"yes", "untested", "no"}
    assert {name for name, _ in told} == set(ARCHITECTURES)
