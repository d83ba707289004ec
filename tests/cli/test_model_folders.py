"""A model that does not load ends with status 2 and a sentence, also when it is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from personakit.cli.main import main

from .tiny import make_data, make_model


@pytest.mark.parametrize("command", ["eval", "train"])
def test_weights_with_other_names(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, data = make_model(tmp_path / "model"), make_data(tmp_path / "data")
    file = model / "model.safetensors"
    renamed = {f"module.{name}": weight for name, weight in load_file(file).items()}
    save_file(renamed, file, metadata={"format": "pt"})
    output = ["--output", str(tmp_path / "out")]
    if command == "eval":
        place = ["eval", "lamp", "--no-run", "--base", str(model), "--data", str(data), "--task", "LaMP_7"]
        status = main([*place, "--limit", "1", "--baseline", "generic", *output])
    else:
        settings = [f"model={model}", "base=nano", f"data.path={data}", "data.tasks=[LaMP_7]", "stages=sft"]
        status = main(["train", "rpo", *output, *settings, "controls.fine_tuned_context_injection=false"])
    told = capsys.readouterr().err
    assert status == 2, told
    assert str(file) in told
    assert "they lack" in told
    assert "bug in personakit" not in told
