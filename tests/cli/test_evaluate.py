"""`personakit eval` and `report`: rows, files, resuming, seeds, evaluations on test, external files."""

from __future__ import annotations

import json
import shutil
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from personakit.cli import main
from personakit.models.local import LocalModel

from .conftest import Call
from .tiny import make_run

ALL_ROWS = [
    "generic",
    "copy the input",
    "majority class",
    "profile mode or mean",
    "context injection (zero-shot)",
    "context injection, fine-tuned",
    "RPO",
    "RPO, empty history",
    "RPO, another user's history",
]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory, tiny_run: Path) -> Path:
    folder = tmp_path_factory.mktemp("evaluated") / "eval"
    assert main(["eval", "lamp", "--run", str(tiny_run), "--output", str(folder)]) == 0
    return folder


def test_all_rows_that_the_data_allows_are_present(call: Call, tiny_run: Path, evaluated: Path) -> None:
    done = call("eval", "lamp", "--run", tiny_run, "--json")
    assert done.status == 0, done.err
    rows = done.document["rows"]
    assert rows == json.loads((evaluated / "results.json").read_text())["rows"]
    assert list(dict.fromkeys(row["method"] for row in rows)) == ALL_ROWS
    asked = {"method", "task", "metric", "value", "low", "high", "users", "examples", "context_tokens"}
    assert asked <= rows[0].keys()
    compared = {"method", "against", "task", "metric", "difference", "low", "high"}
    assert compared <= done.document["comparisons"][0].keys()
    context = {row["method"]: row["context_tokens"] for row in rows if row["task"] == "LaMP_7"}
    assert context["generic"] == 0
    assert context["context injection (zero-shot)"] > 0
    assert "no row for oracle" in done.err


def test_folder_has_samples_results_report_and_predictions(
    call: Call, tiny_data: Path, evaluated: Path
) -> None:
    results = json.loads((evaluated / "results.json").read_text())
    assert "<html" in (evaluated / "report.html").read_text()
    assert "generic" in (evaluated / "plot.svg").read_text()
    scored = call(
        *(
            "eval",
            "lamp",
            "--json",
            "--predictions",
            evaluated / "predictions" / "copy-the-input" / "LaMP_7.json",
        ),
        *("--golds", tiny_data / "LaMP_7" / "dev_outputs.json"),
    )
    [report] = scored.document["scores"]
    for metric in ("rouge-1", "rouge-L"):
        [row] = [
            row
            for row in results["rows"]
            if (row["method"], row["task"], row["metric"]) == ("copy the input", "LaMP_7", metric)
        ]
        assert report["metrics"][metric] == pytest.approx(row["value"], abs=1e-6)


def test_a_stopped_evaluation_resumes_to_the_same_results(
    call: Call, tiny_run: Path, evaluated: Path, tmp_path: Path
) -> None:
    stopped = tmp_path / "stopped"
    stopped.mkdir()
    whole = (evaluated / "samples.jsonl").read_bytes()
    (stopped / "samples.jsonl").write_bytes(whole[: len(whole) // 2])
    resumed = call("eval", "lamp", "--run", tiny_run, "--output", stopped, "--resume")
    assert resumed.status == 0, resumed.err
    assert (stopped / "results.json").read_bytes() == (evaluated / "results.json").read_bytes()


def test_resuming_with_another_run_is_an_error(call: Call, tiny_run: Path, tmp_path: Path) -> None:
    folder, other = tmp_path / "eval", tmp_path / "other"
    shutil.copytree(tiny_run, other)  # the same method, seed and queries, but another run
    rest = ("--task", "LaMP_7", "--baseline", "copy", "--limit", "2", "--output", folder)
    assert call("eval", "lamp", "--run", tiny_run, *rest).status == 0
    refused = call("eval", "lamp", "--run", other, *rest, "--resume")
    assert refused.status == 2
    assert "runs" in refused.err
    assert str(other) in refused.err


def test_runs_with_different_seeds_form_one_row(
    call: Call, tiny_run: Path, tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    other = make_run(tmp_path / "seed1", tiny_model, tiny_data, seed=1)
    done = call(
        *("eval", "lamp", "--run", tiny_run, "--run", other, "--json"),
        *("--task", "LaMP_7", "--baseline", "generic", "--output", tmp_path / "out"),
    )
    assert {row["method"]: row["seeds"] for row in done.document["rows"]} == {"generic": 1, "RPO": 2}


def test_runs_with_different_settings_are_an_error(
    call: Call, tiny_run: Path, tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    other = make_run(tmp_path / "other", tiny_model, tiny_data, seed=1)
    text = (other / "config.yaml").read_text().replace("k: 4", "k: 2")
    (other / "config.yaml").write_text(text)
    refused = call("eval", "lamp", "--run", tiny_run, "--run", other)
    assert refused.status == 2
    assert "different settings" in refused.err


def test_evaluation_on_test_is_recorded_unless_it_fails(call: Call, tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    look = ("eval", "lamp", "--run", run, "--split", "test", "--task", "LaMP_7", "--baseline", "copy")
    assert call(*look, "--output", tmp_path / "one").status == 0
    assert call(*look, "--output", tmp_path / "one").status == 2
    assert call(*look, "--run", run, "--output", tmp_path / "twice").status == 2
    assert not (tmp_path / "twice").exists()
    assert call(*look, "--output", tmp_path / "one", "--resume").status == 0
    assert len((run / "test_looks.jsonl").read_text().splitlines()) == 1
    assert call(*look, "--output", tmp_path / "two", "--resume").status == 0  # there was nothing to resume
    assert len((run / "test_looks.jsonl").read_text().splitlines()) == 2
    assert "evaluated on the test split 2 times" in (tmp_path / "two" / "report.html").read_text()


def test_another_base_adds_rows_and_the_gain_kept(
    call: Call, tiny_run: Path, tiny_model: Path, tmp_path: Path
) -> None:
    done = call(
        *("eval", "lamp", "--run", tiny_run, "--json", "--task", "LaMP_7", "--output", tmp_path / "out"),
        *("--base", f"{tiny_model}:terse", "--base", f"{tiny_model}:wordy", "--base", tiny_model),
        *("--baseline", "copy"),
    )
    assert done.status == 0, done.err
    own = ["generic", "copy the input", "RPO"]
    added = [f"{row}, {tiny_model}:{kind}" for kind in ("terse", "wordy") for row in ("generic", "RPO")]
    assert list(dict.fromkeys(row["method"] for row in done.document["rows"])) == own + added
    assert list(done.document["seconds_per_answer"]) == own + added
    assert [one["base"] for one in done.document["transfer"]] == [
        f"{tiny_model}:terse",
        f"{tiny_model}:wordy",
    ]
    for one in done.document["transfer"]:
        assert (one["own"], one["own_generic"]) == ("RPO", "generic")
        assert {"share", "low", "high", "gain", "own_gain"} <= one.keys()
    value = {row["method"]: row["value"] for row in done.document["rows"] if row["metric"] == "primary"}
    gain = value[f"RPO, {tiny_model}:wordy"] - value[f"generic, {tiny_model}:wordy"]
    assert done.document["transfer"][1]["gain"]["value"] == pytest.approx(gain, abs=1e-5)
    assert done.document["made_by"]["unseen_bases"] == [f"{tiny_model}:terse", f"{tiny_model}:wordy"]


def test_other_rewriters_of_the_run_are_rows(
    call: Call, tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    from personakit.methods import REWRITERS

    run = make_run(tmp_path / "run", tiny_model, tiny_data)
    for place in REWRITERS.values():
        shutil.copytree(tiny_model, run / place)
    done = call("eval", "lamp", "--run", run, "--json", "--task", "LaMP_7", "--output", tmp_path / "out")
    assert done.status == 0, done.err
    rows = list(dict.fromkeys(row["method"] for row in done.document["rows"]))
    assert [row for row in rows if row.startswith("RPO")] == [
        "RPO",
        "RPO, SFT only",
        "RPO, SFT continued",
        "RPO, no curriculum",
        "RPO, empty history",
        "RPO, another user's history",
    ]
    compared = {one["against"] for one in done.document["beats"] if one["method"] == "RPO"}
    assert {"RPO, SFT only", "RPO, SFT continued", "RPO, no curriculum"} <= compared


def test_at_most_base_and_one_rewriter_are_in_memory(
    call: Call, tiny_model: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All models would not fit into memory together; consecutive rows with one model load it once."""
    base, unseen = (shutil.copytree(tiny_model, tmp_path / name) for name in ("base", "unseen"))
    run = make_run(tmp_path / "run", base, tiny_data)
    shutil.copytree(tiny_model, run / "sft")
    loaded: list[tuple[str, weakref.ref[Any]]] = []
    most = 0
    load = LocalModel.load.__func__  # type: ignore[attr-defined]

    def watched(cls: type[LocalModel], name: str, **kwargs: Any) -> LocalModel:
        nonlocal most
        model: LocalModel = load(cls, name, **kwargs)
        loaded.append((name, weakref.ref(model.model)))
        most = max(most, sum(weights() is not None for _, weights in loaded))
        return model

    monkeypatch.setattr(LocalModel, "load", classmethod(watched))
    asked = ("eval", "lamp", "--run", run, "--base", unseen, "--task", "LaMP_7", "--output", tmp_path / "out")
    assert call(*asked).status == 0
    method = run / "model"
    assert [Path(name) for name, _ in loaded] == [
        *(base, run / "controls" / "context_injection"),
        *(method, run / "sft"),
        *(method, unseen),  # the method's controls of the history, then with the unseen base model
    ]
    assert most == 2

    loaded.clear()
    (tmp_path / "out" / "report.html").unlink()
    assert call(*asked, "--resume").status == 0
    assert loaded == []


def test_missing_model_fails_before_recording_the_evaluation_on_test(
    call: Call, tiny_run: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    shutil.rmtree(run / "controls" / "context_injection")
    (run / "controls" / "context_injection").mkdir()
    refused = call("eval", "lamp", "--run", run, "--split", "test", "--output", tmp_path / "out")
    assert refused.status == 2
    assert "context_injection" in refused.err
    assert not (run / "test_looks.jsonl").exists()
    assert not (tmp_path / "out").exists()


def test_baselines_alone_take_one_base(call: Call, tiny_model: Path, tiny_data: Path) -> None:
    refused = call("eval", "lamp", "--no-run", "--data", tiny_data, "--base", tiny_model, "--base", "nano")
    assert refused.status == 2
    assert "expected one base" in refused.err


def test_baselines_alone_need_no_run(call: Call, tiny_model: Path, tiny_data: Path) -> None:
    done = call(
        *("eval", "lamp", "--no-run", "--base", tiny_model, "--data", tiny_data, "--limit", "2", "--json"),
        *("--baseline", "copy", "--baseline", "profile"),
    )
    assert done.status == 0, done.err
    assert {row["method"] for row in done.document["rows"]} == {"copy the input", "profile mode or mean"}
    assert "history" not in done.err  # the history's controls are of a run
    assert {row["examples"] for row in done.document["rows"] if row["task"] == "LaMP_3"} == {2}


def test_report_writes_the_page_again(call: Call, evaluated: Path) -> None:
    page = evaluated / "report.html"
    before = page.read_bytes()
    page.unlink()
    assert call("report", evaluated).out == f"{page}\n"
    assert page.read_bytes() == before


def test_strict_fails_on_leaks_before_any_answer(call: Call, tiny_data: Path, tmp_path: Path) -> None:
    data = shutil.copytree(tiny_data, tmp_path / "leaky")
    questions = json.loads((data / "LaMP_7" / "dev_questions.json").read_text())
    golds = json.loads((data / "LaMP_7" / "dev_outputs.json").read_text())["golds"]
    questions[0]["profile"][0]["text"] = golds[0]["output"]
    (data / "LaMP_7" / "dev_questions.json").write_text(json.dumps(questions))
    asked = ("eval", "lamp", "--no-run", "--data", data, "--task", "LaMP_7", "--baseline", "copy")
    refused = call(*asked, "--strict", "--output", tmp_path / "strict")
    assert refused.status == 2
    assert f"LaMP_7 {questions[0]['id']}" in refused.err
    assert not (tmp_path / "strict").exists()
    result = call(*asked, "--json", "--output", tmp_path / "told")
    assert result.status == 0, result.err
    assert result.document["leaks"]["counts"]["answer_in_profile"] == 1
    assert "1 queries whose gold answer" in result.err
    (line,) = (tmp_path / "told" / "leaks.jsonl").read_text().splitlines()
    assert json.loads(line)["query_id"] == questions[0]["id"]
    assert call(*asked, "--strict", "--data", tiny_data, "--output", tmp_path / "clean").status == 0


def test_curves_and_single_queries(call: Call, tiny_run: Path, tmp_path: Path) -> None:
    asked = ("eval", "lamp", "--run", tiny_run, "--baseline", "profile", "--curve", "history", "--json")
    done = call(*asked, "--sample-id", "7d0", "--sample-id", "7d1", "--output", tmp_path / "out")
    assert done.status == 0, done.err
    assert {row["examples"] for row in done.document["rows"]} == {2}
    assert {row["task"] for row in done.document["rows"]} == {"LaMP_7", "all"}
    points = done.document["curves"]["history"]
    assert [(one["method"], one["at"]) for one in points] == [
        (method, at) for method in ("profile mode or mean", "RPO") for at in (0, 1, 2, 4, 8, 16)
    ]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "By items in the history" in page
    assert "Command" in page
    assert "retrieval:" in page  # the run's own configuration
    resumed = call(
        *asked, "--sample-id", "7d0", "--sample-id", "7d1", "--output", tmp_path / "out", "--resume"
    )
    assert resumed.document["curves"] == done.document["curves"]
    refused = call(*asked, "--sample-id", "nobody", "--output", tmp_path / "other")
    assert refused.status == 2
    assert "nobody" in refused.err
    assert call(*asked[:4], "--curve", "bumps").status == 2


@pytest.mark.usefixtures("lamp_mini")
def test_published_rows_appear_with_lamp_only(call: Call, tiny_data: Path, tmp_path: Path) -> None:
    asked = ("eval", "lamp", "--no-run", "--task", "LaMP_7", "--baseline", "copy", "--limit", "2", "--json")
    done = call(*asked, "--data", tiny_data, "--published", "user", "--output", tmp_path / "out")
    assert done.status == 0, done.err
    assert {row["task"] for row in done.document["published_lamp"]["rows"]} == {"LaMP_7"}
    assert "FlanT5-XXL zero-shot" in (tmp_path / "out" / "report.html").read_text()
    mine = call(*asked, "--data", tiny_data, "--output", tmp_path / "mine")
    assert "published_lamp" not in mine.document  # not LaMP's data, by its size
    imported = shutil.copytree(tiny_data, tmp_path / "imported")
    (imported / "dataset.json").write_text(json.dumps({"made_from": {"format": "reviews"}}))
    for data in ("lamp-mini", imported):
        refused = call(*asked, "--data", data, "--published", "user")
        assert refused.status == 2
        assert "is not LaMP" in refused.err


def test_report_of_a_training_run(call: Call, tiny_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    lines = [{"stage": "sft", "step": step, "loss": 2.0 - step} for step in range(3)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert call("report", run).out == f"{run / 'report.html'}\n"
    page = (run / "report.html").read_text()
    assert "<figcaption>loss" in page
    assert "retrieval:" in page
    assert "Scores" not in page


def test_runs_of_several_methods_share_a_table(tiny_run: Path, tmp_path: Path) -> None:
    from personakit.methods import METHODS, FinishedRun
    from personakit.suites import SUITES, Options
    from personakit.suites.base import choose_rows

    suite = SUITES["lamp"]
    world = suite.load(Options(runs=[tiny_run]), lambda text: None)
    popi = [
        FinishedRun(tmp_path / f"popi{seed}", "popi", seed, METHODS["popi"].settings(seed=seed))
        for seed in (0, 1)
    ]
    world = replace(world, others={"POPI": popi})
    rows = choose_rows(suite, world, ["generic", "empty", "other"], lambda text: None)
    candidates = [candidate for row in rows for candidate in row.candidates(world)]
    controls = ("", ", empty history", ", another user's history")
    labels = list(dict.fromkeys(candidate.method for candidate in candidates))
    assert labels == [
        "generic",
        *(f"{method}{control}" for method in ("RPO", "POPI") for control in controls),
    ]
    assert [one.seed for one in candidates if one.method == "POPI"] == [0, 1]
    claims = suite.claims(world, labels)
    assert {("RPO", "generic"), ("POPI", "generic"), ("RPO", "POPI")} <= set(claims.compared)
    assert ("POPI", "POPI, another user's history", "POPI, empty history") in claims.wrong_user
