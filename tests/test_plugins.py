"""A task, a baseline and a method of an installed package, found through entry points."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import personakit
from personakit.cli import main
from personakit.data import open_examples
from personakit.errors import UserError
from personakit.methods import read_run
from personakit.plugins import BASELINES, clear_plugin_cache, load_plugin, plugin_names
from personakit.tasks import get_task

MODULE = """
    from dataclasses import dataclass, field

    from personakit.config import TrainRPO
    from personakit.config.schema import setting
    from personakit.data.lamp_formats import TaskFormat
    from personakit.method import PlanTable, Method, Plan
    from personakit.records import Answer
    from personakit.tasks import TaskPlugin
    from personakit.tasks.kinds import GenerationTask
    from personakit.tasks.profile_prompt import ProfilePrompt

    HAIKU = TaskPlugin(
        TaskFormat(
            task="haiku",
            file_task="haiku",
            template="Write a haiku about: {theme}",
            item_keys=("theme", "haiku"),
            document_keys=("theme",),
            search_parts=("theme",),
            output_key="haiku",
            input_key="theme",
        ),
        GenerationTask(
            name="haiku",
            metrics=("rouge-1",),
            primary="rouge-1",
            max_new_tokens=32,
            profile_prompt=ProfilePrompt('"{haiku}" is about "{theme}" ', "haiku"),
        ),
    )

    class Last:
        def respond(self, queries, profiles):
            return [
                Answer(profile.items[-1].fields["haiku"] if profile.items else "", tokens=1)
                for profile in profiles
            ]

        def score(self, queries, profiles, texts):
            return [0.0] * len(texts)

    def open_last(around):
        assert around.base
        return Last()

    @dataclass
    class Data:
        path: str = setting("lamp-mini", "the data to train on")

    @dataclass
    class Settings:
        data: Data = field(default_factory=Data)
        seed: int = setting(0, "the seed", minimum=0)
        words: int = setting(2, "words of an answer", minimum=1)

    class Echo(Last):
        def __init__(self, words):
            self.words = words

        def respond(self, queries, profiles):
            return [
                Answer(" ".join(item.fields["haiku"].split()[: self.words]))
                for profile in profiles
                for item in profile.items[-1:]
            ]

    def train(settings, run, progress):
        (run.folder / "model").mkdir()
        (run.folder / "model" / "words.txt").write_text(str(settings.words))
        run.log_metrics("echo", 1, loss=0.5)
        run.mark_stage("echo", {})

    METHOD = Method(
        name="echo",
        label="Echo",
        help="Train Echo: the beginning of the user's last haiku.",
        settings=Settings,
        train=train,
        open=lambda run, options: Echo(int((run.path("model") / "words.txt").read_text())),
        plan=lambda settings: Plan([PlanTable("words", ("what", "words"), {"an answer": settings.words})]),
        models=lambda run: [],
        context_provider=None,
        baseline_settings=lambda settings: TrainRPO(base="nano", draft="base"),
    )
"""
POINTS = """
    [personakit.tasks]
    haiku = a_package_of_mine:HAIKU
    [personakit.baselines]
    last-item = a_package_of_mine:open_last
    broken = a_package_of_mine:nothing_of_this_name
    [personakit.methods]
    echo = a_package_of_mine:METHOD
    faulty = a_package_of_mine:nothing_of_this_name
    mistaken = a_package_of_mine:open_last
"""


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put a module and the metadata of its distribution on the path, as pip would."""
    site = tmp_path / "site"
    information = site / "a_package_of_mine-1.0.dist-info"
    information.mkdir(parents=True)
    (site / "a_package_of_mine.py").write_text(textwrap.dedent(MODULE))
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: a-package-of-mine\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(textwrap.dedent(POINTS))
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PERSONAKIT_CACHE", str(tmp_path / "cache"))
    clear_plugin_cache()
    yield
    clear_plugin_cache()


def make_data(folder: Path) -> Path:
    folder.mkdir()
    questions = [
        {
            "id": str(number),
            "input": f"Write a haiku about: snow on roof {number}",
            "user_id": f"u{number}",
            "profile": [{"id": "0", "theme": "a pond", "haiku": f"the frog of user {number}"}],
        }
        for number in range(3)
    ]
    golds = [{"id": str(number), "output": f"the snow of user {number}"} for number in range(3)]
    (folder / "dev_questions.json").write_text(json.dumps(questions))
    (folder / "dev_outputs.json").write_text(json.dumps({"task": "haiku", "golds": golds}))
    return folder


def test_a_task_of_an_installed_package_reads_its_files_and_scores(tmp_path: Path) -> None:
    examples = open_examples(make_data(tmp_path / "data"))
    assert examples.task == "haiku"
    assert examples[1].query.search_text == "snow on roof 1"
    assert get_task("haiku").score(["the snow"], ["the snow"]) == {"rouge-1": 1.0}


def test_a_plugin_method_becomes_a_row(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    asked = [
        "eval",
        "lamp",
        "--no-run",
        "--data",
        str(data),
        "--task",
        "haiku",
        "--output",
        str(tmp_path / "out"),
    ]
    assert main([*asked, "--baseline", "copy", "--baseline", "last-item"]) == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    value = {row["method"]: row["value"] for row in results["rows"] if row["metric"] == "rouge-1"}
    assert value["last-item"] == pytest.approx(0.8)
    assert value["last-item"] > value["copy the input"]


def test_a_plugin_that_cannot_be_loaded_is_reported_with_its_package(tmp_path: Path) -> None:
    assert plugin_names(BASELINES) == ("broken", "last-item")
    with pytest.raises(UserError, match=r'"broken" of a-package-of-mine cannot be loaded'):
        load_plugin(BASELINES, "broken")
    assert load_plugin(BASELINES, "nobody") is None
    with pytest.raises(UserError, match="haiku"):
        get_task("sonnet")


def test_its_method_is_trained_listed_asked_and_evaluated_like_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    data, run = make_data(tmp_path / "data"), tmp_path / "runs" / "echo"
    settings = [f"data.path={data}", "words=3"]

    def call(*arguments: str) -> Any:
        assert main([*arguments, "--json"]) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    plan = call("train", "echo", *settings, "--dry-run")
    assert plan["words"] == {"an answer": 3}
    assert plan["config"]["seed"] == 0
    assert not run.exists()
    trained = call("train", "echo", "--output", str(run), *settings)
    assert (trained["status"], trained["config"]["words"]) == ("finished", 3)
    assert [(each["method"], each["status"]) for each in call("runs")] == [("echo", "finished")]
    answer = call("infer", "Write a haiku about: snow", "--task", "haiku", "--user", "u1")  # the newest run
    assert answer["answer"] == "the frog of"
    evaluated = call("eval", "lamp", "--run", str(run), "--task", "haiku", "--baseline", "copy")
    value = {row["method"]: row["value"] for row in evaluated["rows"] if row["metric"] == "rouge-1"}
    assert value["Echo"] == pytest.approx(4 / 8)
    assert value["Echo"] > value["copy the input"]
    assert call("report", str(run))[0]["report"].endswith("report.html")


def test_the_library_does_what_the_commands_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = make_data(tmp_path / "data")
    run = personakit.train("echo", overrides=[f"data.path={data}", "words=3"], quiet=True)
    assert run.parent.name == "runs"
    assert read_run(run).facts["status"] == "finished"
    personalizer = personakit.open_run(run)
    assert isinstance(personalizer, personakit.Personalizer)
    first = open_examples(data)[1]
    assert [answer.text for answer in personalizer.respond([first.query], [first.profile])] == ["the frog of"]
    options = {"baselines": ["copy"], "task": ["haiku"], "output": tmp_path / "out"}
    results = personakit.evaluate("lamp", runs=[run], **options)
    assert {row["method"] for row in results["rows"]} == {"Echo", "copy the input"}
    assert json.loads((tmp_path / "out" / "results.json").read_text())["rows"] == results["rows"]
    alone = personakit.evaluate("lamp", data=data, limit=1, **options | {"output": tmp_path / "alone"})
    assert {(row["method"], row["examples"]) for row in alone["rows"]} == {("copy the input", 1)}


def test_its_settings_are_shown_checked_and_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["config", "list"]) == 0
    assert "echo" in capsys.readouterr().out
    assert main(["config", "show", "echo", "words=5"]) == 0
    assert "# words of an answer [int, default 2, our choice]\nwords: 5" in capsys.readouterr().out
    assert main(["config", "copy", "echo", "own.yaml"]) == 0
    assert main(["train", "echo", "--dry-run", "--config", "own.yaml", "words=0"]) == 2
    assert "words is 0, expected at least 1" in capsys.readouterr().err
    assert main(["config", "check", "own.yaml", "--method", "echo"]) == 0


def test_a_method_that_cannot_be_loaded_is_refused_and_leaves_the_others_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["train", "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("rpo", "echo", "Not available", "mistaken"))
    assert main(["train", "faulty"]) == 2
    assert 'personakit.methods "faulty" of a-package-of-mine cannot be loaded' in capsys.readouterr().err
    assert main(["train", "mistaken"]) == 2
    assert "expected a personakit.method.Method of that name" in capsys.readouterr().err
    assert main(["train", "rpo", "--config", "nano", "--dry-run", "data.path=nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err
