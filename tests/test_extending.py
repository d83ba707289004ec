"""What docs/architecture.md says one touches to add a setting or a baseline is enough."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from personakit.cli import main
from personakit.config import TrainRPO
from personakit.config.schema import setting
from personakit.methods.baselines import BASELINES, Baseline
from personakit.methods.table import METHODS
from personakit.records import Answer, Profile, Query


@dataclass
class WithAnotherSetting(TrainRPO):
    """RPO's settings with one more field."""

    patience_of_job: int = setting(3, "how often to try again", minimum=1, maximum=9)


class Shouting:
    """Answers with the query in capitals."""

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        return [Answer(query.search_text.upper()) for query in queries]

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        return [0.0] * len(texts)


def test_a_setting_is_one_field(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    own = METHODS._own | {"rpo": replace(METHODS["rpo"], settings=WithAnotherSetting)}  # type: ignore[attr-defined]
    monkeypatch.setattr(METHODS, "_own", own)
    monkeypatch.chdir(tmp_path)
    assert main(["config", "show", "rpo/nano"]) == 0
    shown = capsys.readouterr().out
    assert "patience_of_job: 3" in shown
    assert "how often to try again" in shown
    assert main(["config", "show", "rpo/nano", "patience_of_job=11"]) == 2
    assert "patience_of_job is 11, expected at most 9" in capsys.readouterr().err
    Path("mine.yaml").write_text("patience_of_jobs: 4\n")
    assert main(["config", "check", "mine.yaml", "--method", "rpo"]) == 2
    assert "patience_of_job" in capsys.readouterr().err


def test_a_baseline_is_one_entry(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    baseline = Baseline(label="shouting", open=lambda around: Shouting(), curves=("history",))
    monkeypatch.setitem(BASELINES, "shout", baseline)
    monkeypatch.chdir(tmp_path)
    assert main(["eval", "lamp", "--help"]) == 0
    assert "shout" in capsys.readouterr().out
    rows = ["--baseline", "shout", "--baseline", "copy"]
    asked = ["eval", "lamp", "--no-run", "--task", "LaMP_7", "--limit", "3", "--json", *rows]
    assert main([*asked, "--output", "out"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert {row["method"] for row in results["rows"]} == {"copy the input", "shouting"}
    assert "shouting" in Path("out/report.html").read_text()
