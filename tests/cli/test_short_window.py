"""Prompts longer than a model's context window: items are left out, what is cut is counted and shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import Call
from .tiny import make_model


@pytest.fixture(scope="module")
def short_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that reads 140 tokens, which here are characters."""
    folder = make_model(tmp_path_factory.mktemp("short") / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 140}))
    return folder


def evaluated(call: Call, base: Path, data: Path, folder: Path, *tasks: str) -> tuple[Any, list[Any], str]:
    named = [part for task in tasks for part in ("--task", task)]
    rows = ("--baseline", "generic", "--baseline", "context")
    done = call("eval", "lamp", "--no-run", "--base", base, "--data", data, *named, *rows, "--output", folder)
    assert done.status == 0, done.err
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    return json.loads((folder / "results.json").read_text()), samples, done.out


def test_cut_prompts_are_counted_and_shown(
    call: Call, short_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    results, samples, printed = evaluated(call, short_model, tiny_data, tmp_path / "out", "LaMP_3")
    assert all(sample["prompt_cut"] > 0 for sample in samples)  # LaMP-3's question alone is longer
    assert {row["prompts_cut"] for row in results["rows"]} == {3}
    assert "3 of 3 samples with a prompt longer than the model's context window" in printed
    assert "prompt" in (tmp_path / "out" / "report.html").read_text()
    for sample in samples:
        assert sample["context_tokens"] == 0
        assert sample["context"]["items"] == []  # they would be in the middle, which is cut
        assert sample["tokens"] <= 140


def test_items_that_do_not_fit_are_left_out_and_not_listed(
    call: Call, short_model: Path, tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    _, samples, _ = evaluated(call, short_model, tiny_data, tmp_path / "short", "LaMP_7")
    _, whole, _ = evaluated(call, tiny_model, tiny_data, tmp_path / "whole", "LaMP_7")
    shown = [sample for sample in samples if sample["method"] == "context injection (zero-shot)"]
    roomy = [sample for sample in whole if sample["method"] == "context injection (zero-shot)"]
    assert [len(sample["context"]["items"]) for sample in roomy] == [3, 3, 0]
    for sample, other in zip(shown, roomy, strict=True):
        assert sample["context_tokens"] <= other["context_tokens"]
        assert len(sample["context"]["items"]) <= len(other["context"]["items"])
        assert sample["prompt_cut"] == 0 or sample["context"]["items"] == []
    assert all(sample["prompt_cut"] == 0 for sample in roomy)


def test_infer_says_that_the_prompt_was_cut(
    call: Call, short_model: Path, tiny_run: Path, tmp_path: Path
) -> None:
    asked = ("infer", "--run", tiny_run, "--base", short_model, "--task", "LaMP_7", "x" * 300)
    done = call(*asked, "--json")
    assert done.status == 0, done.err
    assert done.document["prompt_cut"] > 0
    assert "prompt tokens were cut" in done.err
