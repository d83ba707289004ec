"""An evaluation at LaMP's real size, without generation: time, memory, and size of the report.

    python benchmarks/evaluation_size.py [--queries 2500] [--items 185] [--keep FOLDER]

Synthetic data in LaMP-4's format: dev queries, each with its own profile of items of 100 words (drawn from
20,000 words by Zipf's law). The base model is replaced by one that answers immediately; tokens are counted
by nano's tokenizer. Measured in a separate process, so that the peak memory is that of `eval`: leak checks,
four rows (generic, copy of the input, context injection with BM25's 4 items, the same without history) from
retrieval to the sample log, intervals and comparisons, users, and the report. Each further row with a
history costs as much as the retrieval line. If `chromium` is installed, the report is opened in it and the
time is measured until its samples can be read.
The table is printed and written to benchmarks/results/evaluation_size.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from personakit.data import open_examples
from personakit.data.lamp_formats import build_input, profile_item, search_text
from personakit.files import write_text
from personakit.records import Example, Profile, Query

T = TypeVar("T")
RESULTS = Path(__file__).parent / "results" / "evaluation_size.md"
TASK, WORDS, VOCABULARY = "LaMP_4", 100, 20_000
#: The limits: seconds of everything but generation, memory, the report's size and until it can be read.
SECONDS, GIGABYTES, MEGABYTES, OPENING = 180, 1.5, 15, 2.0
#: Put into a copy of the page: says on the console when the first sample can be read.
READY = """<script>
const look = () => document.querySelector(".card")
  ? console.log(`ready ${performance.now()}`) : setTimeout(look, 5);
look();
</script>"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queries", type=int, default=2500)
    parser.add_argument("--items", type=int, default=185)
    parser.add_argument(
        "--keep", type=Path, help="leave data, log and report here, and take data that is there"
    )
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.queries)))
        return
    folder = options.keep or Path(tempfile.mkdtemp())
    os.environ["PERSONAKIT_CACHE"] = str(folder / "cache")
    if not (folder / "data").exists():
        make_data(folder / "data", options.queries, options.items)
    open_examples(folder / "data", TASK, "dev")  # converted once, whatever is evaluated later
    shutil.rmtree(folder / "eval", ignore_errors=True)
    command = [sys.executable, __file__, "--measure", str(folder), "--queries", str(options.queries)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    times = [opening(folder / "eval" / "report.html") for _ in range(3)]
    found["opens"] = min((one for one in times if one is not None), default=None)
    tell(found, options)
    if not options.keep:
        shutil.rmtree(folder)


def make_data(folder: Path, queries: int, items: int) -> None:
    """Write dev questions of `queries` users, and their golds, piece by piece to save memory."""
    from personakit.data.lamp import write_split

    write_split(folder / TASK, "dev", people(queries, items), user_ids=True)


def people(queries: int, items: int) -> Iterator[Example]:
    generator = np.random.default_rng(0)
    ranks = np.arange(1, VOCABULARY + 1)
    chances = 1 / ranks / (1 / ranks).sum()
    words = np.array([np.base_repr(7919 * int(rank), 36).lower() for rank in ranks])
    for number in range(queries):
        drawn = words[generator.choice(VOCABULARY, (items + 1, WORDS), p=chances)]
        texts = [" ".join(row) for row in drawn]
        titles = [" ".join(row[:8]) for row in drawn[:, ::-1]]
        profile = [
            profile_item(TASK, f"{number}-{place}", {"title": title, "text": text})
            for place, (title, text) in enumerate(zip(titles[1:], texts[1:], strict=True))
        ]
        text = build_input(TASK, text=texts[0])
        user = f"user-{number}"
        query = Query(f"4{number}", TASK, text, search_text(TASK, text), user, titles[0])
        yield Example(query, Profile(user, tuple(profile)))


class AtOnce:
    """A language model that immediately answers with the first words of the prompt's last sentence."""

    def __init__(self) -> None:
        from personakit.models.cost import token_counter

        self.count_tokens = token_counter("nano")

    def generate(self, prompts: Sequence[str], **options: Any) -> list[list[str]]:
        """Return one answer per prompt."""
        return [[" ".join(prompt.split()[-8 - len(prompt) % 3 :][:8])] for prompt in prompts]

    def score(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """Return one score per prompt."""
        return [0.0] * len(prompts)


def measure(folder: Path, queries: int) -> dict[str, Any]:
    """Evaluate the first `queries`; return seconds and CPU seconds of each part, and the peak memory."""
    from personakit.baselines import ContextInjection, CopyInput, Generic
    from personakit.evaluation.candidates import Candidate
    from personakit.evaluation.leaks import find_leaks
    from personakit.evaluation.measurements import read_costs, task_metrics
    from personakit.evaluation.report import PageOptions, write_report
    from personakit.evaluation.results import Claims, compute_results, write_results
    from personakit.evaluation.runner import evaluate
    from personakit.evaluation.users import user_gains, users_document
    from personakit.retrieval import open_retriever
    from personakit.suites import SUITES
    from personakit.tasks import get_task

    spent: dict[str, tuple[float, float]] = {}

    def timed(name: str, work: Callable[[], T]) -> T:
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        spent[name] = time.perf_counter() - wall, time.process_time() - cpu
        return result

    store = timed("open the data", lambda: opened(folder, queries))
    leaks = timed("leak checks", lambda: find_leaks({TASK: store}, {}, {}))
    model, task = AtOnce(), get_task(TASK)

    def context() -> ContextInjection:
        return ContextInjection(model, open_retriever("bm25", 4))

    rows = [
        Candidate("generic", lambda: Generic(model)),
        Candidate("copy the input", CopyInput),
        Candidate("context injection", context),
        Candidate("context injection, empty history", context, "empty"),
    ]
    claims = Claims(compared=[("context injection", "generic"), ("context injection", "copy the input")])
    log = timed(
        "retrieval, prompts, scoring, log",
        lambda: evaluate(rows, {TASK: store}, {TASK: task}, folder / "eval"),
    )
    results = timed("intervals", lambda: compute_results(log, {TASK: task_metrics(task)}, claims))
    gains = timed("users", lambda: user_gains(log, claims.compared))
    results |= {"users": users_document(gains)}
    write_results(folder / "eval", results)
    page = folder / "eval" / "report.html"
    options = PageOptions("evaluation_size", shown=[row.method for row in rows])

    def report() -> Path:
        sections = SUITES["lamp"].sections(results, read_costs(log))
        return write_report(page, results, sections, log, options)

    timed("report", report)
    return {
        "spent": spent,
        "leaks": len(leaks),
        "samples": sum(1 for _ in log.open("rb")),
        "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "log_megabytes": log.stat().st_size / 1e6,
        "report_megabytes": page.stat().st_size / 1e6,
    }


def opened(folder: Path, queries: int) -> Any:
    """Return the first examples of the data in `folder`."""
    return open_examples(folder / "data", TASK, "dev").subset(queries)


def opening(page: Path) -> float | None:
    """Return the seconds from opening the page in chromium until its samples are there; None without one."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        return None
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    copy = page.with_name("timed.html")
    copy.write_text(text.replace("</body>", f"{READY}</body>"), encoding="utf-8")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    command = [browser, *options, "--remote-debugging-port=0", f"file://{copy.resolve()}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        stop = threading.Timer(60, process.kill)
        stop.start()
        found = next(filter(None, (re.search(r'"ready ([\d.]+)"', line) for line in process.stderr)), None)
        stop.cancel()
        process.kill()
    return float(found[1]) / 1000 if found else None


def tell(found: dict[str, Any], options: argparse.Namespace) -> None:
    """Print the table and write it to the results folder."""
    lines = ["| part | seconds | CPU seconds |", "|---|---|---|"]
    lines += [f"| {name} | {wall:.1f} | {cpu:.1f} |" for name, (wall, cpu) in found["spent"].items()]
    parts = found["spent"].values()
    wall, cpu = (sum(part[place] for part in parts) for place in (0, 1))
    lines.append(f"| **all of it** (asked: under {SECONDS}) | **{wall:.0f}** | **{cpu:.0f}** |")
    opens = "(no chromium here)" if found["opens"] is None else f"after {found['opens']:.2f} s, best of 3,"
    notes = [
        f"Peak memory {found['gigabytes']:.2f} GB (asked: under {GIGABYTES}); "
        f"the log is {found['log_megabytes']:.0f} MB; {found['leaks']} leaks in made-up data.",
        f"The report has {found['samples']:,} samples in {found['report_megabytes']:.1f} MB (asked: under "
        f"{MEGABYTES}) and can be read {opens} in chromium (asked: under {OPENING:g} s).",
    ]
    head = "# An evaluation at LaMP's size (`python benchmarks/evaluation_size.py`)"
    shape = f"{options.queries:,} queries, profiles of {options.items} items of {WORDS} words"
    about = f"{shape}, four rows, no generation. Shared cores: CPU seconds are what to go by."
    text = "\n".join([head, "", about, "", *lines, "", *notes, ""])
    write_text(RESULTS, text)
    print(text)


if __name__ == "__main__":
    main()
