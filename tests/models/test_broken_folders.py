"""Model folders that do not load: one sentence with the file, exit status 2."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from personakit.errors import UserError
from personakit.models.local import LocalModel
from personakit.models.open import open_language_model

from .tiny import make_tiny

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 988097824\n"


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def rename_weights(folder: Path, new_name: Callable[[str], str | None]) -> None:
    file = next(folder.glob("*.safetensors"))
    named = {new_name(name): weight for name, weight in load_file(file).items()}
    save_file({name: weight for name, weight in named.items() if name}, file, metadata={"format": "pt"})


def missing_shard(folder: Path) -> None:
    names = list(load_file(folder / "model.safetensors"))
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    places = {name: f"model-0000{1 + number % 2}-of-00002.safetensors" for number, name in enumerate(names)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def new_token(folder: Path) -> None:
    document = json.loads((folder / "tokenizer.json").read_text())
    document["model"]["vocab"]["zzz"] = 5000
    (folder / "tokenizer.json").write_text(json.dumps(document))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "weights are a pointer": (
        lambda folder: (folder / "model.safetensors").write_text(POINTER),
        r'model\.safetensors" is a pointer of git LFS',
    ),
    "tokenizer is a pointer": (
        lambda folder: (folder / "tokenizer.json").write_text(POINTER),
        r'tokenizer\.json" is a pointer of git LFS',
    ),
    "a shard is missing": (missing_shard, r"model-00002-of-00002\.safetensors\" is missing \(1 of 2"),
    "weights are cut": (lambda folder: cut(folder / "model.safetensors"), r"no complete safetensors file"),
    "config is cut": (lambda folder: cut(folder / "config.json"), r'config\.json" is not valid JSON'),
    "config is a list": (
        lambda folder: (folder / "config.json").write_text("[1]"),
        r'config\.json" has a list, expected a JSON object',
    ),
    "tokenizer is cut": (
        lambda folder: cut(folder / "tokenizer.json"),
        r'tokenizer\.json" is not valid JSON',
    ),
    "tokenizer is another document": (
        lambda folder: (folder / "tokenizer.json").write_text('{"model": 3}'),
        "the tokenizer of model .* cannot be loaded",
    ),
    "no tokenizer": (
        lambda folder: [path.unlink() for path in folder.glob("token*")],
        "the tokenizer of model .* cannot be loaded",
    ),
    "adapter config is cut": (
        lambda folder: (folder / "adapter_config.json").write_text('{"base_mod'),
        r'adapter_config\.json" is not valid JSON',
    ),
    "another width": (
        lambda folder: edit(folder / "config.json", hidden_size=64),
        r'model\.safetensors" do not fit LlamaForCausalLM: they have the wrong size of model\.embed_tokens',
    ),
    "a token beyond the embedding": (new_token, r'beyond the embedding of \d+ rows: "zzz" is 5000'),
    "an unknown architecture": (
        lambda folder: edit(folder / "config.json", model_type="llama9"),
        r"config\.json that transformers cannot read.*llama9",
    ),
    "a setting of another type": (
        lambda folder: edit(folder / "config.json", num_hidden_layers="two"),
        "config.json that transformers cannot read|cannot be loaded",
    ),
    "a template that raises": (
        lambda folder: (folder / "chat_template.jinja").write_text("{{ raise_exception('no, never') }}"),
        "chat template of model .* fails on a user message: no, never",
    ),
    "weights as torch.compile names them": (
        lambda folder: rename_weights(folder, lambda name: f"_orig_mod.{name}"),
        r"lack lm_head\.weight, model\.embed_tokens\.weight.* have the unknown _orig_mod\.",
    ),
    "a layer is missing": (
        lambda folder: rename_weights(folder, lambda name: None if ".layers.1." in name else name),
        r"model\.safetensors\" do not fit LlamaForCausalLM: they lack model\.layers\.1\.",
    ),
    "a layer too many": (
        lambda folder: edit(folder / "config.json", num_hidden_layers=1),
        r"they have the unknown model\.layers\.1\.",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_folder_is_one_sentence(name: str, tiny_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
    damage, message = BROKEN[name]
    damage(folder)
    with pytest.raises(UserError, match=message) as caught:
        open_language_model(str(folder), device="cpu")
    assert str(folder) in caught.value.message
    assert caught.value.hint


def adapter(base: Path, folder: Path) -> Path:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    model = LocalModel.load(str(base), device="cpu").model
    get_peft_model(
        model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    ).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("new_name", "message"),
    [
        (lambda name: name.replace("model.model.", "model._orig_mod.model."), "lacks .* and has the unknown"),
        (lambda name: None if ".layers.1." in name else name, r"lacks base_model\.model\.model\.layers\.1"),
        (lambda name: name, ""),
    ],
)
def test_an_adapter_must_have_exactly_its_weights(
    tiny_folder: Path, tmp_path: Path, new_name: Callable[[str], str | None], message: str
) -> None:
    folder = adapter(tiny_folder, tmp_path / "adapter")
    rename_weights(folder, new_name)
    if message:
        with pytest.raises(UserError, match=message) as caught:
            open_language_model(str(folder), device="cpu")
        assert str(folder) in caught.value.message
    else:
        open_language_model(str(folder), device="cpu")


def test_an_adapter_of_another_model(tiny_folder: Path, tmp_path: Path) -> None:
    folder = adapter(make_tiny(tmp_path / "wide", width=64), tmp_path / "adapter")
    edit(folder / "adapter_config.json", base_model_name_or_path=str(tiny_folder))
    with pytest.raises(UserError, match=r"adapter .* does not fit its base model"):
        open_language_model(str(folder), device="cpu")
    edit(folder / "adapter_config.json", base_model_name_or_path="/home/someone/base")
    with pytest.raises(UserError, match='was trained on "/home/someone/base", which does not exist'):
        open_language_model(str(folder), device="cpu")


def test_special_tokens_may_exceed_the_embedding(tiny_folder: Path, tmp_path: Path) -> None:
    """Gemma 3's text models have a token for images that they have no embedding for."""
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
    tokenizer = LocalModel.load(str(folder), device="cpu").tokenizer
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image_soft_token>"]})
    tokenizer.save_pretrained(folder)
    assert LocalModel.load(str(folder), device="cpu").generate(["the cat"], max_new_tokens=2)
