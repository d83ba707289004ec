"""Parsing of answers, and their rewards."""

from __future__ import annotations

import dataclasses

import pytest

from personakit.errors import UserError
from personakit.tasks import get_task, task_names


@pytest.mark.parametrize(
    ("name", "text", "answer"),
    [
        ("LaMP_1", " [1]\n", "[1]"),
        ("LaMP_1", "The answer is [2].", "[2]"),
        ("LaMP_1", "[1] or [2]", None),
        ("LaMP_1", "1", "[1]"),
        ("LaMP_1", "**Answer:** 2", "[2]"),
        ("LaMP_1", "Between [1] and [2], the answer is [2].", "[2]"),
        ("LaMP_1", "[1]\n\n[2] is less related.", "[1]"),
        ("LaMP_1", "Both [1] and [2] are 2 papers of 1 author", None),
        ("LaMP_2", "comedy", "comedy"),
        ("LaMP_2", "Tag: Comedy.", "comedy"),
        ("LaMP_2", "It is a Dark Comedy", "dark comedy"),
        ("LaMP_2", "comedy, surely a comedy", "comedy"),
        ("LaMP_2", "comedy and action", None),
        ("LaMP_2", "The tag for this movie is: comedy. It has action, too.", "comedy"),
        ("LaMP_2", "There is action, but this is a **comedy**.", "comedy"),
        ("LaMP_2", "comedy\n\nThe movie also has action.", "comedy"),
        ("LaMP_2", "comedy, a dark comedy", None),
        ("LaMP_1", "[1] is more relevant than [2].", "[1]"),
        ("LaMP_1", "2, because [1] is about cats", "[2]"),
        ("LaMP_1", "[1]. A survey\n[2]. A proof\n\nThe answer is [2]", "[2]"),
        ("LaMP_1", "[1] is not as relevant as [2]", None),
        ("LaMP_2", "comedy, because of the action scenes", "comedy"),
        ("LaMP_2", "**comedy**. It has action, too.", "comedy"),
        ("LaMP_2", "comedy - although it has action", "comedy"),
        ("LaMP_2", "comedy, action", None),
        ("LaMP_2", "comedy; action", None),
        ("LaMP_2", "comedy. action.", None),
        ("LaMP_2", "reaction", None),
        ("LaMP_2", "", None),
        ("LaMP_2N", "Science & Technology!", "science & technology"),
        ("LaMP_3", "4", "4"),
        ("LaMP_3", "[4]", "4"),
        ("LaMP_3", "4/5 stars", "4"),
        ("LaMP_3", "I rate it 10, or 5", "5"),
        ("LaMP_3", "On a scale of 1 to 5, I would rate this a 4.", "4"),
        ("LaMP_3", "Score: 2 (on a scale of 1-5)", "2"),
        ("LaMP_3", "Rating: 4/5", "4"),
        ("LaMP_3", "**4**", "4"),
        ("LaMP_3", "I bought 2 of them. 5 stars!", "5"),
        ("LaMP_3", "The product is 5 years old; I'd rate it a 4.", "4"),
        ("LaMP_3", "3 out of 5", "3"),
        ("LaMP_3", "I'd give it four out of five stars.", "4"),
        ("LaMP_3", "Of 1, 2, 3, 4, or 5: 3", "3"),
        ("LaMP_3", "Rating: 4.5/5", "4.5"),
        ("LaMP_3", "4\n\nExplanation: the user has given 5 stars in the past.", "4"),
        ("LaMP_3", "Score: 4. The user's earlier reviews had 5 stars.", "4"),
        ("LaMP_3", "**Rating:** 4 - earlier ones were 5 stars", "4"),
        ("LaMP_3", "The answer would be: **2** (since most are 5 stars)", "2"),
        ("LaMP_3", "4. I would rate 2 others lower", "4"),
        ("LaMP_3", "I would rate 2 others lower, this one 4 stars", "4"),
        ("LaMP_3", "I would rate it 4. Earlier ones had 5 stars.", "4"),
        ("LaMP_3", "1. It is cheap.\n2. It broke.\n\nRating: 3", "3"),
        ("LaMP_3", "2 of them broke. 3 stars", "3"),
        ("LaMP_3", "on a scale of 1 to 5", None),
        ("LaMP_3", "4.5", None),
        ("LaMP_3", "7", None),
        ("LaMP_3", "five", "5"),
        ("LaMP_3", "one of the five best", None),
        ("LaMP_4", "\n  A Headline \nand more", "A Headline"),
        ("LaMP_4", " \n ", None),
        ("LaMP_7", " two\nlines \n", "two\nlines"),
        ("rewriting", "Dear all,\n\nCome.\n", "Dear all,\n\nCome."),
        ("rewriting", "", None),
    ],
)
def test_the_answer_is_parsed_from_the_text(name, text, answer):
    assert get_task(name).parse(text) == answer


@pytest.mark.parametrize("name", [name for name in task_names() if get_task(name).labels])
def test_every_label_parses_as_itself(name):
    task = get_task(name)
    assert [task.parse(f" {label} ") for label in task.labels] == list(task.labels)
    assert [task.parse(f"I say {label}.") for label in task.labels] == list(task.labels)


def test_the_longer_of_two_overlapping_labels_is_parsed():
    task = dataclasses.replace(get_task("LaMP_2"), labels=("war", "war film"))
    assert (task.parse("A war film!"), task.parse("It is war.")) == ("war film", "war")


@pytest.mark.parametrize(
    ("name", "text", "gold", "reward"),
    [
        ("LaMP_1", " [1] ", "[1]", 1.0),
        ("LaMP_1", "[2]", "[1]", 0.0),
        ("LaMP_2", "Comedy", "comedy", 0.0),
        ("LaMP_3", "5", "5", 1.0),
        ("LaMP_3", "4", "5", 3 / 4),
        ("LaMP_3", "1", "5", 0.0),
        ("LaMP_3", "5", "3", 0.0),
        ("LaMP_3", "2", "3", 1 / 2),
        ("LaMP_3", "4", "2", 1 / 3),
        ("LaMP_3", "9", "3", 0.0),
        ("LaMP_3", "nan", "3", 0.0),
        ("LaMP_3", "[4]", "4", 0.0),
        ("LaMP_3", "", "1", 0.0),
        ("LaMP_4", "a b c d", "A, B!", 2 * 0.5 * 1 / 1.5),
        ("LaMP_7", "", "a", 0.0),
        ("rewriting", "b a", "a b", 0.5),
    ],
)
def test_rewards(name, text, gold, reward):
    assert get_task(name).reward(text, gold) == pytest.approx(reward)


def test_the_reward_of_a_text_may_be_the_mean_of_both_rouges():
    task = dataclasses.replace(get_task("LaMP_5"), reward_metrics=("rouge-1", "rouge-L"))
    assert task.reward("b a", "a b") == pytest.approx((1.0 + 0.5) / 2)


@pytest.mark.parametrize(
    ("name", "prediction", "gold", "utility"),
    [
        ("LaMP_2", "comedy ", "comedy", 1.0),
        ("LaMP_2", "none", "comedy", 0.0),
        ("LaMP_3", "4", "5", 0.75),
        ("LaMP_3", "4.5", "5", 0.875),
        ("LaMP_3", "no", "3", 0.5),
        ("LaMP_3", "no", "1", 0.0),
        ("LaMP_3", "99", "1", 0.0),
        ("LaMP_6", "Re: lunch", "lunch", 2 / 3),
        ("rewriting", "b a", "a b", 0.5),
    ],
)
def test_utilities_are_in_the_unit_interval_and_higher_is_better(name, prediction, gold, utility):
    assert get_task(name).utility(prediction, gold) == pytest.approx(utility)


@pytest.mark.parametrize("spelling", ["LaMP_3", "LaMP-3", "lamp_3", "lamp-3"])
def test_task_names_have_alternative_spellings(spelling):
    assert get_task(spelling).name == "LaMP_3"


def test_an_unknown_task_gets_a_suggestion():
    with pytest.raises(UserError, match='unknown task "LaMP_33"') as caught:
        get_task("LaMP_33")
    assert "LaMP_3" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "kind", "metrics", "lower"),
    [
        ("LaMP_1", "label", ("accuracy", "f1"), False),
        ("LaMP_3", "ordinal", ("MAE", "RMSE"), True),
        ("LaMP_7", "generation", ("rouge-1", "rouge-L"), False),
    ],
)
def test_metrics_have_upstreams_names(name, kind, metrics, lower):
    task = get_task(name)
    assert (task.kind, task.metrics, task.primary, task.lower_is_better) == (kind, metrics, metrics[0], lower)
