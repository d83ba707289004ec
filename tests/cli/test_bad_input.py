"""Every kind of bad input gives one error with its place, a hint and exit status 2, and leaves no files."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from personakit.data.lamp_formats import build_input

from .conftest import Call

REVIEW = build_input("LaMP_3", text="good")
TWEET = build_input("LaMP_7", text="hi")
ITEM = {"id": "1", "text": "fine", "score": "4"}


def question(**changes: Any) -> dict[str, Any]:
    """Return a LaMP-3 question; a change to None removes the field."""
    made = {"id": "q1", "input": REVIEW, "profile": [ITEM]} | changes
    return {key: value for key, value in made.items() if value is not None}


def golds(*pairs: tuple[str, str], task: str = "LaMP_3") -> str:
    """Return a gold or prediction file."""
    return json.dumps({"task": task, "golds": [{"id": id, "output": output} for id, output in pairs]})


@dataclass(frozen=True)
class Bad:
    """Files to create (text or bytes), the call, and texts that its error contains: place and value."""

    name: str
    call: str
    says: tuple[str, ...]
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    stdin: str = ""


QUESTIONS = "d/dev_questions.json"
SCORE = "eval lamp --predictions p.json --golds g.json"
GOLDS = golds(("q1", "4"))
CHECK = "data check d"


def questions(name: str, says: tuple[str, ...], *elements: Any) -> Bad:
    """Return a questions file with an error."""
    return Bad(name, CHECK, (QUESTIONS, *says), {QUESTIONS: json.dumps(elements)})


CASES = [
    # ------------------------------------------------------------------------------- LaMP's files
    Bad("a folder that is not there", "data check nowhere", ("nowhere", "does not exist")),
    Bad("a folder without LaMP's files", CHECK, ("d", "_questions.json"), {"d/notes.txt": "x"}),
    Bad("an empty file", CHECK, (QUESTIONS, "empty"), {QUESTIONS: ""}),
    Bad("not JSON", CHECK, (QUESTIONS, "JSON"), {QUESTIONS: "hello"}),
    Bad("an object, not a list", CHECK, (QUESTIONS, "object"), {QUESTIONS: json.dumps(question())}),
    Bad("an empty list", CHECK, (QUESTIONS, "empty list"), {QUESTIONS: "[]"}),
    Bad(
        "cut off",
        CHECK,
        (QUESTIONS, "item 2", "cut off"),
        {QUESTIONS: json.dumps([question(), question()])[:-60]},
    ),
    Bad(
        "another encoding",
        CHECK,
        (QUESTIONS, "item 1", "UTF-8"),
        {QUESTIONS: json.dumps([question(input=REVIEW + " é")], ensure_ascii=False).encode("latin-1")},
    ),
    Bad("UTF-16", CHECK, (QUESTIONS, "UTF-16"), {QUESTIONS: json.dumps([question()]).encode("utf-16")}),
    questions("no id", ("item 1", '"id"'), question(id=None)),
    questions("an id that is a number", ("item 1", '"id" is 7'), question(id=7)),
    questions("an id twice", ("item 2", "q1"), question(), question()),
    questions("no input", ("item 1", '"input"'), question(input=None)),
    questions("no profile", ("item 1", '"profile"'), question(profile=None)),
    questions("a profile that is a text", ("item 1", '"profile" is "mine"'), question(profile="mine")),
    questions("an input in no task's wording", ("item 1", "Tell me"), question(input="Tell me a joke")),
    questions("two tasks mixed", ("item 2", "LaMP_7"), question(), question(id="q2", input=TWEET)),
    questions(
        "a rating of 7",
        ("profile item 1", '"score" is "7"', "1 to 5"),
        question(profile=[{**ITEM, "score": "7"}]),
    ),
    questions(
        "a rating in words",
        ("profile item 1", '"five"', "1 to 5"),
        question(profile=[{**ITEM, "score": "five"}]),
    ),
    questions(
        "an item without its text",
        ("profile item 1", '"text"'),
        question(profile=[{"id": "1", "score": "4"}]),
    ),
    questions(
        "dates for some items only",
        ("item 1", "date"),
        question(profile=[ITEM, {**ITEM, "date": "2020-01-01"}]),
    ),
    Bad(
        "golds of other queries",
        CHECK,
        ("dev_outputs.json", "q1"),
        {QUESTIONS: json.dumps([question()]), "d/dev_outputs.json": golds(("q9", "4"))},
    ),
    Bad(
        "golds of another task",
        CHECK,
        ("dev_outputs.json", "LaMP_7"),
        {QUESTIONS: json.dumps([question()]), "d/dev_outputs.json": golds(("q1", "4"), task="LaMP_7")},
    ),
    Bad(
        "a gold of 7",
        CHECK,
        ("dev_outputs.json", '"7"', "1 to 5"),
        {QUESTIONS: json.dumps([question()]), "d/dev_outputs.json": golds(("q1", "7"))},
    ),
    # ------------------------------------------------------------------------------------- imports
    Bad("a source that is not there", "data import nothing.csv new", ("nothing.csv",)),
    Bad("a source of no known kind", "data import notes.txt new", ("notes.txt",), {"notes.txt": "x"}),
    Bad(
        "an unknown format",
        "data import a.csv new --format excel",
        ("excel",),
        {"a.csv": "user_id,original\n"},
    ),
    Bad("an empty CSV", "data import a.csv new", ("a.csv",), {"a.csv": ""}),
    Bad(
        "a row with too few values",
        "data import a.csv new",
        ("a.csv, line 3", "fewer"),
        {"a.csv": "user_id,original,revised\nu,a,b\nu,a\n"},
    ),
    Bad(
        "a missing column",
        "data import a.csv new --format rewriting",
        ("a.csv", "revised"),
        {"a.csv": "user_id,original\nu,a\n"},
    ),
    Bad(
        "an empty value",
        "data import a.csv new",
        ("a.csv, line 2", "revised"),
        {"a.csv": "user_id,original,revised\nu,a,\n"},
    ),
    Bad(
        "a column that is not there",
        "data import a.csv new --column revised=after",
        ("after",),
        {"a.csv": "user_id,original,revised\nu,a,b\n"},
    ),
    Bad(
        "a column option without =",
        "data import a.csv new --column revised",
        ("--column revised",),
        {"a.csv": "x\n"},
    ),
    Bad(
        "reviews with a rating of 7",
        "data import r.json new",
        ("r.json", "item 1", "review 1", "7"),
        {"r.json": json.dumps([{"id": "u", "profile": [{"rating": 7, "title": "t", "text": "x"}]}])},
    ),
    Bad(
        "preferences without a user",
        "data import p.jsonl new",
        ("p.jsonl, line 1", "no user id"),
        {"p.jsonl": '{"prompt": "a", "chosen": "b", "rejected": "c"}\n'},
    ),
    Bad(
        "preferences in two formats",
        "data import p.jsonl new",
        ("p.jsonl, line 2", "fspo", "trl"),
        {
            "p.jsonl": '{"user": "u", "prompt": "a", "chosen": "b", "rejected": "c"}\n'
            '{"x": "a", "yw": "b", "yl": "c", "level": "u"}\n'
        },
    ),
    Bad(
        "preferences of which none can be used",
        "data import p.jsonl new",
        ("p.jsonl", "pairs is usable", "chosen answer equals"),
        {"p.jsonl": '{"user": "u", "prompt": "a", "chosen": "b", "rejected": "b"}\n'},
    ),
    Bad(
        "a split that is neither by user nor by prompt",
        "data import p.jsonl new --split-by item",
        ("item", "user, prompt"),
        {"p.jsonl": '{"user": "u", "prompt": "a", "chosen": "b", "rejected": "c"}\n'},
    ),
    Bad("preferences that are not there", "data show {data} --task preferences", ("no preferences",)),
    Bad(
        "a preference file of another shape",
        CHECK,
        ("dev.jsonl, line 1", "user_id"),
        {"d/preferences/dev.jsonl": '{"a": 1}\n'},
    ),
    Bad(
        "a history without a task",
        "data import h.jsonl new",
        ("h.jsonl", "task"),
        {"h.jsonl": '{"text": "a"}\n'},
    ),
    Bad(
        "a folder that is there already",
        "data import a.csv d",
        ("d", "exists"),
        {"a.csv": "user_id,original,revised\nu,a,b\n", "d/x": "x"},
    ),
    Bad("a benchmark folder that is there already", "data make d", ("d", "exists"), {"d/x": "x"}),
    Bad(
        "a split that is not there",
        "data show {data} --task LaMP_3 --split validation",
        ("validation", "dev"),
    ),
    Bad("a user that is not there", "data show {data} --task LaMP_3 --user dna", ("dna",)),
    Bad("an unknown task", "data show {data} --task LaMP_9", ("LaMP_9",)),
    # ------------------------------------------------------------------------------------ settings
    Bad("an unknown command", "trian", ("trian",)),
    Bad("an unknown option", "config list --jason", ("--jason",)),
    Bad("an unknown config", "config check lamp-mega", ("lamp-mega",)),
    Bad("a config that is not YAML", "config check c.yaml", ("c.yaml, line 2",), {"c.yaml": "sft: [\n"}),
    Bad("a config that is a list", "config check c.yaml", ("c.yaml", "list"), {"c.yaml": "- a\n"}),
    Bad(
        "a config in another encoding",
        "config check c.yaml",
        ("c.yaml", "UTF-8"),
        {"c.yaml": b"model: \xe9\n"},
    ),
    Bad("an unknown key", "config check c.yaml", ("c.yaml", "sft.lr"), {"c.yaml": "sft:\n  lr: 1\n"}),
    Bad(
        "a wrong type",
        "config check c.yaml",
        ("c.yaml", "sft.max_steps", "many"),
        {"c.yaml": "sft:\n  max_steps: many\n"},
    ),
    Bad(
        "a dangling reference",
        "config check c.yaml",
        ("c.yaml", "nothing"),
        {"c.yaml": "model: ${nothing}\n"},
    ),
    Bad("a reference that is none", "config check c.yaml", ("c.yaml", "{"), {"c.yaml": "model: ${{a}}\n"}),
    Bad("an override without =", "train rpo --dry-run fast", ("fast", "key=value")),
    Bad("k of 0", "train rpo --dry-run retrieval.k=0", ("retrieval.k", "0", "at least 1")),
    Bad("an unknown retriever", "train rpo --dry-run retrieval.name=bm26", ("bm26", "bm25")),
    Bad("a learning rate of nan", "train rpo --dry-run sft.learning_rate=.nan", ("sft.learning_rate", "nan")),
    Bad("data that is not there", "train rpo --dry-run data.path=nowhere", ("nowhere",)),
    Bad(
        "a model folder that is not there",
        "train rpo --dry-run model=/nowhere data.path={data}",
        ("/nowhere",),
    ),
    Bad("an endpoint to train", "train rpo --dry-run model=openai:gpt data.path={data}", ("openai:gpt",)),
    Bad("a run to resume that is none", "train rpo --resume --output d", ("d", "run"), {"d/x": "x"}),
    Bad(
        "a run's folder that is full",
        "train rpo --output d data.path={data}",
        ("d", "not empty"),
        {"d/x": "x"},
    ),
    Bad("a copy that would overwrite", "config copy rpo/email c.yaml", ("c.yaml", "exists"), {"c.yaml": "x"}),
    # ---------------------------------------------------------------------------------- evaluation
    Bad("no run at all", "eval lamp", ("runs/",)),
    Bad("a run that is not there", "eval lamp --run nowhere", ("nowhere",)),
    Bad("a folder that is no run", "eval lamp --run d", ("d", "run.json"), {"d/x": "x"}),
    Bad("a damaged run.json", "eval lamp --run d", ("d/run.json",), {"d/run.json": '{"method": "r'}),
    Bad(
        "a run without a model yet",
        "eval lamp --run d",
        ("d", "running"),
        {"d/run.json": json.dumps({"method": "rpo", "seed": 0, "status": "running"})},
    ),
    Bad("a negative limit", "eval lamp --run {run} --limit -1", ("-1",)),
    Bad("an unknown baseline", "eval lamp --run {run} --baseline best", ("best",)),
    Bad("an oracle without traits", "eval lamp --run {run} --baseline oracle", ("oracle", "traits")),
    Bad("a base that is not there", "eval lamp --run {run} --base /nowhere", ("/nowhere",)),
    Bad("data of another suite", "eval rewriting --run {run}", ("rewrites of texts",)),
    Bad(
        "an evaluation that is there already",
        "eval lamp --run {run} --output d",
        ("d", "already"),
        {"d/samples.jsonl": "x\n"},
    ),
    Bad("nothing to report", "report", ("runs/",)),
    Bad("a report of no evaluation", "report d", ("d", "results.json"), {"d/x": "x"}),
    Bad("a report of something else", "report d", ("d/results.json",), {"d/results.json": "[]"}),
    Bad("predictions without golds", "eval lamp --predictions p.json", ("--predictions",), {"p.json": GOLDS}),
    Bad("predictions that are not there", SCORE, ("p.json",), {"g.json": GOLDS}),
    Bad(
        "a prediction missing",
        SCORE,
        ("p.json", "q2"),
        {"p.json": GOLDS, "g.json": golds(("q1", "4"), ("q2", "3"))},
    ),
    Bad(
        "a prediction too many",
        SCORE,
        ("p.json", "q2"),
        {"p.json": golds(("q1", "4"), ("q2", "3")), "g.json": GOLDS},
    ),
    Bad(
        "predictions of another task",
        SCORE,
        ("LaMP_4",),
        {"p.json": golds(("q1", "4"), task="LaMP_4"), "g.json": GOLDS},
    ),
    Bad(
        "predictions of an unknown task",
        SCORE,
        ("LaMP_8",),
        {"p.json": golds(task="LaMP_8"), "g.json": golds(task="LaMP_8")},
    ),
    Bad(
        "a prediction that is a number",
        SCORE,
        ("p.json", "gold 1", "4"),
        {"p.json": '{"task": "LaMP_3", "golds": [{"id": "q1", "output": 4}]}', "g.json": GOLDS},
    ),
    Bad(
        "predictions without golds inside",
        SCORE,
        ("p.json", "golds"),
        {"p.json": '{"task": "LaMP_3"}', "g.json": GOLDS},
    ),
    # --------------------------------------------------------------------------------------- infer
    Bad("an empty query", "infer - --run {run}", ("empty",), stdin="\n"),
    Bad("a user the data does not have", "infer hi --run {run} --user dna", ("dna",)),
    Bad("a user and a file", "infer hi --run {run} --user dan --profile h.csv", ("--user", "--profile")),
    Bad("a history that is not there", "infer hi --run {run} --profile h.csv", ("h.csv",)),
    Bad(
        "a history with no known column",
        "infer hi --run {run} --profile h.csv",
        ("h.csv", "text"),
        {"h.csv": "words\nhi\n"},
    ),
    Bad("an empty history file", "infer hi --run {run} --profile h.jsonl", ("h.jsonl",), {"h.jsonl": ""}),
    Bad(
        "a Parquet file that is none",
        "infer hi --run {run} --profile h.parquet",
        ("h.parquet",),
        {"h.parquet": "x"},
    ),
    Bad(
        "the history of two users",
        "infer hi --run {run} --profile h.csv",
        ("h.csv", "2 users"),
        {"h.csv": "user_id,text\na,x\nb,y\n"},
    ),
    Bad("a query of another task", "infer --run {run} --task LaMP_3 -", ("LaMP_7", "LaMP_3"), stdin=TWEET),
    Bad("a bare text for a task of several parts", "infer hi --run {run} --task LaMP_1", ("LaMP_1",)),
    Bad("an output without a batch", "infer hi --run {run} --output o", ("--batch",)),
    Bad("a batch that is not there", "infer --run {run} --batch b.jsonl --output o", ("b.jsonl",)),
    Bad("an empty batch", "infer --run {run} --batch b.jsonl --output o", ("b.jsonl",), {"b.jsonl": "\n"}),
    Bad(
        "a batch line that is not JSON",
        "infer --run {run} --batch b.jsonl --output o",
        ("b.jsonl, line 2",),
        {"b.jsonl": '{"query": "a"}\n{"query": \n'},
    ),
    Bad(
        "a batch line without a query",
        "infer --run {run} --batch b.jsonl --output o",
        ("b.jsonl, line 1", "query"),
        {"b.jsonl": '{"id": "1"}\n'},
    ),
    Bad(
        "a batch line with an unknown field",
        "infer --run {run} --batch b.jsonl --output o",
        ("b.jsonl, line 1", "querry"),
        {"b.jsonl": '{"querry": "a"}\n'},
    ),
    Bad(
        "a batch line with an id of before",
        "infer --run {run} --batch b.jsonl --output o",
        ("b.jsonl, line 2", '"1"'),
        {"b.jsonl": '{"id": 1, "query": "a"}\n{"id": "1", "query": "b"}\n'},
    ),
    Bad(
        "a batch line with a user the data does not have",
        "infer --run {run} --batch b.jsonl --output o",
        ("b.jsonl, line 1", "dna"),
        {"b.jsonl": '{"query": "a", "user": "dna"}\n'},
    ),
    Bad(
        "a batch output that is there already",
        "infer --run {run} --batch b.jsonl --output o",
        ("o", "exists"),
        {"b.jsonl": '{"query": "a"}\n', "o": "x"},
    ),
]


@pytest.mark.parametrize("bad", CASES, ids=lambda bad: bad.name)
def test_bad_input(bad: Bad, call: Call, tiny_run: Path, tiny_data: Path, tmp_path: Path) -> None:
    for name, content in bad.files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = listing(tmp_path)
    words = [word.format(run=tiny_run, data=tiny_data) for word in bad.call.split()]
    done = call(*words, stdin=bad.stdin)
    check_ending(done.err, bad.says)
    assert done.status == 2
    assert done.out == ""
    assert listing(tmp_path) == before


def test_at_least_forty_kinds_of_bad_input() -> None:
    assert len({bad.name for bad in CASES}) == len(CASES) >= 40


@pytest.mark.parametrize(
    ("number", "says"),
    [(errno.ENOSPC, "no space left"), (errno.EACCES, "permission denied"), (errno.EROFS, "read-only")],
)
def test_unwritable_output_is_an_error(
    number: int, says: str, call: Call, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full or read-only disk during an import is an error like other bad input and leaves no files."""

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(number, "refused", str(tmp_path / "new" / "file"))

    monkeypatch.setattr("personakit.data.imports.write_json", refuse)
    before = listing(tmp_path)
    done = call("data", "import", tiny_data, tmp_path / "new")
    assert done.status == 2
    check_ending(done.err, (says, "new"))
    assert listing(tmp_path) == before


def test_full_disk_during_a_batch_is_an_error(
    call: Call, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr("personakit.methods.batch.os.fsync", refuse)
    (tmp_path / "b.jsonl").write_text('{"query": "a"}\n')
    done = call("infer", "--batch", "b.jsonl", "--run", tiny_run, "--output", "o")
    assert done.status == 2
    check_ending(done.err, ("no space left",))
    assert not (tmp_path / "o").exists()


def test_run_without_weights_is_an_error(call: Call, tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    (run / "model" / "config.json").unlink()
    done = call("infer", "hi", "--run", run)
    assert done.status == 2
    check_ending(done.err, ("run/model", "config.json"))


def check_ending(err: str, says: tuple[str, ...]) -> None:
    """Check that the last two lines are an error containing all of `says` and a hint, without a traceback."""
    sentence, hint = err.splitlines()[-2:]
    assert sentence.startswith("error: "), err
    assert hint.startswith("hint: "), err
    assert len(hint) > len("hint: "), err
    assert "Traceback" not in err
    for part in says:
        assert part in sentence, f"{part!r} is not in: {sentence}"


def listing(folder: Path) -> dict[str, bytes]:
    """Return every file below `folder` with its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }
