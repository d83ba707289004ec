"""`personakit export`: a system prompt within its budget, a PEFT adapter, a GGUF file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from personakit.models import smollm2, voice

from .conftest import Call

WORDS = (
    "apple",
    "barn",
    "cellar",
    "ditch",
    "elder",
    "fence",
    "gate",
    "hedge",
    "inlet",
    "jetty",
    "kiln",
    "lane",
)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.jsonl"
    rows = [
        {"date": f"2024-01-{n:02}", "text": f"hey ada - the {word} by the {word[::-1]} is done. so long, k."}
        for n, word in enumerate(WORDS, start=1)
    ]
    rows[2] |= {"draft": "The cellar is done."}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_prompt_has_habits_and_examples_within_its_budget(call: Call, mine: Path) -> None:
    done = call("export", "prompt", mine, "--tokens", "250", "--json")
    assert done.status == 0, done.err
    document = done.document
    text = document["text"]
    assert document["tokens"] == -(-len(text.encode()) // 4) <= 250
    assert '- Ends with "so long, k." (100 %).' in text
    assert "- All in lower case (100 %)." in text
    assert document["examples"] == text.count("<example>") >= 2
    first, second = text.split("<example>\n")[1:3]
    assert "cellar" in first  # an edited answer comes first, then the newest
    assert "lane" in second
    assert "The cellar is done." not in text
    smaller = call("export", "prompt", mine, "--tokens", "120", "--json").document
    assert smaller["tokens"] <= 120
    assert smaller["examples"] < document["examples"]


def test_a_prompt_is_written_to_a_file_with_a_summary(call: Call, mine: Path, tmp_path: Path) -> None:
    (tmp_path / "summary.md").write_text("Short, in lower case.\n")
    output = tmp_path / "prompt.txt"
    done = call("export", "prompt", mine, "--summary", tmp_path / "summary.md", "--output", output)
    assert (done.status, done.out) == (0, f"{output}\n"), done.err
    assert "Short, in lower case.\n\nExamples:" in output.read_text()


def test_a_prompt_replaces_no_file_and_has_columns(call: Call, mine: Path, tmp_path: Path) -> None:
    before = mine.read_bytes()
    for output in (mine, tmp_path / "prompt.txt"):
        output.touch()
        done = call("export", "prompt", mine, "--output", output)
        assert (done.status, "exists already" in done.err) == (2, True), done.err
    assert mine.read_bytes() == before
    other = tmp_path / "other.jsonl"
    other.write_bytes(before.replace(b'"text"', b'"body"'))
    for command in (("export", "prompt"), ("data", "show")):
        missing = call(*command, other)
        assert (missing.status, "--column text=" in missing.err) == (2, True), missing.err
        assert call(*command, other, "--column", "text=body").out == call(*command, mine).out
    assert call("data", "show", "lamp-mini", "--column", "text=body").status == 2


def test_prompts_that_cannot_be_made(call: Call, mine: Path, tmp_path: Path) -> None:
    two = tmp_path / "two.jsonl"
    two.write_text('{"user_id": "a", "text": "one text of a"}\n{"user_id": "b", "text": "two texts of b"}\n')
    for arguments, message in (
        ((mine, "--tokens", "5"), "--tokens 5: the first point has no room"),
        ((two,), "has 2 users, expected one"),
        ((two, "--user", "c"), 'has no user "c"'),
    ):
        done = call("export", "prompt", *arguments)
        assert (done.status, message in done.err) == (2, True), done.err
    assert "one text of a" in call("export", "prompt", two, "--user", "a").out


def test_an_adapter_is_copied_with_a_card_and_a_base_that_others_know(call: Call, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    assert call("export", "adapter", "voice", folder).status == 0
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == smollm2.HUB_NAME
    weights = "adapter_model.safetensors"
    assert (folder / weights).read_bytes() == (voice.FOLDER / "model" / weights).read_bytes()
    card = (folder / "README.md").read_text()
    assert f'AutoTokenizer.from_pretrained("{smollm2.HUB_NAME}")' in card  # the folder has no tokenizer
    assert f"base_model: {smollm2.HUB_NAME}\n" in card
    assert "Method: RPO (stages: sft)" in card
    assert "Privacy: " in card
    assert "Licence: " in card
    layout = card.split("```text\n")[1].split("\n```")[0]
    assert "{text of item 2}" in layout
    assert layout.endswith("{text}\nRewrite the text the way this user would.")
    assert "the answer alone" in card
    again = call("export", "adapter", "voice", folder)
    assert (again.status, "exists already" in again.err) == (2, True)


def test_a_run_without_an_adapter_is_refused(call: Call, tiny_run: Path, tmp_path: Path) -> None:
    done = call("export", "adapter", tiny_run, tmp_path / "adapter")
    assert (done.status, "has no adapter_config.json" in done.err) == (2, True)
    assert not (tmp_path / "adapter").exists()


def test_llama_cpp_s_converter_makes_gguf(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script with the converter's options stands for it."""
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setattr("personakit.methods.exporting.resolve_model", lambda name: str(tmp_path))
    out = tmp_path / "voice.gguf"
    missing = call("export", "gguf", "voice", out)
    assert missing.status == 2
    assert "llama.cpp's convert_lora_to_gguf.py is not on the PATH" in missing.err
    script = tmp_path / "convert_lora_to_gguf.py"
    script.write_text(
        "import argparse, pathlib\n"
        "p = argparse.ArgumentParser()\n"
        "p.add_argument('--outfile', type=pathlib.Path)\n"
        "p.add_argument('--base', type=pathlib.Path)\n"
        "p.add_argument('lora_path', type=pathlib.Path)\n"
        "a = p.parse_args()\n"
        "assert a.base.is_dir() and (a.lora_path / 'adapter_config.json').is_file()\n"
        "a.outfile.write_text('GGUF')\n"
    )
    done = call("export", "gguf", "voice", out, "--llama-cpp", tmp_path)
    assert (done.status, out.read_text()) == (0, "GGUF"), done.err
    script.write_text("raise SystemExit('no module named gguf')")
    failed = call("export", "gguf", "voice", tmp_path / "b.gguf", "--llama-cpp", tmp_path)
    assert (failed.status, "no module named gguf" in failed.err) == (1, True)
    assert not (tmp_path / "b.gguf").exists()
