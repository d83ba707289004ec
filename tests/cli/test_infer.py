"""`personakit infer`: a query, a user of the data, a history from a file, batches, the trace."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from personakit.config import TrainPOPI, to_yaml
from personakit.methods import METHODS
from personakit.models import voice
from personakit.records import Answer, Profile, Query
from personakit.rpo.rewriter import Rewriter

from .conftest import Call

QUERY = "Paraphrase the following tweet without any explanation before or after it: off to the lake"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"text": "hey, what a day [/] \\u001b[31m"}\n{"text": "hey, we are out"}\n')
    return path


def test_without_arguments_it_answers_a_sample_query_of_the_run_s_data(call: Call, tiny_run: Path) -> None:
    done = call("infer", "--run", tiny_run, "--json")
    assert done.status == 0, done.err
    assert done.document["user"] == "dan"
    assert done.document["profile_items"] == 3


def test_plain_text_and_full_input_are_the_same_query(call: Call, tiny_run: Path, mine: Path) -> None:
    common = ("--run", tiny_run, "--profile", mine, "--json")
    bare = call("infer", "off to the lake", *common).document
    full = call("infer", QUERY, *common).document
    piped = call("infer", "-", *common, stdin="off to the lake\n").document
    for one in (bare, full, piped):
        one.pop("seconds")
    assert bare == full == piped
    assert bare["query"] == QUERY
    assert [item["text"] for item in bare["context"]["items"]][1] == "hey, we are out"


def test_stdout_is_only_the_answer(call: Call, tiny_run: Path) -> None:
    done = call("infer", "off to the lake", "--run", tiny_run)
    document = call("infer", "off to the lake", "--run", tiny_run, "--json").document
    assert done.out == document["answer"] + "\n"
    assert "no history" in done.err
    assert document["answer"] == document["generic"]


def test_trace_shows_retrieved_items_escaped(call: Call, tiny_run: Path, mine: Path) -> None:
    done = call("infer", "off to the lake", "--run", tiny_run, "--profile", mine, "--trace")
    assert "retrieved  1. " in done.out
    assert "hey, what a day [/] \\x1b[31m" in done.out
    assert "\x1b" not in done.out
    assert "tokens over all calls" in done.out


def test_batch_answers_equal_single_answers(call: Call, tiny_run: Path, mine: Path, tmp_path: Path) -> None:
    batch = tmp_path / "batch.jsonl"
    lines = [
        {"id": "a", "query": "off to the lake", "user": "dan"},
        {"id": "b", "query": "off to the lake", "profile": str(mine)},
        {"id": "c", "query": "off to the lake", "profile": [{"text": "hey, we are out"}]},
        {"id": "d", "query": "off to the lake"},
    ]
    batch.write_text("".join(json.dumps(line) + "\n" for line in lines))
    output = tmp_path / "out.jsonl"
    done = call("infer", "--batch", batch, "--run", tiny_run, "--output", output)
    assert done.status == 0, done.err
    answers = [json.loads(line) for line in output.read_text().splitlines()]
    assert [answer["id"] for answer in answers] == ["a", "b", "c", "d"]
    assert [answer["profile_items"] for answer in answers] == [3, 2, 1, 0]
    alone = call("infer", "off to the lake", "--run", tiny_run, "--profile", mine, "--json").document
    assert answers[1]["answer"] == alone["answer"]
    assert answers[1]["context"] == alone["context"]


def test_a_stopped_batch_resumes_to_the_same_lines(call: Call, tiny_run: Path, tmp_path: Path) -> None:
    batch, output = tmp_path / "batch.jsonl", tmp_path / "out.jsonl"
    batch.write_text("".join(json.dumps({"id": str(n), "query": f"day {n}"}) + "\n" for n in range(5)))
    assert call("infer", "--batch", batch, "--run", tiny_run, "--output", output).status == 0
    whole = output.read_text().splitlines(keepends=True)
    output.unlink()
    part = tmp_path / "out.jsonl.part"
    part.write_text("".join(whole[:2]) + whole[2][:20])
    refused = call("infer", "--batch", batch, "--run", tiny_run, "--output", output)
    assert refused.status == 2
    assert "--resume" in refused.err
    resumed = call("infer", "--batch", batch, "--run", tiny_run, "--output", output, "--resume", "--json")
    assert resumed.document["resumed_after"] == 2
    assert not part.exists()
    assert [json.loads(line)["answer"] for line in output.read_text().splitlines()] == [
        json.loads(line)["answer"] for line in whole
    ]


def test_a_batch_makes_no_folder_for_its_output(call: Call, tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "batch.jsonl").write_text('{"id": "a", "query": "off to the lake"}\n')
    output = tmp_path / "missing" / "out.jsonl"
    done = call("infer", "--batch", tmp_path / "batch.jsonl", "--run", tiny_run, "--output", output)
    assert (done.status, f"folder {output.parent} does not exist" in done.err) == (2, True), done.err
    assert not output.parent.exists()


def test_limit_of_the_draft_can_be_set(call: Call, tiny_run: Path) -> None:
    done = call(
        "infer", "i am away", "--task", "LaMP_7", "--run", tiny_run, "--max-new-tokens", "3", "--json"
    )
    assert done.status == 0, done.err
    assert done.document["cut"] is True  # without a history, the answer is the draft
    assert "cut by the token limit" in done.err
    assert len(done.document["answer"]) <= 3  # a token is a byte


# Each takes a second or more to import, which one answer of a small Llama does not need.
SLOW = {
    *("accelerate", "datasets", "pandas", "peft", "pyarrow", "scipy", "sklearn", "sympy", "trl"),
    *("torch._dynamo", "transformers.modeling_utils"),
}


def test_one_answer_imports_no_library_that_it_does_not_need(tiny_run: Path, mine: Path) -> None:
    arguments = ["infer", "off to the lake", "--run", str(tiny_run), "--profile", str(mine), "--json"]
    script = (
        "import json, sys\n"
        "from personakit.cli import main\n"
        f"status = main({arguments})\n"
        "print(json.dumps([status, *sys.modules]), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    status, *imported = json.loads(done.stderr.splitlines()[-1])
    assert status == 0
    assert json.loads(done.stdout)["context"]["items"]  # it was answered with the history
    assert "torch" in imported
    assert SLOW & set(imported) == set()


def test_without_a_run_the_built_in_rewriter_answers(
    call: Call, tiny_run: Path, mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run with random weights stands for it."""
    monkeypatch.setattr(voice, "FOLDER", tiny_run)
    common = ("infer", "off to the lake", "--profile", mine)
    default, named = call(*common), call(*common, "--run", "voice")
    assert (default.status, default.out) == (0, named.out)
    assert "the built-in rewriter is used" in default.err
    assert "built-in" not in named.err
    shutil.copytree(tiny_run, tmp_path / "runs" / "own")
    assert "built-in" not in call(*common).err


def test_the_built_in_rewriter_writes_no_summaries(call: Call, mine: Path) -> None:
    done = call("infer", "--summary", "--profile", mine)
    assert done.status == 2
    assert "there is no finished run in runs/" in done.err


def test_light_edits_and_the_content_check(
    call: Call, tiny_run: Path, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rewriter that greets and moves the meeting."""

    def respond(self: Rewriter, queries: list[Query], profiles: list[Profile]) -> list[Answer]:
        drafts = [query.search_text for query in queries]
        return [Answer(f"hey, {draft.replace('9', '10')}", draft) for draft in drafts]

    monkeypatch.setattr(Rewriter, "respond", respond)
    text = "we meet at the lake at 9 and take the boat"
    common = ("infer", text, "--run", tiny_run, "--profile", mine)
    assert call(*common).out == "hey, we meet at the lake at 10 and take the boat\n"  # a model's draft
    checked = call(*common, "--check-content")
    assert checked.out == f"hey, {text}\n"
    assert "some edits are left out: the rewrite loses number 9 and invents number 10" in checked.err
    assert "(--trace shows the rewrite)" in checked.err
    assert "rewrite    hey, we meet at the lake at 10" in call(*common, "--check-content", "--trace").out
    light = call(*common, "--max-edit", "0.1", "--json").document
    assert light["answer"] == f"hey, {text}"
    assert light["trace"]["rewrite"] == "hey, we meet at the lake at 10 and take the boat"
    assert "at most 10% are allowed" in light["trace"]["left_out"]
    batch = mine.with_name("batch.jsonl")
    batch.write_text(json.dumps({"query": text, "profile": str(mine)}))
    [line] = call("infer", "--batch", batch, "--run", tiny_run, "--max-edit", "0", "--json").document
    assert line["answer"] == text
    assert "at most 0% are allowed" in line["degraded"]


@pytest.mark.parametrize("command", [("infer", "a text"), ("eval", "lamp"), ("verify", "a", "a")])
def test_a_share_above_one_is_refused(call: Call, command: tuple[str, ...]) -> None:
    done = call(*command, "--max-edit", "3")
    assert (done.status, "0.2 is a fifth of the draft's words" in done.err) == (2, True)


def test_the_query_of_the_data_and_its_user_are_named(call: Call, tiny_run: Path) -> None:
    done = call("infer", "--run", tiny_run, "--json")
    query, user = done.document["query"], done.document["user"]
    assert done.status == 0
    assert f"no query was given, one of the data is answered, user {user}: " in done.err
    assert done.err.partition(": ")[2].split("\n")[0].strip("…") in query


def test_a_nul_character_in_a_query_is_refused(call: Call, tiny_run: Path, tmp_path: Path) -> None:
    done = call("infer", "-", "--run", tiny_run, stdin="one\nt\0wo")
    assert (done.status, "line 2 of the query has a NUL character" in done.err) == (2, True)
    batch = tmp_path / "batch.jsonl"
    batch.write_text(json.dumps({"query": "a\0b"}))
    done = call("infer", "--batch", batch, "--run", tiny_run)
    assert (done.status, f"{batch}, line 1: line 1 of the query has a NUL" in done.err) == (2, True)


def test_light_edits_need_a_run_that_rewrites(call: Call, tmp_path: Path, mine: Path) -> None:
    run = tmp_path / "popi"
    (run / METHODS["popi"].result).mkdir(parents=True)
    (run / "run.json").write_text('{"method": "popi", "seed": 0, "status": "finished"}')
    (run / "config.yaml").write_text(to_yaml(TrainPOPI()))
    for option in (("--max-edit", "0.2"), ("--check-content",)):
        done = call("infer", "a text", "--run", run, "--profile", mine, *option)
        assert done.status == 2
        assert "whose answers are no rewrites of a draft" in done.err
