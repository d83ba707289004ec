"""The teacher's trajectories: prompts, parsing of replies, cost estimates and failures."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli.tiny import make_run
from models.server import CUT, Reply, Server, said

from personakit.cli import main
from personakit.errors import UserError
from personakit.evaluation.results import TEST_LOOKS_FILE
from personakit.models.cost import read_prices
from personakit.records import Context
from personakit.rpo import filters
from personakit.rpo.dataset import DraftedQuery, trajectories
from personakit.rpo.filters import TrajectoryFilter
from personakit.rpo.prompts import DRAFT, Trajectory
from personakit.rpo.teacher import TeacherWriter, read_reply
from personakit.rpo.writer import KEEP, NOTHING, TrajectoryRequest
from personakit.tasks import get_task

from .fakes import count_words, example, gold_of

GOLD = re.compile(r"\nWhat this user answered: (.*?)\n\n", re.DOTALL)


def request(task: str = "LaMP_4", user: str = "ada", *, items: int = 3) -> TrajectoryRequest:
    one = example(task, user, items=items)
    context = Context(items=one.profile.items)
    return TrajectoryRequest(get_task(task), one.query, f"draft for {user}", context, one.query.gold or "")


def reply(gold: str, evidence: str = "short titles", plan: str = "shorten it") -> str:
    return Trajectory(evidence, plan, gold).text()


def test_the_teacher_prompt_has_query_items_draft_and_gold_and_forbids_quoting() -> None:
    asked: list[str] = []

    def ask(prompts: Sequence[str]) -> list[str]:
        asked.extend(prompts)
        return [reply("x") for _ in prompts]

    each, bare = request(), replace(request(user="bob", items=0), keep_draft=True)
    writer = TeacherWriter(ask, count_tokens=count_words, max_length=500)
    _, kept = writer.write_all([each, bare])
    [prompt] = asked  # a user without history takes no request
    assert kept == Trajectory(NOTHING, KEEP, "draft for bob")
    assert each.query.search_text in prompt
    assert "ada-0 wrote" in prompt
    assert DRAFT + "draft for ada" in prompt
    assert GOLD.findall(prompt) == [each.gold]
    assert "Do not quote the user's answer" in prompt


def test_text_around_a_trajectory_is_ignored_and_a_near_copy_counts_as_gold() -> None:
    each = request()
    parts = "<evidence>\n short\ntitles </evidence>\n<plan>cut</plan>\n<response>"
    written = f"Sure!\n```xml\n{parts}{each.gold.upper()}\n</response>```"
    assert read_reply(written, each) == Trajectory("short titles", "cut", each.gold)
    assert read_reply(reply("another answer"), each) == Trajectory(
        "short titles", "shorten it", "another answer"
    )
    assert read_reply("<evidence>e</evidence> I refuse", each) == "<evidence>e</evidence> I refuse"
    assert read_reply("  ", each) is None
    label = request("LaMP_3")
    assert read_reply(reply(f"{label.gold}."), label) == Trajectory("short titles", "shorten it", label.gold)


def test_every_drop_reason_of_a_reply_is_counted() -> None:
    golds = {user: gold_of("LaMP_4", user) for user in ("fine", "none", "tags", "other", "quotes", "long")}
    replies = {user: reply(gold) for user, gold in golds.items()} | {
        "none": "",
        "tags": "<evidence>e</evidence><response>r</response>",
        "other": reply("something else"),
        "quotes": reply(golds["quotes"], evidence=f"they say {golds['quotes']}"),
        "long": reply(golds["long"], plan="word " * 60),
    }
    by_gold = {gold: replies[user] for user, gold in golds.items()}
    ones = [example("LaMP_4", user) for user in golds]
    drafted = [
        DraftedQuery(get_task("LaMP_4"), one, "draft", Context(items=one.profile.items)) for one in ones
    ]
    texts, counts = trajectories(
        drafted,
        TeacherWriter(
            lambda prompts: [by_gold[GOLD.findall(prompt)[0]] for prompt in prompts],
            count_tokens=count_words,
            max_length=500,
        ),
        TrajectoryFilter(count_words, max_tokens=40),
        count_tokens=count_words,
        max_length=500,
        no_history_share=0.0,
        seed=0,
    )
    assert counts.summary() == {
        "kept": 1,
        filters.NO_TRAJECTORY: 1,
        filters.UNPARSABLE: 1,
        filters.NOT_GOLD: 1,
        filters.QUOTES_GOLD: 1,
        filters.TOO_LONG: 1,
    }
    assert [text.completion for text in texts] == [reply(golds["fine"])]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server with a base model (answers with its prompt length) and a teacher, set in the environment."""
    server = Server(answers)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-never-shown")
    monkeypatch.setattr("personakit.models.retries.pause", lambda seconds, stop: None)
    yield server
    server.stop()


def answers(number: int, body: dict[str, Any]) -> Reply:
    prompt = body["messages"][0]["content"]
    return said(reply(GOLD.findall(prompt)[0]) if body["model"] == "wise" else f"{len(prompt)}")


def settings(model: Path, data: Path) -> list[str]:
    return [
        *("train", "rpo", f"model={model}", "base=openai:plain", f"data.path={data}", "stages=sft"),
        *(
            "trajectories.writer=teacher",
            "trajectories.teacher=openai:wise",
            "trajectories.no_history_share=0",
        ),
        *(
            "trajectories.teacher_tokens=50",
            "decoding.max_new_tokens=4",
            "sft.max_steps=1",
            "sft.per_device_train_batch_size=2",
        ),
        *("lora.r=0", "controls.fine_tuned_context_injection=false", "endpoint.requests_at_once=2"),
        "endpoint.attempts=2",
    ]


def test_the_cost_is_printed_before_the_first_request(
    server: Server,
    tiny_model: Path,
    tiny_data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PERSONAKIT_PRICES", "plain=1/10, wise=100/1000")
    train = settings(tiny_model, tiny_data)

    def planned() -> list[dict[str, Any]]:
        assert main([*train, "--dry-run", "--json"]) == 0
        requests: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["requests"]
        return requests

    generic, taught = planned()
    assert server.bodies == []
    # Two tasks of three users, one of whom has no history and needs no teacher.
    assert (generic["model"], generic["requests"], generic["known"]) == ("openai:plain", 6, 0)
    assert (taught["model"], taught["requests"], taught["known"]) == ("openai:wise", 4, 0)
    assert (generic["completion_tokens"], taught["completion_tokens"]) == (6 * 4, 4 * 50)
    assert main([*train, "trajectories.limit=1", "--dry-run", "--json"]) == 0
    assert [each["requests"] for each in json.loads(capsys.readouterr().out)["requests"]] == [6, 2]
    assert main([*train, "trajectories.limit=1", "data.held_out=2", "--dry-run", "--json"]) == 0
    # The teacher also gets held-out queries: two users of each task, one of whom has no history.
    assert [each["requests"] for each in json.loads(capsys.readouterr().out)["requests"]] == [6, 4]
    assert generic["money"] == pytest.approx((generic["prompt_tokens"] + 10 * 24) / 1e6)

    assert main(train) == 0, capsys.readouterr().err
    capsys.readouterr()
    said = [body["messages"][0]["content"] for body in server.bodies if body["model"] == "plain"]
    # The tiny model's tokens are bytes.
    assert generic["prompt_tokens"] == sum(len(prompt.encode()) for prompt in said)
    assert taught["prompt_tokens"] > generic["prompt_tokens"]
    assert [each["requests"] for each in planned()] == [0, 0]
    assert [each["known"] for each in planned()] == [6, 4]
    assert len(server.bodies) == 10

    monkeypatch.setenv("PERSONAKIT_PRICES", "other=1/1")
    assert [each["money"] for each in planned()] == [None, None]


def test_an_evaluation_prints_its_cost(
    server: Server,
    tiny_model: Path,
    tiny_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    base = ["--base", "openai:plain"]
    call = ["eval", "lamp", "--data", str(tiny_data), "--no-run", *base]
    call += ["--baseline", "generic", "--baseline", "context"]
    assert main([*call, "--dry-run", "--json"]) == 0
    generic, context = json.loads(capsys.readouterr().out)["requests"]
    assert server.bodies == []
    assert not Path("runs").exists()
    # Two tasks of three users; a user without history takes one request.
    assert (generic["requests"], context["requests"]) == (6, 4)
    assert main([*call, "--output", str(tmp_path / "eval")]) == 0, capsys.readouterr().err
    assert len(server.bodies) == 10
    capsys.readouterr()

    run = make_run(tmp_path / "run", tiny_model, tiny_data)
    assert main(["eval", "lamp", "--run", str(run), *base, "--split", "test", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"openai:plain +generic answers +4 +0 ", told)
    assert "context injection  " not in told  # answered by the run's own base, which is local
    assert not (run / TEST_LOOKS_FILE).exists()


def test_a_run_that_lost_its_server_resumes_without_repeating_requests(
    server: Server,
    tiny_model: Path,
    tiny_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def failing(number: int, body: dict[str, Any]) -> Reply:
        if number <= 5:
            return 429, {"Retry-After": "1"}, b"{}"
        return CUT if number == 8 or number > 14 else answers(number, body)

    server.script = failing
    run = tmp_path / "run"
    train = [*settings(tiny_model, tiny_data), "--output", str(run)]
    assert main(train) == 1
    first = capsys.readouterr()
    told = [line for line in first.err.splitlines() if "endpoint" in line]
    assert len(told) == 1
    assert re.search(r'gave no answer for "wise" in 2 attempts \(the connection was lost\)', told[0])
    assert "Traceback" not in first.err
    finished = sum(server.answered.values())
    assert finished == 8  # fourteen minus five refusals and one lost connection

    server.script = answers
    resume = ["train", "rpo", "--output", str(run), "--resume"]
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("OPENAI_BASE_URL", "http://me:secret@localhost:1/v1")
        assert main(resume) == 2
        told = capsys.readouterr().err
        assert f"started with openai:plain at {server.url}, which is now at http://localhost:1/v1" in told
        assert "secret" not in told
    assert main(resume) == 0, capsys.readouterr().err
    assert sum(server.answered.values()) == 10
    assert set(server.answered.values()) == {1}
    facts = json.loads((run / "run.json").read_text())
    assert facts["trajectories"] == {"kept": 6, "users without history": 2}

    second = capsys.readouterr()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert (run / "config.yaml") in files
    assert not any(b"sk-never-shown" in path.read_bytes() for path in files)  # includes the answer cache
    assert "sk-never-shown" not in first.out + first.err + second.out + second.err


def test_a_dry_run_reports_unknown_model_names(
    tiny_model: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    for override, words in {
        "base=/no/such/folder": "/no/such/folder: no such folder",
        "trajectories.teacher=openai:m": "OPENAI_API_KEY is not set",
        "trajectories.teacher=null": "trajectories.teacher names no model",
    }.items():
        train = [*settings(tiny_model, tiny_data), f"base={tiny_model}", override, "--dry-run"]
        assert main(train) == 2
        assert words in capsys.readouterr().err


@pytest.mark.parametrize("prices", ["m", "m=1", "m=1/x", "=1/2", "m=-1/2", "m=1/2,n"])
def test_malformed_prices_are_rejected(prices: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSONAKIT_PRICES", prices)
    with pytest.raises(UserError, match="PERSONAKIT_PRICES"):
        read_prices()
