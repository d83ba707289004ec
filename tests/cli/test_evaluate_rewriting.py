"""`personakit eval rewriting`: the same controls as `eval lamp`, and gains on one task."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from personakit.data.lamp import write_split
from personakit.data.lamp_formats import build_input, profile_item
from personakit.methods import REWRITERS
from personakit.records import Example, Profile, Query

from .conftest import Call
from .tiny import make_run


@pytest.fixture(scope="module")
def rewrites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three users a split, each with a rewrite of their own."""
    folder = tmp_path_factory.mktemp("rewrites")
    for split in ("train", "dev"):
        examples = []
        for number, user in enumerate((f"{split}-ada", f"{split}-bob", f"{split}-cyd")):
            fields = {"original": f"{user} met Tom", "revised": f"{user} saw Tom, cheers"}
            text = build_input("rewriting", original=f"{user} is in Oslo")
            query = Query(
                f"{split}{number}", "rewriting", text, f"{user} is in Oslo", user, f"{user}: Oslo, cheers"
            )
            examples.append(Example(query, Profile(user, (profile_item("rewriting", "0", fields),))))
        write_split(folder / "rewriting", split, examples, user_ids=True)
    return folder


def test_controls_and_other_bases_are_rows(
    call: Call, rewrites: Path, tiny_model: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", tiny_model, rewrites)
    for place in REWRITERS.values():
        shutil.copytree(tiny_model, run / place)
    rest = ("--base", f"{tiny_model}:noisy", "--output", tmp_path / "out")
    done = call("eval", "rewriting", "--run", run, "--json", *rest)
    assert done.status == 0, done.err
    assert list(dict.fromkeys(row["method"] for row in done.document["rows"])) == [
        "generic",
        "copy the input",
        "profile mode or mean",
        "context injection (zero-shot)",
        "context injection, fine-tuned",
        "RPO",
        "RPO, SFT only",
        "RPO, SFT continued",
        "RPO, no curriculum",
        "RPO, empty history",
        "RPO, another user's history",
        f"generic, {tiny_model}:noisy",
        f"RPO, {tiny_model}:noisy",
    ]
    assert done.document["wrong_user"]
    assert "no row for majority class: no task has classes" in done.err
    printed = call(
        "eval", "rewriting", "--run", run, "--base", f"{tiny_model}:noisy", "--output", tmp_path / "2"
    )
    assert " gain" in printed.out
    assert "does not beat" not in printed.out


@pytest.mark.usefixtures("lamp_mini")
def test_data_without_rewrites_is_an_error(call: Call) -> None:
    done = call("eval", "rewriting", "--no-run", "--data", "lamp-mini")
    assert done.status == 2
    assert "lamp-mini has no people's rewrites" in done.err
    assert "--data" in done.err
