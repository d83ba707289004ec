"""PILLOW on histories: as a retriever, in `infer`, and as a row of `eval lamp`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from personakit.cli import main
from personakit.config import TrainPILLOW, load
from personakit.data import open_examples
from personakit.errors import UserError
from personakit.methods import open_run, register_run_providers
from personakit.pillow.data import open_data
from personakit.records import Profile
from personakit.retrieval import open_retriever
from personakit.training.training_digests import store_digests

from .conftest import Call
from .tiny_pillow import make_history_run, make_instructions, make_pillow_run

DRY = ("train", "rpo", "--config", "nano", "--dry-run")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, tiny_data: Path) -> Path:
    return make_history_run(tmp_path_factory.mktemp("history") / "run", tiny_model, tiny_data)


@pytest.fixture(scope="module")
def of_a_pool(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    return make_pillow_run(folder / "run", tiny_model, make_instructions(folder / "data"))


def test_pillow_run_is_a_retriever_of_the_users_items(run: Path, tiny_data: Path) -> None:
    register_run_providers()
    examples = list(open_examples(tiny_data, "LaMP_3", "dev"))
    queries, profiles = [one.query for one in examples], [one.profile for one in examples]
    for k in (1, 2, 9):
        contexts = open_retriever(f"pillow:{run}", k).context(queries, profiles)
        for context, profile in zip(contexts, profiles, strict=True):
            ids = [item.id for item in context.items]
            assert len(set(ids)) == len(ids) == min(k, len(profile.items))
            assert all(item in profile.items for item in context.items)
    alone = open_retriever(f"pillow:{run}", 2).context(queries[:1], profiles[:1])
    assert alone == open_retriever(f"pillow:{run}", 2).context(queries, profiles)[:1]
    # A longer selection begins with the shorter one, which a curriculum relies on.
    longer = open_retriever(f"pillow:{run}", 3).context(queries, profiles)
    assert [each.items[:2] for each in longer] == [
        each.items for each in open_retriever(f"pillow:{run}", 2).context(queries, profiles)
    ]


def test_training_queries_are_found_as_leaks(tiny_model: Path, tiny_data: Path) -> None:
    settings = [f"model={tiny_model}", f"data.path={tiny_data}", "data.tasks=[LaMP_3]"]
    seen = open_data(load(TrainPILLOW, None, settings)).seen
    assert seen == set(store_digests(open_examples(tiny_data, "LaMP_3", "train")))
    assert not seen & set(store_digests(open_examples(tiny_data, "LaMP_3", "dev")))


def test_duplicate_items_are_kept(run: Path, tiny_data: Path) -> None:
    register_run_providers()
    one = open_examples(tiny_data, "LaMP_3", "dev")[0]
    twice = Profile("x", (*one.profile.items, *one.profile.items))
    [context] = open_retriever(f"pillow:{run}", 9).context([one.query], [twice])
    assert len(context.items) == len(twice.items)


def test_run_with_a_pool_is_not_a_retriever(of_a_pool: Path, tmp_path: Path) -> None:
    register_run_providers()
    with pytest.raises(UserError, match="selects from a shared pool"):
        open_retriever(f"pillow:{of_a_pool}", 1)
    with pytest.raises(UserError, match="no such run"):
        open_retriever(f"pillow:{tmp_path / 'nowhere'}", 1)
    with pytest.raises(UserError, match="unknown retriever"):
        open_retriever("pillow:", 1)


def test_pillow_retriever_in_rpo_and_context_injection(
    call: Call, run: Path, tiny_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    done = call(*DRY, f"retrieval.name=pillow:{run}", f"data.path={tiny_data}")
    assert done.status == 0, done.err
    rewriter = tmp_path / "rpo"
    shutil.copytree(tiny_run, rewriter)
    config = (rewriter / "config.yaml").read_text().replace("name: bm25", f"name: pillow:{run}")
    (rewriter / "config.yaml").write_text(config)
    one = open_examples(tiny_data, "LaMP_7", "dev")[0]
    [answer] = open_run(rewriter).respond([one.query], [one.profile])
    assert len(answer.context.items) == 3
    refused = call(*DRY, "retrieval.name=pillow:nowhere", f"data.path={tiny_data}")
    assert (refused.status, "nowhere: no such run" in refused.err) == (2, True)


def test_eval_lamp_has_rows_for_pillow_and_bm25(call: Call, run: Path) -> None:
    rows = ("--baseline", "generic", "--baseline", "context", "--baseline", "empty", "--baseline", "other")
    done = call("eval", "lamp", "--run", run, "--limit", "2", *rows, "--json")
    assert done.status == 0, done.err
    labels = list(dict.fromkeys(row["method"] for row in done.document["rows"]))
    assert labels == [
        "generic",
        "context injection (zero-shot)",
        "PILLOW",
        "PILLOW, empty history",
        "PILLOW, another user's history",
    ]
    assert {(one["method"], one["against"]) for one in done.document["beats"]} == {
        ("PILLOW", "generic"),
        ("PILLOW", "context injection (zero-shot)"),
    }
    [test] = done.document["wrong_user"]
    assert test["right"] == "PILLOW"


def test_infer_shows_selected_items_or_prompts(
    call: Call, run: Path, of_a_pool: Path, tiny_data: Path
) -> None:
    done = call("infer", "--run", run, "--user", "dan", "--task", "LaMP_3", "--json")
    assert done.status == 0, done.err
    assert len(done.document["context"]["items"]) == 1
    asked = call("infer", "tell a story", "--run", of_a_pool, "--json")
    assert asked.status == 0, asked.err
    assert (asked.document["task"], asked.document["query"]) == ("instruction", "tell a story")
    assert len(asked.document["context"]["prompts"]) == 2
    sample = call("infer", "--run", of_a_pool, "--trace")
    assert sample.status == 0, sample.err
    assert "ask dev 0 of 0" in sample.out
    assert "prompt     1. " in sample.out


def test_training_on_histories_suggests_eval_lamp(
    tiny_model: Path, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [f"model={tiny_model}", f"data.path={tiny_data}", "data.tasks=[LaMP_3]", "matcher.m=1"]
    settings += ["tuning.enabled=false", "controls.full_fine_tuning=false", "rl.max_steps=1"]
    assert main(["train", "pillow", "--quiet", "--output", str(tmp_path / "run"), *settings]) == 0
    assert f"next: personakit eval lamp --run {tmp_path / 'run'}" in capsys.readouterr().err
