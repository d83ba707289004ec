"""Prediction files, scored by upstream's rules."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from personakit.errors import UserError
from personakit.tasks.predictions import score_files, score_folders, write_predictions

GOLDS = {
    "LaMP_1": ["[1]", "[2]"],
    "LaMP_2": ["comedy", "action"],
    "LaMP_3": ["5", "1"],
    "LaMP_4": ["A headline", "Another one"],
    "LaMP_5": ["A title", "On titles"],
    "LaMP_6": ["Lunch", "Re: lunch"],
    "LaMP_7": ["so tired", "very tired"],
}


def write(path: Path, task: str, outputs: list[str], ids: list[str] | None = None) -> Path:
    entries = [
        {"id": id, "output": output}
        for id, output in zip(ids or [f"{number}0" for number in range(len(outputs))], outputs, strict=True)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"task": task, "golds": entries}))
    return path


def pair(folder: Path, task: str, predictions: list[str], golds: list[str]) -> tuple[Path, Path]:
    return write(folder / "p.json", task, predictions), write(folder / "g.json", task, golds)


def test_predictions_are_matched_by_id(tmp_path):
    golds = write(tmp_path / "g.json", "LaMP_3", ["5", "1", "3"], ["a", "b", "c"])
    predictions = write(tmp_path / "p.json", "LaMP_3", ["3", "4", "1"], ["c", "a", "b"])
    report = score_files(predictions, golds)
    assert (report.task, report.examples) == ("LaMP_3", 3)
    assert report.metrics == pytest.approx({"MAE": 1 / 3, "RMSE": (1 / 3) ** 0.5})
    assert report.figure == pytest.approx(1 - 1 / 12)
    assert report.warnings == ()


@pytest.mark.parametrize(
    ("task", "prediction", "gold", "unparsable"),
    [
        ("LaMP_3", "[4]", "4", 1),
        ("LaMP_3", "nan", "4", 1),
        ("LaMP_3", "inf", "4", 1),
        ("LaMP_3", "", "4", 1),
        ("LaMP_3", "4.0", "4", 0),
        ("LaMP_2", "Comedy", "comedy", 1),
        ("LaMP_2", "", "comedy", 1),
        ("LaMP_1", "[4]", "[1]", 1),
        ("LaMP_5", "", "A title", 1),
    ],
)
def test_unparsable_predictions_are_counted_with_a_warning(tmp_path, task, prediction, gold, unparsable):
    report = score_files(*pair(tmp_path, task, [prediction, gold], [gold, gold]))
    assert report.unparsable == unparsable
    assert any("1 predictions could not be parsed" in warning for warning in report.warnings) == bool(
        unparsable
    )


def test_the_last_output_of_a_repeated_id_counts(tmp_path):
    golds = write(tmp_path / "g.json", "LaMP_1", ["[2]", "[1]", "[2]"], ["a", "a", "b"])
    predictions = write(tmp_path / "p.json", "LaMP_1", ["[2]", "[2]", "[1]", "[1]"], ["a", "b", "a", "a"])
    report = score_files(predictions, golds)
    assert (report.examples, report.metrics["accuracy"]) == (2, 1.0)
    assert (report.duplicate_predictions, report.duplicate_golds) == (1, 1)
    assert len(report.warnings) == 2


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a"], 'lacks id "b"'),
        (["a", "b", "c"], 'has id "c" without a gold'),
        (["a", "x", "y"], 'lacks id "b" and has ids "x", "y" without a gold'),
        ([*map(str, range(9))], '"0", "1", "2" and 6 more without a gold'),
    ],
)
def test_the_ids_must_be_the_same(tmp_path, ids, message):
    golds = write(tmp_path / "g.json", "LaMP_1", ["[1]", "[1]"], ["a", "b"])
    predictions = write(tmp_path / "p.json", "LaMP_1", ["[1]"] * len(ids), ids)
    with pytest.raises(UserError) as caught:
        score_files(predictions, golds)
    assert message in caught.value.message
    assert str(predictions) in caught.value.message
    assert str(golds) in caught.value.message


def test_the_tasks_must_be_the_same(tmp_path):
    predictions = write(tmp_path / "p.json", "LaMP_5", ["a"])
    with pytest.raises(UserError, match='"task" is "LaMP_5", expected "LaMP_4"'):
        score_files(predictions, write(tmp_path / "g.json", "LaMP_4", ["a"]))


@pytest.mark.parametrize(
    ("task", "golds", "message"),
    [
        ("LaMP_3", ["5", "7"], 'id "10": "output" is "7", expected one of 1, 2, 3, 4, 5'),
        ("LaMP_3", ["nan"], '"output" is "nan"'),
        ("LaMP_2", ["comedy", "drama"], 'id "10": "output" is "drama", expected one of sci-fi'),
        ("LaMP_1", ["[3]"], "expected one of [1], [2]"),
        ("LaMP-3", ["5"], '"task" is "LaMP-3", expected one of LaMP_1'),
        ("LaMP_4", [], '"golds" is empty'),
    ],
)
def test_invalid_golds_are_refused(tmp_path, task, golds, message):
    with pytest.raises(UserError) as caught:
        score_files(*pair(tmp_path, task, golds, golds))
    assert message in caught.value.message


@pytest.mark.parametrize("text", ["", "[]", '{"task": "LaMP_3"}', '{"task": "LaMP_3", "golds": [{"id": 1}]}'])
def test_a_file_with_another_format_is_refused_by_name(tmp_path, text):
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(UserError, match=r"p\.json"):
        score_files(tmp_path / "p.json", write(tmp_path / "g.json", "LaMP_3", ["5"]))


def test_the_old_news_task_is_recognised_by_its_golds(tmp_path):
    report = score_files(*pair(tmp_path, "LaMP_2", ["sports", "comedy"], ["sports", "crime"]))
    assert report.task == "LaMP_2N"
    assert (report.metrics["accuracy"], report.unparsable) == (0.5, 1)


def test_written_predictions_round_trip_with_lamps_task_name(tmp_path):
    write_predictions(tmp_path / "p.json", "LaMP_2N", {"0": "sports", "1": "crème"})
    document = json.loads((tmp_path / "p.json").read_text(encoding="utf-8"))
    assert document == {
        "task": "LaMP_2",
        "golds": [{"id": "0", "output": "sports"}, {"id": "1", "output": "crème"}],
    }


def folders(tmp_path: Path) -> tuple[Path, Path]:
    for task, golds in GOLDS.items():
        write(tmp_path / "golds" / f"{task}.json", task, golds)
        write(tmp_path / "predictions" / "any" / f"{task}-x.json", task, [golds[0], golds[0]])
    return tmp_path / "predictions", tmp_path / "golds"


def test_seven_files_give_seven_scores_and_the_primary_figure(tmp_path):
    report = score_folders(*folders(tmp_path))
    assert list(report.reports) == list(GOLDS)
    figures = {task: one.figure for task, one in report.reports.items()}
    assert figures["LaMP_1"] == 0.5
    assert figures["LaMP_3"] == 1 - (4 / 2) / 4
    assert figures["LaMP_6"] == pytest.approx((1 + 2 / 3) / 2)
    assert report.primary == pytest.approx(sum(figures.values()) / 7)


def test_the_benchmark_score_needs_all_seven_tasks_once(tmp_path):
    predictions, golds = folders(tmp_path)
    (golds / "again.json").write_text((golds / "LaMP_4.json").read_text())
    with pytest.raises(UserError, match=r'"task" is "LaMP_4", which .*LaMP_4\.json|again\.json'):
        score_folders(predictions, golds)
    (golds / "again.json").unlink()
    (predictions / "any" / "LaMP_7-x.json").unlink()
    with pytest.raises(UserError, match="has no file for LaMP_7"):
        score_folders(predictions, golds)


@pytest.mark.parametrize("task", [*GOLDS, "LaMP_2N"])
def test_scores_equal_lamps(tmp_path, task):
    """Against LaMP's eval/evaluation.py, written down here again: its mappings, its metrics, its median."""
    from personakit.tasks import get_task

    draw = random.Random(task)
    labels = get_task(task).labels
    if labels:
        golds = draw.choices(labels, k=120)
        wrong = ["", "nan of them", " [1]", labels[0].upper(), "3.5", "7"]
        predictions = [
            draw.choice([gold, f" {gold}\n", draw.choice(labels), draw.choice(wrong)]) for gold in golds
        ]
    else:
        words = ["the", "a", "Rain", "Spain,", "falls", "mainly", "42", "plains!", "Über", "naïve", "don't"]
        golds = [" ".join(draw.choices(words, k=draw.randint(1, 12))) for _ in range(120)]
        predictions = [
            draw.choice([gold, " ".join(draw.sample(gold.split(), k=len(gold.split()))), " ".join(words), ""])
            for gold in golds
        ]
    name = "LaMP_2" if task == "LaMP_2N" else task
    report = score_files(*pair(tmp_path, name, predictions, golds))
    expected = UPSTREAM[get_task(task).kind](predictions, golds, labels)
    for metric, value in expected.items():
        tolerance = 5e-4 if metric.startswith("rouge") else 1e-12
        assert report.metrics[metric] == pytest.approx(value, abs=tolerance), metric
    assert report.metrics.keys() == expected.keys()


def _labels_upstream(predictions, golds, labels):
    from sklearn.metrics import accuracy_score, f1_score

    def mapped(text):
        return list(labels).index(text.strip()) if text.strip() in labels else -1

    predicted, wanted = list(map(mapped, predictions)), list(map(mapped, golds))
    f1 = f1_score(wanted, predicted, labels=range(len(labels)), average="macro", zero_division=0)
    return {"accuracy": accuracy_score(wanted, predicted), "f1": f1}


def _ratings_upstream(predictions, golds, labels):
    def mapped(text, gold):
        try:
            return float(text)
        except ValueError:
            return 1.0 if abs(1 - float(gold)) > abs(5 - float(gold)) else 5.0

    errors = np.array(
        [mapped(text, gold) - float(gold) for text, gold in zip(predictions, golds, strict=True)]
    )
    return {"MAE": np.abs(errors).mean(), "RMSE": np.sqrt((errors**2).mean())}


def _texts_upstream(predictions, golds, labels):
    """rouge_score's own scorer; the median of 1,000 bootstrap means is upstream's aggregate."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rouge1", "rougeL"], use_stemmer=False)
    scores = [scorer.score(gold.strip(), text.strip()) for text, gold in zip(predictions, golds, strict=True)]
    values = np.array([[one["rouge1"].fmeasure, one["rougeL"].fmeasure] for one in scores])
    draws = np.random.default_rng(0).integers(len(values), size=(20_000, len(values)), dtype=np.uint8)
    medians = [np.median(values[:, column][draws].mean(axis=1)) for column in (0, 1)]
    return dict(zip(("rouge-1", "rouge-L"), medians, strict=True))


UPSTREAM = {"label": _labels_upstream, "ordinal": _ratings_upstream, "generation": _texts_upstream}


def test_golds_that_rouge_ignores_give_a_warning(tmp_path):
    golds = ["雨が降る", "Дождь идёт", "rain again", "naïve café"]
    report = score_files(*pair(tmp_path, "LaMP_4", golds, golds))
    assert report.unseen == 2
    assert report.metrics["rouge-1"] == 0.5  # the very same text, and still 0
    assert any("2 golds are mostly in a script" in warning for warning in report.warnings)
    assert score_files(*pair(tmp_path, "LaMP_3", ["5"], ["5"])).unseen == 0
