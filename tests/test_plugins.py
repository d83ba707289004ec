"""A task and a method of an installed package, found by their entry points."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from personakit.cli import main
from personakit.data import open_examples
from personakit.errors import UserError
from personakit.plugins import BASELINES, forget_plugins, load_plugin, plugin_names
from personakit.tasks import get_task

MODULE = """
    from personakit.data.lamp_formats import TaskFormat
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
"""
POINTS = """
    [personakit.tasks]
    haiku = a_package_of_mine:HAIKU
    [personakit.baselines]
    last-item = a_package_of_mine:open_last
    broken = a_package_of_mine:nothing_of_this_name
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
    forget_plugins()
    yield
    forget_plugins()


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


def test_its_method_is_a_row_beside_ours(tmp_path: Path) -> None:
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


def test_what_cannot_be_loaded_is_told_with_its_package(tmp_path: Path) -> None:
    assert plugin_names(BASELINES) == ("broken", "last-item")
    with pytest.raises(UserError, match=r'"broken" of a-package-of-mine cannot be loaded'):
        load_plugin(BASELINES, "broken")
    assert load_plugin(BASELINES, "nobody") is None
    with pytest.raises(UserError, match="haiku"):
        get_task("sonnet")
