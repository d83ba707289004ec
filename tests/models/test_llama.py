"""One prompt is answered without transformers' model classes, and the answer is the same."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from personakit.models.light import load_light
from personakit.models.local import LocalModel
from personakit.models.number_format import VARIABLE
from personakit.models.pretrained import load_pretrained
from personakit.models.stopwatch import loading, working_time

from .tiny import make_tiny, sentences


def lora(base: Path, folder: Path, **options: object) -> Path:
    """Write a random adapter on the model in `base`, with PEFT."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    settings = {"r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "v_proj", "down_proj"], **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tied weights
        adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **settings))
        torch.manual_seed(3)
        for name, weight in adapted.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(weight, std=0.3)
        adapted.save_pretrained(folder)
    return folder


def is_light(folder: Path) -> bool:
    return load_light(str(folder), device="cpu") is not None


@pytest.mark.parametrize("number_format", ["float32", "bfloat16"])
@pytest.mark.parametrize("with_adapter", [False, True])
def test_one_prompt_is_answered_as_by_transformers(
    with_adapter: bool, number_format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, number_format)
    folder = make_tiny(tmp_path / "base", chat=True)
    name = str(lora(folder, tmp_path / "adapter") if with_adapter else folder)
    light, full = LocalModel.load(name, device="cpu"), LocalModel.load(name, device="cpu")
    assert is_light(Path(name))
    assert full.model.dtype == getattr(torch, number_format)  # asking for the model loads it
    prompts = sentences(12)
    answers = [light.generate([prompt], max_new_tokens=12)[0][0] for prompt in prompts]
    assert answers == [full.generate([prompt], max_new_tokens=12)[0][0] for prompt in prompts]
    assert len(set(answers)) > 5  # the model does tell prompts apart
    assert light.answer_fingerprint == full.answer_fingerprint
    assert light.context_window == full.context_window
    # The same model goes on with requests of other kinds.
    assert light.score(prompts, answers) == pytest.approx(full.score(prompts, answers))


def test_the_hidden_states_with_an_adapter_are_those_of_pefts_merged_model(tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from personakit.models.llama import Cache
    from personakit.models.llama_files import find_llama

    folder = make_tiny(tmp_path / "base")
    adapter = lora(folder, tmp_path / "adapter")
    plain = AutoModelForCausalLM.from_pretrained(folder)
    ids = list(range(5, 25))
    without = plain(torch.tensor([ids])).logits[0]
    merged = PeftModel.from_pretrained(plain, adapter).merge_and_unload()(torch.tensor([ids])).logits[0]
    found = find_llama(folder, adapter)
    assert found is not None
    with torch.inference_mode():
        states = found.model.read(ids, Cache(found.shape, len(ids), torch.float32))
        logits = found.model.lm_head(states)[0]
    torch.testing.assert_close(logits, merged, rtol=1e-4, atol=1e-4)
    assert (without - merged).abs().max() > 0.1  # the adapter does something


def test_a_base_model_and_its_adapter_share_the_weights(tmp_path: Path) -> None:
    from personakit.models.llama_files import find_llama

    folder = make_tiny(tmp_path / "base")
    adapter = lora(folder, tmp_path / "adapter")
    base, both = find_llama(folder), find_llama(folder, adapter)
    assert base is not None
    assert both is not None
    weight = base.model.model.layers[0].self_attn.q_proj.weight
    assert both.model.model.layers[0].self_attn.q_proj.plain.weight is weight


@pytest.mark.parametrize(
    "entry",
    [
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}},
        {"attention_bias": True},
        {"hidden_act": "gelu"},
        {"model_type": "mistral"},
        {"an_entry_of_the_future": 3},
    ],
)
def test_a_configuration_that_computes_otherwise_is_left_to_transformers(
    entry: dict[str, object], tmp_path: Path
) -> None:
    folder = make_tiny(tmp_path)
    assert is_light(folder)
    place = folder / "config.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | entry))
    assert not is_light(folder)


@pytest.mark.parametrize(
    "options",
    [
        {"use_rslora": True},
        {"use_dora": True},
        {"rank_pattern": {"q_proj": 2}},
        {"modules_to_save": ["lm_head"]},
        {"target_modules": ["q_proj", "embed_tokens"]},
    ],
)
def test_an_adapter_other_than_plain_lora_is_left_to_peft(options: dict[str, object], tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "base")
    assert not is_light(lora(folder, tmp_path / "adapter", **options))


def test_the_time_of_an_answer_is_without_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [10.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    began = working_time()
    clock[0] += 2
    with loading():
        clock[0] += 5
        with loading():  # an adapter's base model
            clock[0] += 3
    clock[0] += 1
    assert working_time() - began == 3


def test_a_sampled_answer_and_a_batch_are_left_to_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []

    def load(name: str, **options: Any) -> Any:
        loaded.append(name)
        return load_pretrained(name, **options)

    monkeypatch.setattr("personakit.models.light.load_pretrained", load)
    folder, prompts = str(make_tiny(tmp_path)), sentences(3)
    LocalModel.load(folder, device="cpu").generate(prompts[:1], samples=2, max_new_tokens=3)
    assert loaded == []
    model = LocalModel.load(folder, device="cpu")
    model.generate(prompts[:1], temperature=1.0, max_new_tokens=3)
    model.generate(prompts, max_new_tokens=3)
    assert loaded == [folder]
    LocalModel.load(folder, device="cpu").generate(prompts, max_new_tokens=3)
    assert loaded == [folder, folder]
