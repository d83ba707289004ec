"""`personakit eval rewriting`: the same controls as `eval lamp`, and gains on one task."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from personakit.data.lamp import write_split
from personakit.data.lamp_formats import build_input, profile_item
from personakit.evaluation.samples import read_samples
from personakit.methods import REWRITERS
from personakit.records import Answer, Example, Profile, Query
from personakit.rpo.rewriter import Rewriter
from personakit.suites.neutral import TEXTS
from personakit.tasks.content_check import ContentChecker

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
    run = make_run(tmp_path / "run", tiny_model, rewrites, "draft=base")
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


def test_given_texts_are_the_generic_answers(
    call: Call, rewrites: Path, tiny_model: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", tiny_model, rewrites, "base=/no/such/model", "data.tasks=[rewriting]")
    rest = ("--base", f"{tiny_model}:noisy", "--json", "--output")
    done = call("eval", "rewriting", "--run", run, *rest, tmp_path / "out")
    assert done.status == 0, done.err
    assert list(dict.fromkeys(row["method"] for row in done.document["rows"])) == [
        "copy the input",
        "profile mode or mean",
        "context injection (zero-shot)",
        "context injection, fine-tuned",
        "RPO",
        "RPO, empty history",
        "RPO, another user's history",
        f"generic, {tiny_model}:noisy",  # what the model itself writes; no rewriter stands behind it
    ]
    assert done.document["made_by"]["base"] == str(tiny_model)  # context injection's model
    assert done.document["made_by"]["zero"] == "copy the input"
    pairs = {(one["method"], one["against"]) for one in done.document["beats"]}
    assert {("RPO", "copy the input"), ("RPO", f"generic, {tiny_model}:noisy")} <= pairs
    assert done.document["transfer"] == []
    alias = call("eval", "rewriting", "--run", run, "--baseline", "generic", "--dry-run", "--json")
    assert alias.document["rows"] == ["copy the input", "RPO"]


def test_light_edits_and_the_content_check_are_rows(
    call: Call, rewrites: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def respond(self: Rewriter, queries: list[Query], profiles: list[Profile]) -> list[Answer]:
        return [Answer(f"hey, {one.search_text} I guess", one.search_text) for one in queries]

    monkeypatch.setattr(Rewriter, "respond", respond)
    run = make_run(tmp_path / "run", tiny_model, rewrites, "base=/no/such/model", "data.tasks=[rewriting]")
    named = ("--baseline", "copy", "--baseline", "checked", "--max-edit", "0.25")
    done = call("eval", "rewriting", "--run", run, *named, "--json", "--output", tmp_path / "out")
    assert done.status == 0, done.err
    light = "RPO, at most 25% of the words changed"
    pairs = {(one["method"], one["against"]) for one in done.document["comparisons"]}
    checked = "RPO, content checked"
    assert {(light, "copy the input"), (light, "RPO"), (checked, "copy the input")} <= pairs
    assert done.document["made_by"]["max_edit"] == 0.25
    samples = {one.method: one for one in read_samples(tmp_path / "out" / "samples.jsonl")}
    assert samples[checked].prediction == samples["RPO"].prediction == "hey, dev-cyd is in Oslo I guess"
    assert samples[light].prediction == "hey, dev-cyd is in Oslo"


def test_neutral_texts_show_what_the_method_changes_needlessly(
    call: Call, rewrites: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rewriter that greets everyone, leaves sentences with `open` alone, and changes 14 to 7."""

    def respond(self: Rewriter, queries: list[Query], profiles: list[Profile]) -> list[Answer]:
        texts = [query.search_text for query in queries]
        rewrites = [text if "open" in text else "hey, " + text.replace("14", "7") for text in texts]
        return [Answer(rewrite, text) for rewrite, text in zip(rewrites, texts, strict=True)]

    monkeypatch.setattr(Rewriter, "respond", respond)
    run = make_run(tmp_path / "run", tiny_model, rewrites, "base=/no/such/model", "data.tasks=[rewriting]")
    named = ("--run", run, "--baseline", "copy", "--baseline", "checked", "--max-edit", "0.1")
    done = call("eval", "rewriting", *named, "--json", "--output", tmp_path / "out")
    rows = {row["method"]: row for row in done.document["neutral"]}
    texts = len(TEXTS)
    same = sum("open" in text for text in TEXTS)
    lost = sum("14" in text and "open" not in text for text in TEXTS)
    assert 0 < same < texts
    assert lost > 1
    whole, checked = rows["RPO"], rows["RPO, content checked"]
    assert whole["texts"] == texts
    assert whole["changed"]["value"] == pytest.approx((texts - same) / texts, abs=1e-5)
    assert whole["broken"]["value"] == pytest.approx(lost / texts, abs=1e-5)
    assert whole["degraded"] == 0
    assert checked["broken"]["value"] == 0
    assert checked["degraded"] == 0
    assert checked["changed"] == whole["changed"]  # only the number is put back
    light = rows["RPO, at most 10% of the words changed"]
    assert light["broken"]["value"] == 0
    assert 0 < light["words"]["value"] < whole["words"]["value"]
    printed = call("eval", "rewriting", *named, "--output", tmp_path / "2").out
    assert "Neutral texts" in printed
    again = call("eval", "rewriting", *named, "--json", "--output", tmp_path / "out", "--resume").document
    assert again["neutral"] == done.document["neutral"]


def test_requests_for_drafts_of_neutral_texts_are_estimated(
    call: Call, rewrites: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")  # nothing is sent
    run = make_run(tmp_path / "run", tiny_model, rewrites, "base=openai:some-model", "draft=base")
    planned = call("eval", "rewriting", "--run", run, "--baseline", "copy", "--dry-run", "--json")
    assert planned.status == 0, planned.err
    requests = {one["purpose"]: one["requests"] for one in planned.document["requests"]}
    assert requests == {"generic answers": 3, "generic answers to neutral texts": len(TEXTS)}


def test_every_neutral_text_has_a_fact_that_can_be_lost() -> None:
    for text in TEXTS:
        assert not ContentChecker(text).check("nothing").passed, text
        assert ContentChecker(text).check(text).passed


def test_light_edits_need_a_method_that_rewrites(call: Call, rewrites: Path, tmp_path: Path) -> None:
    done = call("eval", "rewriting", "--no-run", "--data", rewrites, "--max-edit", "0.2", "--dry-run")
    assert done.status == 2
    assert "--max-edit 0.2: there is no run" in done.err


def test_without_a_run_the_given_texts_are_compared_with_a_base_model(
    call: Call, rewrites: Path, tiny_model: Path, tmp_path: Path
) -> None:
    named = ("--baseline", "copy", "--baseline", "context", "--base", tiny_model)
    done = call("eval", "rewriting", "--no-run", "--data", rewrites, *named, "--json", "--output", tmp_path)
    assert done.status == 0, done.err
    assert list(dict.fromkeys(row["method"] for row in done.document["rows"])) == [
        "copy the input",
        "context injection (zero-shot)",
        f"generic, {tiny_model}",
    ]


def test_another_users_answer_to_the_same_text_is_a_row(call: Call, tmp_path: Path) -> None:
    rows = ["user_id,original,revised"]
    rows += [f"user{n},Meet me in Oslo,user{n} says Oslo" for n in range(10)]  # kept in the last split only
    rows += [f"user{n},My own text {n} {'xyzvwabcdq'[n] * 9},user{n} says {n}" for n in range(10)]
    (tmp_path / "rewrites.csv").write_text("\n".join(rows))
    assert call("data", "import", tmp_path / "rewrites.csv", tmp_path / "data").status == 0
    asked = ("eval", "rewriting", "--no-run", "--data", tmp_path / "data", "--baseline", "peer")
    done = call(*asked, "--split", "test", "--output", tmp_path / "out")
    assert done.status == 0, done.err
    samples = list(read_samples(tmp_path / "out" / "samples.jsonl"))
    assert {"Oslo" in sample.query for sample in samples} == {True, False}
    for sample in samples:
        if "Oslo" in sample.query:
            user = int(sample.user_id.removeprefix("user"))
            assert (sample.prediction, sample.degraded) == (f"user{(user + 1) % 10} says Oslo", None)
        else:
            assert sample.prediction in sample.query
            assert sample.degraded == "no answer is known"


@pytest.mark.usefixtures("lamp_mini")
def test_data_without_rewrites_is_an_error(call: Call) -> None:
    done = call("eval", "rewriting", "--no-run", "--data", "lamp-mini")
    assert done.status == 2
    assert "lamp-mini has no people's rewrites" in done.err
    assert "--data" in done.err


def test_the_writer_of_own_texts_is_no_leak(call: Call, tmp_path: Path) -> None:
    """Their newest texts are held out, also where nothing has a date; other leaks are still found."""
    pairs, folder = tmp_path / "pairs.csv", tmp_path / "mine"
    nouns = ("boats", "ropes", "oars", "lamps", "nails", "seeds", "hens")
    pairs.write_text("draft,final\n" + "".join(f"The {one} are here.,hey {one} are in!\n" for one in nouns))
    assert call("data", "import", pairs, folder).status == 0
    named = ("--no-run", "--data", folder, "--baseline", "copy", "--split", "test")
    done = call("eval", "rewriting", *named, "--strict", "--json", "--output", tmp_path / "out")
    assert done.status == 0, done.err
    assert set(done.document["leaks"]["counts"].values()) == {0}
    assert not [
        each for each in call("data", "check", folder, "--json").document["warnings"] if "users" in each
    ]
