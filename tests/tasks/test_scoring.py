"""Official scores against scikit-learn and rouge_score, and the edge cases of LaMP's rules."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error, mean_squared_error

from personakit.tasks import get_task, task_names
from personakit.tasks.scoring import official_rating

LABELLED = [name for name in task_names() if get_task(name).kind == "label"]
TEXTS = [name for name in task_names() if get_task(name).kind == "generation"]


@pytest.mark.parametrize("name", LABELLED)
@pytest.mark.parametrize("seed", range(3))
def test_label_scores_equal_scikit_learns(name, seed):
    draw = random.Random(seed)
    labels = list(get_task(name).labels)
    golds = draw.choices(labels[: len(labels) - 1 + seed % 2], k=80)  # a label may be on neither side
    predictions = [draw.choice([gold, draw.choice(labels), "none", f" {gold}\n"]) for gold in golds]
    stripped = [text.strip() for text in predictions]
    assert get_task(name).score(predictions, golds) == {
        "accuracy": accuracy_score(golds, stripped),
        "f1": f1_score(golds, stripped, labels=labels, average="macro", zero_division=0),
    }


def test_an_unused_label_counts_in_macro_f1():
    assert get_task("LaMP_2").score(["comedy"] * 3, ["comedy"] * 3) == {"accuracy": 1.0, "f1": 1 / 15}


@pytest.mark.parametrize("wrong", ["[1", "1", "", "[1] ", "[2]", "[ 1 ]", "[1] [1]"])
def test_a_label_must_match_exactly(wrong):
    assert get_task("LaMP_1").score([wrong], ["[1]"])["accuracy"] == float(wrong.strip() == "[1]")


def test_labels_are_compared_with_case():
    assert get_task("LaMP_2").score(["Comedy", "comedy"], ["comedy", "comedy"])["accuracy"] == 0.5


@pytest.mark.parametrize("seed", range(3))
def test_rating_scores_equal_scikit_learns(seed):
    draw = random.Random(seed)
    golds = draw.choices("12345", k=60)
    predictions = draw.choices(["1", "2", " 3 ", "4.5", "5", "7", "-1", "1e0"], k=60)
    truth, read = [float(gold) for gold in golds], [float(text) for text in predictions]
    scores = get_task("LaMP_3").score(predictions, golds)
    assert scores["MAE"] == pytest.approx(mean_absolute_error(truth, read), abs=1e-12)
    assert scores["RMSE"] == pytest.approx(math.sqrt(mean_squared_error(truth, read)), abs=1e-12)


@pytest.mark.parametrize(
    "unreadable", ["[4]", "nan", "inf", "-inf", "NaN", "", " ", "four", "4 stars", "4,5"]
)
@pytest.mark.parametrize(("gold", "read_as"), [("1", 5), ("2", 5), ("3", 5), ("4", 1), ("5", 1)])
def test_an_unparsable_rating_counts_as_the_farther_endpoint(unreadable, gold, read_as):
    task = get_task("LaMP_3")
    error = abs(read_as - float(gold))
    assert task.unparsable(unreadable)
    assert official_rating(unreadable, gold) == read_as
    assert task.score([unreadable], [gold]) == {"MAE": error, "RMSE": error}
    assert task.sample_scores(unreadable, gold) == {"MAE": error, "RMSE": error}


def random_texts(draw: random.Random, count: int) -> list[str]:
    words = ["The", "the", "cat's", "U.S.", "café", "日本", "-", "10", "runs", "running", "!", "\n"]
    return [" ".join(draw.choices(words, k=draw.randrange(9))) for _ in range(count)]


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("seed", range(3))
def test_text_scores_equal_rouge_scores(name, seed):
    draw = random.Random(seed)
    golds, predictions = random_texts(draw, 60), random_texts(draw, 60)
    by_hand = RougeScorer(["rouge1", "rougeL"], use_stemmer=False)
    expected = [by_hand.score(gold, text) for gold, text in zip(golds, predictions, strict=True)]
    scores = get_task(name).score(predictions, golds)
    assert scores["rouge-1"] == pytest.approx(
        np.mean([one["rouge1"].fmeasure for one in expected]), abs=1e-12
    )
    assert scores["rouge-L"] == pytest.approx(
        np.mean([one["rougeL"].fmeasure for one in expected]), abs=1e-12
    )


def test_rouge_does_not_stem():
    assert get_task("LaMP_4").score(["running cats"], ["run cat"])["rouge-1"] == 0.0


@pytest.mark.parametrize("name", task_names())
def test_the_corpus_score_is_the_mean_of_samples(name):
    task, draw = get_task(name), random.Random(0)
    golds = draw.choices(task.labels, k=40) if task.labels else random_texts(draw, 40)
    predictions = [*draw.choices(golds, k=35), "nan", "[4]", "", "x", "5.5"]
    corpus = task.score(predictions, golds)
    samples = [task.sample_scores(text, gold) for text, gold in zip(predictions, golds, strict=True)]
    for metric in samples[0]:
        power = 2 if metric == "RMSE" else 1
        mean = np.mean([sample[metric] ** power for sample in samples]) ** (1 / power)
        assert corpus[metric] == pytest.approx(mean, abs=1e-12)
    utilities = [task.utility(text, gold) for text, gold in zip(predictions, golds, strict=True)]
    assert task.figure(corpus) == pytest.approx(np.mean(utilities), abs=1e-12)
    assert all(0.0 <= utility <= 1.0 for utility in utilities)


def test_scoring_nothing_is_an_error():
    for predictions, golds in (([], []), (["a"], ["a", "b"])):
        with pytest.raises(ValueError, match="predictions for"):
            get_task("LaMP_4").score(predictions, golds)


@pytest.mark.parametrize(
    ("prediction", "gold", "expected"),
    [("kitten", "sitting", 1 - 3 / 7), ("", "", 1), ("", "ab", 0), ("ab", "", 0), ("a\n", " a", 1)],
)
def test_edit_similarity_is_relative_to_the_longer_text(prediction, gold, expected):
    assert get_task("rewriting").sample_scores(prediction, gold)["edit-similarity"] == expected


def test_rewriting_reports_words_order_characters_and_equality():
    assert get_task("rewriting").score(["b a", "same"], ["a b", "same"]) == pytest.approx(
        {"rouge-L": 0.75, "rouge-1": 1.0, "edit-similarity": (1 / 3 + 1) / 2, "exact": 0.5}
    )
