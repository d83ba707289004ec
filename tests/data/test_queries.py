"""What a user types becomes the benchmark's own input."""

from __future__ import annotations

import pytest

from personakit.data.lamp_formats import FORMATS, build_input
from personakit.data.queries import make_query


@pytest.mark.parametrize("task", sorted(FORMATS.keys() - {"LaMP_1"}))
def test_a_bare_text_is_put_into_the_task_s_wording(task: str) -> None:
    query = make_query("  some text\n", task=task)
    assert query.search_text == "some text"
    assert make_query(query.text, task=None) == query


def test_a_full_input_names_its_own_task() -> None:
    text = build_input("LaMP_1", title="a", ref1="b", ref2="c")
    query = make_query(text, task=None)
    assert (query.task, query.search_text) == ("LaMP_1", "b c")
