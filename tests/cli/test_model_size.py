"""Settings that fit the size of the model, and learning rates that are refused for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from personakit.config import TrainPILLOW, TrainPOPI, TrainRPO, config_files, load, load_saved
from personakit.config import model_size as table
from personakit.config.conditions import read_setting
from personakit.config.model_size import BY_SIZE, check_rates, fit_to_size, in_words
from personakit.config.training import DEFAULT_MODEL
from personakit.errors import UserError
from personakit.methods.model_size import load_fitted, model_size
from personakit.models import smollm2

from .conftest import Call

BIG = "Qwen/Qwen3-8B"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("personakit.training.stage_memory.locate", _not_found)


def _not_found(name: str) -> Any:
    from personakit.models import model_files

    if Path(name).is_dir():
        return model_files.locate(name)
    raise model_files.model_not_found(name)


def shown(call: Call, *arguments: str | Path) -> dict[str, Any]:
    called = call("config", "show", *arguments, "--json")
    assert called.status == 0, called.err
    return {one["key"]: one for one in called.document}


def configuration(folder: Path, **changes: Any) -> Path:
    """Write the config.json of a model of 31 M parameters, and nothing else."""
    from transformers import LlamaConfig

    shape = {"vocab_size": 20_000, "hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 4}
    LlamaConfig(
        **shape | {"num_attention_heads": 4, "tie_word_embeddings": True, "architectures": None} | changes
    ).save_pretrained(folder)
    return folder


def test_a_large_model_gets_an_adapter_and_rates_of_its_size(call: Call) -> None:
    before, after = shown(call, "rpo", "model=nano"), shown(call, "rpo", f"model={BIG}")
    assert before["lora.r"]["value"] == 0
    assert before["sft.learning_rate"]["value"] == 1e-3
    assert after["lora.r"]["value"] == 16
    assert after["sft.learning_rate"]["value"] == 1e-4
    assert after["rl.learning_rate"]["value"] == 5e-6
    assert "chosen for 8 B parameters" in after["sft.learning_rate"]["provenance"]
    assert after["data.path"] == before["data.path"]
    # The rest of nano's config is for nano: the schema's defaults hold.
    assert before["sft.num_train_epochs"]["value"] == 1.25
    assert after["sft.num_train_epochs"]["value"] == 2.0
    assert (before["base"]["value"], after["base"]["value"]) == ("nano", BIG)
    assert shown(call, "rpo", f"model={BIG}", "base=openai:x")["base"]["value"] == "openai:x"


@pytest.mark.parametrize("method", ["rpo", "popi", "pillow"])
def test_without_a_config_the_one_named_like_the_model_is_used(call: Call, method: str) -> None:
    """Nothing is read from the package of smollm2 or from the hub for it."""
    default, schema = shown(call, method), {"rpo": TrainRPO, "popi": TrainPOPI, "pillow": TrainPILLOW}[method]
    assert default == shown(call, f"{method}/smollm2")
    assert default["model"]["value"] == DEFAULT_MODEL == smollm2.NAME
    assert default["lora.r"]["provenance"].startswith("chosen for 134.5 M parameters")
    assert shown(call, method, "model=nano") == shown(call, f"{method}/nano")
    own = shown(call, method, "data.path=of/mine")  # the default config is for the built-in data
    assert own["model"]["value"] == DEFAULT_MODEL
    assert own["data.limit"]["value"] == schema().data.limit != default["data.limit"]["value"]
    assert own["lora.r"] == default["lora.r"]


def test_the_base_model_is_the_trained_one_unless_another_is_named(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("model: things/model\n")
    assert load(TrainRPO, own).base == "things/model"
    assert load(TrainRPO, own, ["base=openai:x"]).base == "openai:x"
    assert TrainRPO().base == DEFAULT_MODEL


def test_a_large_model_gets_the_controls_that_the_quick_start_leaves_out(call: Call) -> None:
    before, after = shown(call, "popi"), shown(call, "popi", f"model={BIG}")
    for key in ("controls.population_dpo", "controls.raw_dpo"):
        assert (before[key]["value"], after[key]["value"]) == (False, True)


def test_the_block_names_model_size_and_settings(call: Call) -> None:
    called = call("config", "show", "popi", f"model={BIG}")
    assert f"{BIG} has 8 B parameters by its name (its configuration is not on this machine)" in called.err
    assert "joint.learning_rate=1e-05" in called.err
    assert len(called.err.splitlines()) < 8


def test_parameters_are_counted_from_the_configuration_alone(call: Call, tmp_path: Path) -> None:
    folder = configuration(tmp_path / "Model-8B")  # the configuration is believed, not the name
    size = model_size(str(folder))
    assert size is not None
    # Embeddings, and per layer four attention and three MLP matrices and two norms; one norm at the end.
    layer = 4 * 512 * 512 + 3 * 512 * 1024 + 2 * 512
    assert size.parameters == 20_000 * 512 + 4 * layer + 512
    called = call("config", "show", "pillow", f"model={folder}")
    assert f"{in_words(size.parameters)} parameters by its configuration" in called.err


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("Qwen/Qwen3-0.6B", 600_000_000),
        ("HuggingFaceTB/SmolLM2-360M-Instruct", 360_000_000),
        ("Qwen/Qwen3-30B-A3B", 30_000_000_000),
        ("meta-llama/Llama-3.1-8B-Instruct", 8_000_000_000),
        ("microsoft/phi-4", None),
        ("openai:gpt-5", None),
        ("nano:terse", None),
    ],
)
def test_without_the_configuration_the_name_gives_the_size(name: str, parameters: int | None) -> None:
    size = model_size(name)
    assert (size and size.parameters) == parameters


def test_what_the_user_sets_wins(call: Call, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(f"model: {BIG}\nsft:\n  learning_rate: 3e-5\n")
    found = shown(call, own, "lora.r=64")
    assert found["sft.learning_rate"]["value"] == 3e-5
    assert (found["lora.r"]["value"], found["lora.lora_alpha"]["value"]) == (64, 128)
    assert found["sft.max_length"]["value"] == 4096


def test_all_weights_get_the_rates_of_all_weights(call: Call) -> None:
    found = shown(call, "rpo", f"model={BIG}", "lora.r=0")
    assert (found["sft.learning_rate"]["value"], found["rl.learning_rate"]["value"]) == (1e-5, 1e-6)


@pytest.mark.parametrize("name", sorted(config_files()))
def test_shipped_configs_keep_their_values_for_their_own_model(name: str) -> None:
    path = config_files()[name]
    schema = {"rpo": TrainRPO, "popi": TrainPOPI, "pillow": TrainPILLOW}[name.split("/")[0]]
    settings, fitted = load_fitted(schema, path, ())
    plain = load(schema, path)
    written = {key for key in BY_SIZE[schema] if read_setting(plain, key) != read_setting(schema(), key)}
    assert all(read_setting(settings, key) == read_setting(plain, key) for key in written)
    if plain.model == "nano":
        assert fitted is None
        assert settings == plain


def test_another_model_of_another_size_takes_its_own_values_and_not_the_files(call: Call) -> None:
    found = shown(call, "rpo/email", f"model={BIG}")
    assert (found["lora.r"]["value"], found["sft.learning_rate"]["value"]) == (16, 1e-4)
    assert found["data.path"]["value"] == "imported/email"
    same = shown(call, "rpo/qwen3-4b-24gb", f"model={BIG}")  # of the same class: the file's values hold
    assert (same["lora.lora_dropout"]["value"], same["sft.max_length"]["value"]) == (0.05, 3072)


@pytest.mark.parametrize(
    ("method", "settings", "key"),
    [
        ("rpo", ("lora.r=0", "sft.learning_rate=1e-3"), "sft.learning_rate"),
        ("rpo", ("stages=all", "lora.r=0", "rl.learning_rate=1e-4"), "rl.learning_rate"),
        ("rpo", ("sft.learning_rate=0.01",), "sft.learning_rate"),
        ("popi", ("joint.learning_rate=1e-3",), "joint.learning_rate"),
        ("pillow", ("controls.full_fine_tuning=true", "controls.full_learning_rate=1e-3"), "full_learning"),
    ],
)
def test_rates_that_destroy_the_model_are_refused_unless_forced(
    call: Call, tmp_path: Path, method: str, settings: tuple[str, ...], key: str
) -> None:
    refused = call("train", method, f"model={BIG}", *settings, "--output", tmp_path / "run")
    assert refused.status == 2
    assert key in refused.err
    assert "known to destroy a model of 8 B parameters" in refused.err
    assert "force=true" in refused.err
    assert not (tmp_path / "run").exists()
    assert call("config", "check", method, f"model={BIG}", *settings, "force=true").status == 0


def test_rates_of_stages_that_do_not_run_are_not_refused() -> None:
    settings = ["lora.r=0", "sft.learning_rate=1e-5", "rl.learning_rate=1"]
    check_rates(load(TrainRPO, None, settings), 8 * 10**9)
    with pytest.raises(UserError, match=r"rl\.learning_rate is 1, expected less than 0\.0001"):
        check_rates(load(TrainRPO, None, [*settings, "stages=all"]), 10**9)


@pytest.mark.parametrize("schema", [TrainRPO, TrainPOPI, TrainPILLOW])
@pytest.mark.parametrize("parameters", [50_000_000, 600_000_000, 8_000_000_000, 70_000_000_000])
def test_the_chosen_settings_pass_the_methods_own_checks(
    schema: type[Any], parameters: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from personakit.methods.table import METHODS

    monkeypatch.setattr("personakit.models.smollm2.packaged_file", lambda: None)  # converting takes long
    name = {TrainRPO: "rpo", TrainPOPI: "popi", TrainPILLOW: "pillow"}[schema]
    for path in (config_files()[f"{name}/nano"], config_files()[f"{name}/smollm2"], None):
        for window in (None, 2048):
            settings = load(schema, path)
            chosen = fit_to_size(settings, parameters, frozenset(), window=window)
            assert set(chosen) == set(BY_SIZE[schema])
            _check_plan(METHODS[name].name, settings)
            check_rates(settings, parameters)


def _check_plan(name: str, settings: Any) -> None:
    import importlib

    importlib.import_module(f"personakit.{name}.train").check_plan(settings)


def test_lengths_fit_the_window_and_what_the_user_has_set() -> None:
    settings = load(TrainPOPI, None, ["max_length=400"])
    fit_to_size(settings, 8 * 10**9, frozenset({"max_length"}))
    assert settings.max_length == 400
    assert settings.data.signal_tokens + settings.joint.max_summary_tokens <= 400
    short = TrainRPO()
    fit_to_size(short, 8 * 10**9, frozenset(), window=1000)
    assert short.sft.max_length == 1000
    assert short.prompt_tokens + short.trajectories.max_tokens <= 1000


def test_a_batch_of_rl_is_whole_groups() -> None:
    settings = load(TrainRPO, None, ["rl.num_generations=6"])
    fit_to_size(settings, 10**8, frozenset({"rl.num_generations"}))
    assert settings.rl.per_device_train_batch_size == 6  # the smallest whole group above 4


def test_a_run_records_the_chosen_settings_and_resumes_with_them(
    call: Call, tiny_model: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(table, "BOUNDS", (100, 10**8, 10**9, 10**10))  # the tiny model is one of 20 M to 300 M
        settings = (f"model={tiny_model}", f"base={tiny_model}", f"data.path={tiny_data}", "stages=sft")
        small = ("data.tasks=[LaMP_7]", "sft.max_steps=1", "decoding.max_new_tokens=8")
        control = "controls.fine_tuned_context_injection=false"
        done = call("train", "rpo", *settings, *small, control, "sft.learning_rate=1e-4", "--output", run)
        assert done.status == 0, done.err
    saved = load_saved(TrainRPO, run / "config.yaml")
    facts = json.loads((run / "run.json").read_text())
    assert (saved.lora.r, saved.sft.learning_rate) == (16, 1e-4)
    assert facts["fitted_settings"]["settings"]["lora.r"] == 16
    assert "sft.learning_rate" not in facts["fitted_settings"]["settings"]
    assert (run / "model" / "adapter_config.json").is_file()
    assert "lora.r=16" in done.err
    again = call("train", "rpo", "--output", run, "--resume")
    assert again.status == 0, again.err
    assert f"{run} is finished: there is nothing to resume" in again.err
    assert "lora.r=16" not in again.err
