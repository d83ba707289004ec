"""`personakit eval preference`: rows, files, resuming, seeds, frozen models, errors."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from models.server import Reply, Server, replied, said
from popi.runs_of import make_preferences, make_run

from personakit.cli import main
from personakit.data.preferences import open_preferences
from personakit.training.training_digests import training_digest

from .conftest import Call

ROWS = [
    "base, no summary",
    "length alone",
    "persona looked up",
    "population DPO",
    "a LoRA per user",
    "raw history (zero-shot)",
    "raw history, cut, newest (zero-shot)",
    "raw history, cut, BM25 (zero-shot)",
    "raw history, DPO",
    "prompted summary (zero-shot)",
    "POPI, frozen generator",
    "POPI",
    "POPI, another user's summary",
    "oracle persona",
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, a model, and two runs of different seeds."""
    from models.tiny import make_tiny

    folder = tmp_path_factory.mktemp("world")
    data = make_preferences(folder / "data")
    model = make_tiny(folder)
    for seed in (0, 1):
        make_run(folder / f"run{seed}", model, data, seed=seed, controls=True)
    return folder


@pytest.fixture(scope="module")
def evaluated(world: Path) -> Path:
    folder = world / "eval"
    asked = ["eval", "preference", "--run", str(world / "run0"), "--run", str(world / "run1")]
    model = json.loads((world / "run0" / "run.json").read_text())["config"]["model"]
    assert main([*asked, "--base", model, "--output", str(folder)]) == 0
    return folder


def test_all_rows_have_both_references_and_costs(evaluated: Path) -> None:
    results = json.loads((evaluated / "results.json").read_text())
    labels = list(dict.fromkeys(row["method"] for row in results["rows"]))
    assert labels[: len(ROWS)] == ROWS
    assert len(labels) == len(ROWS) + 2  # the frozen model without and with a summary
    metrics = {row["metric"] for row in results["rows"]}
    assert {"accuracy", "accuracy, same context", "bits"} <= metrics
    rows = {row["method"]: row for row in results["rows"] if row["metric"] == "accuracy"}
    assert (rows["POPI"]["seeds"], rows["raw history (zero-shot)"]["seeds"]) == (2, 1)
    assert rows["base, no summary"]["value"] == 0.5
    # All personas occur in training and determine the preferred word, so lookup is always correct.
    assert rows["persona looked up"]["value"] == 1.0
    assert rows["length alone"]["value"] == 0.5
    assert rows["population DPO"]["context_tokens"] == 0
    assert rows["raw history (zero-shot)"]["context_tokens"] > rows["POPI"]["context_tokens"] > 0
    assert results["made_by"]["zero"] == "population DPO"
    assert len(results["transfer"]) == 1
    assert {gap["to"] for gap in results["gap_closed"]} == {"oracle persona"}
    assert results["adapters"]["a LoRA per user"]["users"] == 4
    assert rows["a LoRA per user"]["value"] != 0.5
    page = (evaluated / "report.html").read_text()
    assert "a LoRA per user: one adapter for each of 4 users" in page
    assert "published accuracy" not in page  # there are no published values for this data
    (evaluated / "report.html").unlink()
    assert main(["report", str(evaluated)]) == 0
    assert (evaluated / "report.html").read_text() == page


def test_a_stopped_evaluation_resumes_to_the_same_bytes(
    call: Call, world: Path, evaluated: Path, tmp_path: Path
) -> None:
    asked = ["eval", "preference", "--run", world / "run0", "--baseline", "population", "--baseline", "other"]
    assert call(*asked, "--output", "whole").status == 0
    assert call(*asked, "--output", "cut").status == 0
    log = Path("cut/samples.jsonl")
    os.truncate(log, log.stat().st_size * 2 // 3)
    Path("cut/results.json").unlink()
    again = call(*asked, "--output", "cut")
    assert again.status == 2
    assert "there is an evaluation already" in again.err
    done = call(*asked, "--output", "cut", "--resume")
    assert done.status == 0, done.err
    assert Path("cut/results.json").read_bytes() == Path("whole/results.json").read_bytes()


def test_dry_run_prints_rows_and_pairs_and_writes_nothing(call: Call, world: Path) -> None:
    done = call("eval", "preference", "--run", world / "run0", "--limit", "3", "--dry-run", "--json")
    assert done.status == 0, done.err
    assert (done.document["users"], done.document["pairs"]) == (3, 6)
    assert done.document["rows"] == ROWS
    assert not Path("runs").exists()


def test_unparsed_verdicts_are_reported_but_not_scored(call: Call, world: Path, evaluated: Path) -> None:
    model = json.loads((world / "run0" / "run.json").read_text())["config"]["model"]
    asked = ["eval", "preference", "--run", world / "run0", "--baseline", "population", "--judge", model]
    done = call(*asked, "--output", "judged", "--json")
    assert done.status == 0, done.err
    judged = done.document["judged"]
    assert judged["against"] == {"POPI": "population DPO"}
    assert judged["rows"] == [] or judged["unread"]["POPI"] < judged["asked"]["POPI"]
    before = Path("judged/results.json").read_bytes()
    Path("judged/results.json").unlink()
    assert call(*asked, "--output", "judged", "--resume").status == 0
    assert Path("judged/results.json").read_bytes() == before


def test_judge_compares_black_box_answers_with_and_without_summary(
    call: Call, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(number: int, body: dict[str, Any]) -> Reply:
        prompt = body["messages"][0]["content"]
        if body["model"] == "box":
            return said("told" if prompt.startswith("What is known of the person") else "alone")
        first = prompt.split("Answer A: ")[1].split("\n")[0]
        return said("A" if first == "told" else "B")

    server = Server(script)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    asked = ["eval", "preference", "--run", world / "run0", "--baseline", "base", "--base", "openai:box"]
    try:
        plan = call(*asked, "--judge", "openai:judge", "--dry-run", "--json")
        assert server.bodies == []
        done = call(*asked, "--judge", "openai:judge", "--json", "--output", "answered")
        times = len(server.bodies)
        again = call(*asked, "--judge", "openai:judge", "--json", "--output", "once-more")
    finally:
        server.stop()
    assert plan.document["judge_requests"] >= times - 8
    assert done.status == 0, done.err
    assert [row["method"] for row in done.document["rows"] if "box" in row["method"]] == []
    judged = done.document["judged"]
    assert judged["against"]["openai:box, POPI's summary (zero-shot)"] == "openai:box, no summary"
    rows = {row["method"]: row["value"] for row in judged["rows"]}
    # Two of the four users have a summary; for the others both answers are the same.
    assert rows["openai:box, POPI's summary (zero-shot)"] == 0.75
    assert again.document["judged"] == judged
    assert len(server.bodies) == times, "no request is sent twice"


def test_judge_that_reasons_needs_room_for_it(
    call: Call, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(number: int, body: dict[str, Any]) -> Reply:
        prompt = body["messages"][0]["content"]
        if body["model"] == "box":
            return said("told" if prompt.startswith("What is known of the person") else "alone")
        if body["max_tokens"] < 500:
            return replied("<think>\nOkay, let me look at Answer A first. It", "length")
        first = prompt.split("Answer A: ")[1].split("\n")[0]
        return said(f"<think>\nA or B?\n</think>\n\n{'A' if first == 'told' else 'B'}")

    server = Server(script)
    monkeypatch.setattr("personakit.models.retries.pause", lambda seconds, stop: None)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    asked = ["eval", "preference", "--run", world / "run0", "--baseline", "base", "--base", "openai:box"]
    asked += ["--judge", "openai:reasoning-judge", "--json"]
    try:
        short = call(*asked, "--output", "short")
        long = call(*asked, "--judge-tokens", "500", "--output", "long")
    finally:
        server.stop()
    name = "openai:box, POPI's summary (zero-shot)"
    assert short.status == long.status == 0, short.err + long.err
    assert short.document["judged"]["unread"][name] > 0
    assert name not in {row["method"] for row in short.document["judged"]["rows"] if row["value"] != 0.5}
    assert long.document["judged"]["unread"][name] == 0
    assert {row["method"]: row["value"] for row in long.document["judged"]["rows"]}[name] == 0.75


def test_failed_black_box_answers_are_repeated_and_refusals_judged(
    call: Call, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = True

    def script(number: int, body: dict[str, Any]) -> Reply:
        prompt = body["messages"][0]["content"]
        if body["model"] == "sorry" and failing and "tree 1" in prompt:
            return 400, {}, json.dumps({"error": {"message": "not now"}}).encode()
        if body["model"] == "sorry" and "tree 3" in prompt:
            refusal = {"message": {"content": None, "refusal": "I would rather not."}}
            return 200, {}, json.dumps({"choices": [refusal]}).encode()
        if body["model"] == "sorry":
            return said("told" if prompt.startswith("What is known of the person") else "alone")
        return said("A" if prompt.split("Answer A: ")[1].split("\n")[0] == "told" else "B")

    server = Server(script)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    asked = ["eval", "preference", "--run", world / "run0", "--baseline", "base", "--base", "openai:sorry"]
    asked += ["--judge", "openai:judge2", "--json", "--output"]
    try:
        first = call(*asked, "failed")
        failing = False
        resumed = call(*asked, "failed", "--resume")
        alone = call(*asked, "alone")
    finally:
        server.stop()
    assert first.status == resumed.status == alone.status == 0, first.err + resumed.err
    judged, later = first.document["judged"], resumed.document["judged"]
    assert judged["failed"] == {"openai:sorry, no summary": 1, "openai:sorry, POPI's summary (zero-shot)": 1}
    notes = " ".join(first.document["notes"])
    assert "openai:sorry, no summary: 1 requests without an answer" in notes
    assert judged["refused"] == later["refused"] == judged["failed"]
    assert "openai:sorry, no summary: 1 requests refused by the model, judged as they are" in notes
    assert "2 requests failed and have no answer" in first.err
    told = "openai:sorry, POPI's summary (zero-shot)"
    assert (judged["asked"][told], later["asked"][told], later["failed"]) == (3, 4, {})
    assert Path("failed/results.json").read_bytes() == Path("alone/results.json").read_bytes()


def test_pairs_too_long_for_the_model_are_counted(call: Call, world: Path, tmp_path: Path) -> None:
    data = make_preferences(tmp_path / "long")
    lines = (data / "preferences" / "dev.jsonl").read_text().splitlines()
    user = json.loads(lines[0])
    user["pairs"].append({"prompt": "cat " * 400, "chosen": "red", "rejected": "blue"})
    (data / "preferences" / "dev.jsonl").write_text("\n".join([json.dumps(user), *lines[1:]]) + "\n")
    done = call("eval", "preference", "--run", world / "run0", "--baseline", "base", "--data", data, "--json")
    assert done.status == 0, done.err
    assert done.document["skipped"] == {"pairs longer than the models' context window": 1}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--baseline", "oracel"], 'unknown --baseline "oracel"'),
        (["--base", "openai:any"], "only a judge can say what a summary does"),
        (["--split", "nowhere"], 'no preferences for the split "nowhere"'),
        (["--limit", "0"], "--limit 0: expected at least 1"),
    ],
)
def test_wrong_use_is_an_error(
    call: Call, world: Path, options: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:9/v1")
    done = call("eval", "preference", "--run", world / "run0", *options)
    assert done.status == 2
    assert said in done.err
    assert not Path("runs").exists()


def test_run_of_another_method_is_an_error(call: Call, tiny_run: Path) -> None:
    done = call("eval", "preference", "--run", tiny_run)
    assert done.status == 2
    assert "a run of rpo, expected one of popi" in done.err


def test_leaks_are_printed_before_scores_and_fail_with_strict(
    call: Call, world: Path, tmp_path: Path
) -> None:
    run, data = tmp_path / "run", tmp_path / "data"
    shutil.copytree(world / "run0", run)
    shutil.copytree(world / "data", data)
    asked = ("eval", "preference", "--run", run, "--data", data, "--baseline", "population")
    result = call(*asked, "--strict", "--dry-run")
    assert result.status == 0, result.err
    assert f"unknown whether {run} was trained on these queries" in result.err

    pair = open_preferences(data, "dev")[0].pairs[1]
    digest = training_digest(pair.prompt, pair.chosen, pair.user_id)
    (run / "trained_on.txt").write_text(f"{digest}\n")
    dev, train = (data / "preferences" / f"{split}.jsonl" for split in ("dev", "train"))
    users = [json.loads(line) for line in dev.read_text().splitlines()]
    held_out = users[2]["pairs"][0]
    held_out["prompt"] = "tell me about the tree in our garden"
    users[2]["signals"]["pairs"][0]["prompt"] = held_out["prompt"] + "s"  # differs by one letter
    dev.write_text("".join(f"{json.dumps(user)}\n" for user in users))
    with train.open("a") as more:
        more.write(json.dumps(users[3]) + "\n")
    refused = call(*asked, "--strict", "--output", tmp_path / "strict")
    assert (refused.status, "--strict: 4 queries leak" in refused.err) == (2, True)
    assert not (tmp_path / "strict").exists()
    done = call(*asked, "--output", tmp_path / "told", "--json")
    assert done.status == 0, done.err
    counts = done.document["leaks"]["counts"]
    assert counts == {"answer_in_profile": 0, "query_in_profile": 1, "user_in_training": 2, "trained_on": 1}
    assert done.document["leaks"]["unknown"] == []
    listed = [json.loads(line) for line in (tmp_path / "told" / "leaks.jsonl").read_text().splitlines()]
    assert [each["query_id"] for each in listed] == ["dev-2/1", "dev-3/1", "dev-3/2", "dev-0/2"]
    assert "1 queries that a run was trained on" in (tmp_path / "told" / "report.html").read_text()
