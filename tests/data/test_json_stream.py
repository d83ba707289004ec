from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from personakit import steps
from personakit.data.json_stream import ListReader, stream_list
from personakit.errors import UserError

texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(['"]}', "]}, {", '\\"}]}', "}]", '"user_id": "', "\\", "\u2028\U0001f600"]),
)
items = st.dictionaries(texts, texts, max_size=3)
questions = st.builds(
    lambda id, text, profile, user, last: {
        "id": id,
        "input": text,
        "profile": profile,
        **({"user_id": user} if last else {}),
    },
    texts,
    texts,
    st.lists(items, max_size=3),
    texts,
    st.booleans(),
)
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
layouts = st.fixed_dictionaries(
    {
        "indent": st.sampled_from([None, 0, 2]),
        "ensure_ascii": st.booleans(),
        "separators": st.sampled_from([None, (",", ":"), (" , ", " : ")]),
    }
)
relaxed = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@relaxed
@given(st.lists(questions, max_size=6) | st.lists(anything, max_size=6), layouts, st.integers(1, 90))
def test_the_stream_gives_what_json_load_gives(
    tmp_path: Path, elements: list[Any], layout: dict[str, Any], chunk_bytes: int
) -> None:
    path = tmp_path / "list.json"
    path.write_text(json.dumps(elements, **layout) + "\n", encoding="utf-8")
    assert list(stream_list(path, chunk_bytes=chunk_bytes)) == json.loads(path.read_text(encoding="utf-8"))


@relaxed
@given(st.lists(questions, min_size=1, max_size=3), st.booleans(), st.integers(1, 90), st.data())
def test_a_file_cut_off_anywhere_is_refused_by_name(
    tmp_path: Path, elements: list[Any], ensure_ascii: bool, chunk_bytes: int, data: st.DataObject
) -> None:
    whole = json.dumps(elements, ensure_ascii=ensure_ascii).encode()
    path = tmp_path / "cut.json"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(UserError, match=r"cut\.json"):
        list(stream_list(path, chunk_bytes=chunk_bytes))


@relaxed
@given(st.lists(questions, min_size=1, max_size=3), st.integers(1, 90), st.data())
def test_a_changed_byte_is_refused_or_read_as_json_would(
    tmp_path: Path, elements: list[Any], chunk_bytes: int, data: st.DataObject
) -> None:
    changed = bytearray(json.dumps(elements, ensure_ascii=False).encode())
    changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "changed.json"
    path.write_bytes(changed)
    try:
        expected = json.loads(bytes(changed).decode("utf-8"))
    except ValueError:
        expected = None
    if isinstance(expected, list):
        assert list(stream_list(path, chunk_bytes=chunk_bytes)) == expected
    else:
        with pytest.raises(UserError, match=r"changed\.json"):
            list(stream_list(path, chunk_bytes=chunk_bytes))


@pytest.mark.parametrize("last_key", ["profile", "user_id"])
def test_a_large_file_is_never_held_whole(tmp_path: Path, last_key: str) -> None:
    path = tmp_path / "large.json"
    profile = [{"id": "1", "text": "w" * 1000}] * 50
    question = {"id": "1", "input": "x", "profile": profile}
    if last_key == "user_id":
        question["user_id"] = "u"
    path.write_text(json.dumps([question] * 200))
    tracemalloc.start()
    count = sum(1 for _ in stream_list(path, chunk_bytes=1 << 18))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 200
    assert path.stat().st_size > 10_000_000
    assert peak < 2_500_000


def test_the_progress_of_a_small_file_counts_no_megabytes(tmp_path: Path) -> None:
    path = tmp_path / "small.json"
    path.write_text("[{}]")
    with ListReader(path):
        assert steps.running()[-1].text() == "reading small.json: 0:00 so far"


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "marked.json"
    path.write_bytes(b"\xef\xbb\xbf[1, 2]")
    assert list(stream_list(path)) == [1, 2]
