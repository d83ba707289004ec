from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personakit.errors import UserError
from personakit.evaluation.candidates import Candidate
from personakit.evaluation.charts import Axis
from personakit.evaluation.common_sections import comparison_section, cost_section, score_section
from personakit.evaluation.curves import training_charts
from personakit.evaluation.measurements import read_costs
from personakit.evaluation.report import PageOptions, write_report
from personakit.evaluation.results import Claims, compute_results
from personakit.evaluation.runner import evaluate
from personakit.evaluation.showcase import choose_samples, word_changes
from personakit.records import Answer, Profile, Query

from .people import Imitator
from .test_runner import FACTS, TASKS, people

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)> & \"quotes\" 'too' \x1b[31m"


class Evil(Imitator):
    """Generates texts that would break a page without escaping."""

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        return [Answer(EVIL, generic="<b>plain</b>", trace={"plan": EVIL}) for _ in queries]


class Page(HTMLParser):
    """Collects a page's tags, attributes and scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")
            self._in_script = True

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[-1] += data

    def data(self) -> list[dict[str, object]]:
        packed = base64.b64decode(self.scripts[0], validate=True)
        samples: list[dict[str, object]] = json.loads(gzip.decompress(packed))
        return samples


def report(folder: Path, label: str = "evil", **options: object) -> str:
    candidates = [Candidate("generic", Imitator, "empty"), Candidate(label, Evil)]
    log = evaluate(candidates, people(), TASKS, folder)
    results = compute_results(log, FACTS, Claims([(label, "generic")]), made_by={"command": EVIL})
    sections = [score_section(results, "generic"), comparison_section(results)]
    sections.append(cost_section(results, read_costs(log)))
    page = PageOptions(title=EVIL, **options)  # type: ignore[arg-type]
    path = write_report(folder / "report.html", results, sections, log, page)
    return path.read_text(encoding="utf-8")


def test_texts_are_escaped_in_the_page(tmp_path: Path):
    page = Page(report(tmp_path, label="<i>evil</i>"))
    assert [tag for tag, _ in page.tags if tag in ("img", "b", "i")] == []
    assert len(page.scripts) == 2
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert {sample["prediction"] for sample in page.data()} == {EVIL}


def test_page_is_self_contained(tmp_path: Path):
    text = report(tmp_path)
    page = Page(text)
    assert not any("src" in attributes or "href" in attributes for _, attributes in page.tags)
    assert not re.search(r"https?://|url\(|@import|fetch\(|innerHTML", text)
    policy = next(
        attributes["content"]
        for tag, attributes in page.tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode() in policy


def test_the_same_log_gives_the_same_page(tmp_path: Path):
    assert report(tmp_path / "a") == report(tmp_path / "b")


def test_page_shows_the_number_of_selected_samples(tmp_path: Path):
    text = report(tmp_path, most_samples=6)
    assert len(Page(text).data()) == 6
    assert "6 of 40 answers" in text
    assert {sample["task"] for sample in Page(text).data()} == {"LaMP_3", "LaMP_4"}


def test_evaluations_on_test_are_printed(tmp_path: Path):
    assert "evaluated on the test split 3 times" in report(tmp_path, test_looks=3)


def test_a_sample_is_won_or_lost_against_the_baseline(tmp_path: Path):
    log = evaluate(
        [Candidate("generic", Imitator, "empty"), Candidate("own", Imitator)], people(), TASKS, tmp_path
    )
    shown = choose_samples(log, baseline="generic").samples
    outcomes = {(sample["task"], sample["query_id"]): sample["outcome"] for sample in shown}
    assert outcomes["LaMP_4", "4001"] == "won"
    assert outcomes["LaMP_3", "3000"] == "lost"  # the gold is 4, the user's habit 2, 3 for no user
    assert outcomes["LaMP_3", "3001"] == "won"


def test_all_methods_show_the_same_queries_in_order(tmp_path: Path):
    candidates = [Candidate(name, Imitator, seed=seed) for name in "abc" for seed in (1, 2)]
    log = evaluate(candidates, people(), TASKS, tmp_path)
    shown = choose_samples(log, baseline="a", methods=["c", "b", "nobody"], most=8)
    assert shown.total == 120
    assert [sample["method"] for sample in shown.samples] == ["c"] * 4 + ["b"] * 4
    ids = [sample["query_id"] for sample in shown.samples]
    assert ids[:4] == ids[4:]


def test_word_changes_mark_words():
    assert word_changes("the cat sat", "the black cat") == [
        ("same", "the "),
        ("new", "black "),
        ("same", "cat"),
        ("gone", " sat"),
    ]


@given(st.text(max_size=60), st.text(max_size=60))
def test_word_changes_reproduce_both_texts(before: str, after: str):
    changes = word_changes(before, after)
    assert "".join(text for kind, text in changes if kind != "new") == before
    assert "".join(text for kind, text in changes if kind != "gone") == after


def test_training_charts_have_a_line_per_stage(tmp_path: Path):
    metrics = tmp_path / "metrics.jsonl"
    lines = [{"stage": stage, "step": step, "loss": 3.0 - step} for stage in ("a", "b") for step in (0, 1, 2)]
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 3, "lo')
    (chart,) = training_charts({"rpo": metrics})
    assert chart.title == "loss"
    assert [curve.label for curve in chart.curves] == ["rpo, a", "rpo, b"]
    assert chart.curves[0].points == "0.00,0.00 50.00,50.00 100.00,100.00"
    assert (chart.low, chart.high, chart.curves[0].last) == ("1", "3", "1")


def test_parts_of_a_stage_and_several_runs_form_one_line(tmp_path: Path):
    runs = {}
    for seed, rewards in enumerate(([0.0, 1.0, 2.0, 3.0], [2.0, 3.0, 4.0, 5.0])):
        parts = zip(("rl-1", "rl-1", "rl-2", "rl-2"), (1, 2, 1, 2), rewards, strict=True)
        lines = [{"stage": stage, "step": step, "reward": reward} for stage, step, reward in parts]
        runs[f"seed-{seed}"] = tmp_path / f"{seed}.jsonl"
        runs[f"seed-{seed}"].write_text("".join(json.dumps(line) + "\n" for line in lines))
    (alone,) = training_charts({"seed-0": runs["seed-0"]})
    assert [(curve.label, curve.last) for curve in alone.curves] == [("seed-0, rl", "3")]
    assert alone.steps == "4"
    (chart,) = training_charts(runs)
    assert [(curve.label, curve.last) for curve in chart.curves] == [("rl, mean of 2 runs", "4")]
    assert (chart.low, chart.high) == ("1", "4")


def test_invalid_metrics_line_is_an_error(tmp_path: Path):
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text('{"step": 0}\nnot json\n{"step": 1}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 2"):
        training_charts({"rpo": metrics})


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.0, 1.0, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0.61, 0.68, ["0.62", "0.64", "0.66", "0.68"]),
        (-30.0, 20.0, ["-30", "-20", "-10", "0", "10", "20"]),
    ],
)
def test_ticks_are_at_round_values(low: float, high: float, labels: list[str]):
    axis = Axis(low, high)
    assert [tick.label for tick in axis.ticks()] == labels
    assert all(axis.at(float(tick.label)) == pytest.approx(tick.at, abs=1e-3) for tick in axis.ticks())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no browser to look with")
def test_browser_shows_samples_without_running_their_scripts(tmp_path: Path):
    report(tmp_path, label="[/] <i>evil</i>")
    command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000"]
    page = f"file://{tmp_path / 'report.html'}"
    done = subprocess.run([*command, "--dump-dom", page], capture_output=True, text=True, timeout=120)
    assert done.stdout.count('<article class="card">') == 10
    shown = Page(done.stdout)
    assert [tag for tag, _ in shown.tags if tag in ("img", "b", "i")] == []
    assert len(shown.scripts) == 2
    assert "alert(1)" in done.stdout  # as text
    assert "20 answers" in done.stdout
