"""The library: the examples, and the code of docs/api.md, run; and importing personakit costs nothing."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import personakit
from personakit.errors import UserError

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the module: the built-in benchmark is written once, generic answers are made once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def empty_folder(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, empty before each test."""
    monkeypatch.setenv("PERSONAKIT_CACHE", str(cache))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def page(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """The names that the blocks of docs/api.md leave behind, run one after the other in an empty folder."""
    path = ROOT / "docs" / "api.md"
    names: dict[str, Any] = {"__name__": "api_page"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERSONAKIT_CACHE", str(cache))
        patch.chdir(tmp_path_factory.mktemp("page"))
        names["folder"] = Path.cwd()
        for number, block in enumerate(python_blocks(path.read_text(encoding="utf-8")), start=1):
            exec(compile(block, f"{path.name}, block {number}", "exec"), names)
    return names


def python_blocks(page: str) -> list[str]:
    """The Python code of a page."""
    return re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_page_trains_and_answers(page: Mapping[str, Any]) -> None:
    assert page["run"] == Path("runs/api")
    assert (page["folder"] / page["run"] / "run.json").is_file()
    answer = page["answer"]
    assert isinstance(answer, personakit.Answer)
    assert answer.text
    assert answer.generic
    assert 0 < answer.context_tokens < answer.tokens
    assert page["likely"] > page["unlikely"]


@pytest.mark.slow
def test_the_page_reads_histories_and_data(page: Mapping[str, Any]) -> None:
    assert page["mine"].items[0].fields == {"text": "Honestly, we planted the fig tree on Monday :) #proud"}
    assert isinstance(page["first"], personakit.Example)
    assert len(page["examples"]) == 300


@pytest.mark.slow
def test_the_page_evaluates(page: Mapping[str, Any]) -> None:
    primary = {row["method"]: row for row in page["results"]["rows"] if row["metric"] == "primary"}
    assert {"generic", "context injection (zero-shot)", "RPO"} <= set(primary)
    assert all(row["examples"] == 4 for row in primary.values())
    assert (page["folder"] / "runs" / "api-evaluation" / "report.html").is_file()


def run_example(name: str, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run a script of examples/ as the command line would; return its names."""
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    return runpy.run_path(str(EXAMPLES / name), run_name="__main__")


@pytest.mark.slow
def test_training_and_answering(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], page: Mapping[str, Any]
) -> None:
    """With the page's run: what the script does without one is what the page does."""
    run = page["folder"] / page["run"]
    run_example("train_and_answer.py", "--run", str(run), monkeypatch=monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    assert next(line for line in lines if line.startswith("answer")).split()[1:]
    assert any("rocking chair" in line for line in lines)  # what the rewriter was shown is the file's history


@pytest.mark.slow
def test_comparing_methods(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run_example("compare_methods.py", "--task", "LaMP_7", "--limit", "4", monkeypatch=monkeypatch)
    printed = capsys.readouterr().out
    for row in ("generic", "context injection (zero-shot)", "RPO", "POPI", "RPO, another user's history"):
        assert re.search(rf"^{re.escape(row)} +\d\.\d{{3}} \[", printed, re.MULTILINE), row
    assert "wrong-user test of POPI" in printed


def test_a_baseline_of_ones_own(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    names = run_example("custom_baseline.py", "--limit", "20", monkeypatch=monkeypatch)
    scores = {
        line[:16].strip(): float(line.split("rouge-1 ")[1].split()[0])
        for line in capsys.readouterr().out.splitlines()
    }
    assert scores["nearest item"] != scores["copy the input"]
    baseline = names["open_nearest_item"](None)
    assert isinstance(baseline, personakit.Personalizer)
    query = personakit.Query("1", "LaMP_7", "...", "comet in oslo", "ada")
    [stranger] = baseline.respond([query], [personakit.Profile("ada", ())])
    assert stranger.degraded


@pytest.mark.usefixtures("lamp_mini")
def test_evaluate_takes_one_value_for_a_list(tmp_path: Path) -> None:
    results = personakit.evaluate("lamp", baselines="copy", task="LaMP_7", limit=2, output=tmp_path / "out")
    assert {row["method"] for row in results["rows"]} == {"copy the input"}
    for wrong in ({"limit": 0}, {"limit": "x"}, {"seed": -1}, {"concurrency": 0}, {"taks": "LaMP_7"}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            personakit.evaluate("lamp", baselines="copy", output=tmp_path / "no", **wrong)
    assert not (tmp_path / "no").exists()


def test_every_public_name_is_there() -> None:
    expected = {"train", "evaluate", "open_run", "Personalizer", "Query", "Profile", "ProfileItem", "Answer"}
    expected |= {"Context", "PreferencePair", "Instruction", "Example", "__version__"}
    assert set(personakit.__all__) == expected
    assert all(hasattr(personakit, name) for name in expected)
    assert expected <= set(dir(personakit))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = personakit.no_such_name


def test_importing_the_package_imports_nothing_heavy() -> None:
    program = """
import sys
import personakit
personakit.Query, personakit.Personalizer
heavy = {"torch", "transformers", "numpy", "typer", "omegaconf"} & set(sys.modules)
sys.exit(f"imported: {sorted(heavy)}" if heavy else 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
