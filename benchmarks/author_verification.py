"""Does the style score tell writers apart? On the change logs that Debian packages install.

    python benchmarks/author_verification.py [--pattern '/usr/share/doc/*/changelog.Debian.gz'] [--run voice]

Every entry of a change log is signed. Entries are read in place; writers are known by a hash of their address
only, and nothing but the table is written. The floor scores entries of other writers as if a writer had
written them, the ceiling the writer's own held-out entries. Between them stand two controls for the topic:
entries of others about packages that the writer's own texts are about, and own entries about packages that
they are not about. With --run, which may be repeated, a run rewrites entries of others for the
writer. The table is printed and written to benchmarks/results/author_verification.md.
"""

from __future__ import annotations

import argparse
import glob
import gzip
import hashlib
import random
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from personakit.evaluation.bootstrap import mean_of_units
from personakit.files import write_text
from personakit.tasks.style import LEAST_TEXTS, METHOD, StyleScorer

RESULTS = Path(__file__).parent / "results" / "author_verification.md"
ENTRY = re.compile(r"^(\S+) \(([^)]+)\)[^\n]*\n(.*?)\n -- [^\n<]*<([^>\n]*)>", re.DOTALL | re.MULTILINE)
#: `[ Name ]` above the part of a co-author.
CO_AUTHOR = re.compile(r"^\s*\[ .* \]\s*$", re.MULTILINE)
#: Words of an entry, entries of a writer, the most that are read, and those that are held out.
LEAST_WORDS, LEAST_ENTRIES, MOST_ENTRIES, HELD_OUT = 10, 10, 40, 5


@dataclass(frozen=True)
class Entry:
    """What one writer wrote about one version of a package."""

    package: str
    text: str


@dataclass(frozen=True)
class Trial:
    """A text, and the own texts of the writer it is compared with."""

    writer: str
    text: str
    own: tuple[str, ...]


def read_entries(pattern: str) -> dict[str, list[Entry]]:
    """Return the entries of each writer (a hash) in the change logs, one per version of a source."""
    found: dict[str, dict[tuple[str, str], Entry]] = defaultdict(dict)
    for path in sorted(glob.glob(pattern)):
        try:
            with gzip.open(path, "rt", encoding="utf-8", errors="replace") as file:
                log = file.read()
        except OSError as error:
            print(f"left out: {path}: {error}")
            continue
        for package, version, body, address in ENTRY.findall(log):
            text = CO_AUTHOR.sub("", body).strip("\n")
            if len(text.split()) >= LEAST_WORDS:
                writer = hashlib.sha256(address.casefold().encode()).hexdigest()[:16]
                found[writer][package, version] = Entry(package, text)
    generator = random.Random(0)
    return {
        writer: generator.sample(list(entries.values()), min(len(entries), MOST_ENTRIES))
        for writer, entries in sorted(found.items())
        if len(entries) >= LEAST_ENTRIES
    }


def trials(entries: Mapping[str, Sequence[Entry]]) -> dict[str, list[Trial]]:
    """Return the trials of each row of the table."""
    generator = random.Random(1)
    rows: dict[str, list[Trial]] = defaultdict(list)
    for writer, own in entries.items():
        held_out, rest = own[:HELD_OUT], own[HELD_OUT:]
        texts = tuple(entry.text for entry in rest)
        packages = {entry.package for entry in rest}
        others = [entry for other, some in entries.items() if other != writer for entry in some[:HELD_OUT]]
        near = [entry for entry in others if entry.package in packages]
        for name, some in (
            ("floor: entries of others", generator.sample(others, HELD_OUT)),
            ("entries of others, about the same packages", generator.sample(near, min(len(near), HELD_OUT))),
        ):
            rows[name] += [Trial(writer, entry.text, texts) for entry in some]
        for entry in held_out:
            elsewhere = tuple(each.text for each in own if each.package != entry.package)
            rows["own entries, about other packages"].append(Trial(writer, entry.text, elsewhere))
            rows["ceiling: own entries"].append(Trial(writer, entry.text, texts))
    return rows


def rewritten(run: str, rows: Sequence[Trial], count: int) -> tuple[list[Trial], list[Trial]]:
    """Return the first trials with their texts on one line, as the run gets them, and rewritten by it.

    They are compared with the own texts that the run's prompt does not show.
    """
    from personakit.data.lamp_formats import profile_item
    from personakit.data.queries import make_query
    from personakit.methods import open_run
    from personakit.records import Profile

    some = rows[::HELD_OUT][:count]
    items = [
        tuple(profile_item("LaMP_7", str(place), {"text": text}) for place, text in enumerate(trial.own))
        for trial in some
    ]
    given = [Trial(trial.writer, " ".join(trial.text.split()), trial.own) for trial in some]
    queries = [make_query(trial.text, task="LaMP_7") for trial in given]
    profiles = [Profile(trial.writer, own) for trial, own in zip(some, items, strict=True)]
    answers = open_run(run).respond(queries, profiles)
    kept = [(trial, answer) for trial, answer in zip(given, answers, strict=True) if not answer.error]
    if len(kept) < len(given):
        print(f"left out: {len(given) - len(kept)} of {len(given)} rewrites failed")
    before, after = [], []
    for trial, answer in kept:
        # A rewrite that repeats what its prompt shows is not yet in the writer's style.
        shown = {item.id for item in answer.context.items}
        own = tuple(text for place, text in enumerate(trial.own) if str(place) not in shown)
        before.append(Trial(trial.writer, trial.text, own))
        after.append(Trial(trial.writer, answer.text, own))
    return before, after


def table(scorer: StyleScorer, rows: Mapping[str, Sequence[Trial]]) -> list[str]:
    """Return the lines of the table: each row's mean score, its place, and the AUC against the floor."""
    from sklearn.metrics import roc_auc_score

    scores: dict[str, dict[str, list[float]]] = {}
    for name, some in rows.items():
        kept = [trial for trial in some if len(own_of(trial)) >= LEAST_TEXTS]
        if not kept:
            print(f"left out: no text for the row {name!r}")
            continue
        texts, owns = [trial.text for trial in kept], [own_of(trial) for trial in kept]
        found = scorer.scores(texts, owns, [trial.writer for trial in kept])
        by_writer: dict[str, list[float]] = defaultdict(list)
        for trial, score in zip(kept, found.tolist(), strict=True):
            by_writer[trial.writer].append(score)
        scores[name] = by_writer
    means = {name: mean_of_units(by_writer) for name, by_writer in scores.items()}
    if not {"floor: entries of others", "ceiling: own entries"} <= means.keys():
        return []
    floor, ceiling = means["floor: entries of others"], means["ceiling: own entries"]
    low = [score for some in scores["floor: entries of others"].values() for score in some]
    lines = []
    for name, estimate in means.items():
        values = [score for some in scores[name].values() for score in some]
        place = (estimate.value - floor.value) / (ceiling.value - floor.value)
        auc = roc_auc_score([0] * len(low) + [1] * len(values), low + values)
        shown = f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
        lines.append(f"| {name} | {len(scores[name])} | {len(values)} | {shown} | {place:.0%} | {auc:.3f} |")
    return lines


def own_of(trial: Trial) -> tuple[str, ...]:
    """The own texts of a trial without one that is the text itself, such as `Rebuild.`"""
    return tuple(text for text in trial.own if text.split() != trial.text.split())


def by_length(scorer: StyleScorer, rows: Mapping[str, Sequence[Trial]]) -> list[str]:
    """Return the table again by the length of the texts, floor and ceiling only."""
    bounds: list[tuple[str, Callable[[int], bool]]] = [
        ("10 to 19", lambda words: words < 20),
        ("20 to 49", lambda words: 20 <= words < 50),
        ("50 and more", lambda words: words >= 50),
    ]
    lines = []
    for name, within in bounds:
        some = {
            row: [trial for trial in rows[row] if within(len(trial.text.split()))]
            for row in ("floor: entries of others", "ceiling: own entries")
        }
        lines += [line.replace("| ", f"| {name} words, ", 1) for line in table(scorer, some)]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pattern", default="/usr/share/doc/*/changelog.Debian.gz")
    parser.add_argument(
        "--run",
        action="append",
        default=[],
        help="voice, or NAME=FOLDER of a run of RPO, that rewrites entries of others; may be repeated",
    )
    parser.add_argument("--rewrites", type=int, default=60)
    options = parser.parse_args()
    entries = read_entries(options.pattern)
    if len(entries) < 10:
        parser.exit(2, f"{len(entries)} writers with {LEAST_ENTRIES} entries match {options.pattern}\n")
    rows = trials(entries)
    parts = (run.rpartition("=") for run in options.run)
    runs = {name or folder: folder for name, _, folder in parts}
    for name, folder in runs.items():
        given, rewrites = rewritten(folder, rows["floor: entries of others"], options.rewrites)
        rows[f"entries of others, rewritten by {name}"] = rewrites
        rows[f"the same entries, as they were given to {name}"] = given
    scorer = StyleScorer(
        {writer: [entry.text for entry in own[HELD_OUT:]] for writer, own in entries.items()}
    )
    given_as = [name if name == folder else f"{name}=FOLDER" for name, folder in runs.items()]
    command = " ".join(["python benchmarks/author_verification.py", *(f"--run {each}" for each in given_as)])
    head = f"# Author verification on change logs (`{command}`)"
    columns = [
        "| text | writers | texts | style | place | AUC against the floor |",
        "|---|---|---|---|---|---|",
    ]
    note = (
        f"{len(entries)} writers with {LEAST_ENTRIES} entries of {LEAST_WORDS} words or more; "
        f"{sum(map(len, entries.values()))} entries are read, {HELD_OUT} of each writer held out. Style: the "
        "share of other writers whose texts are less similar than the writer's own, by the "
        f"{METHOD}; intervals over writers. Place: the way from floor to ceiling. The controls for the topic "
        "are not at the ends: change logs of one package resemble each other in more than their topic."
    )
    lines = [head, "", *columns, *table(scorer, rows), *by_length(scorer, rows), "", note, ""]
    print("\n".join(lines))
    write_text(RESULTS, "\n".join(lines))


if __name__ == "__main__":
    main()
