from __future__ import annotations

import pytest

from personakit.data.lamp_leaderboard import published_rows, recognised_split


def test_published_values_equal_lamps_leaderboard():
    rows = {(row["model"], row["task"], row["metric"]): row["value"] for row in published_rows("user", TASKS)}
    assert rows["FlanT5-XXL zero-shot", "LaMP_1", "accuracy"] == 0.520
    assert rows["FlanT5-XXL zero-shot + retrieval", "LaMP_3", "RMSE"] == 0.552
    assert rows["GPT-3.5 zero-shot + retrieval", "LaMP_7", "rouge-L"] == 0.322
    assert ("GPT-3.5 zero-shot", "LaMP_6", "rouge-1") not in rows  # its licence: nobody published it
    rows = {(row["model"], row["task"], row["metric"]): row["value"] for row in published_rows("time", TASKS)}
    assert rows["ROPG-RSPG (FlanT5-XXL zero-shot)", "LaMP_4", "rouge-1"] == 0.203
    assert rows["FlanT5-base fine-tuned + retrieval", "LaMP_2", "f1"] == 0.519


TASKS = [f"LaMP_{number}" for number in range(1, 8)]


def test_published_rows_are_marked_and_of_evaluated_tasks():
    rows = published_rows("time", ["LaMP_3"])
    assert {row["task"] for row in rows} == {"LaMP_3"}
    assert all(row["published"] for row in rows)


@pytest.mark.parametrize(
    ("sizes", "dated", "split"),
    [
        ({"LaMP_3": 2500, "LaMP_7": 1500}, False, "user"),
        ({"LaMP_2": 1410}, True, "time"),
        ({"LaMP_2": 1410}, False, None),
        ({"LaMP_3": 300}, False, None),  # another benchmark of the same tasks
        ({"LaMP_3": 2500, "LaMP_4": 300}, False, None),
        ({}, False, None),
    ],
)
def test_lamps_splits_are_recognised_by_size(sizes: dict[str, int], dated: bool, split: str | None):
    assert recognised_split(sizes, dated=dated) == split
