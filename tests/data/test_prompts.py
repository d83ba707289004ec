"""Prompts under other names and in conversations; nothing is guessed from the answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from personakit.data.history import read_history
from personakit.data.imports import import_data
from personakit.data.instructions import open_instructions
from personakit.data.preferences import open_preferences
from personakit.data.tables import read_rows
from personakit.errors import UserError

Row = dict[str, Any]
SPLITS = ("train", "dev", "test")


def user(text: str) -> Row:
    return {"role": "user", "content": text}


def assistant(text: str) -> Row:
    return {"role": "assistant", "content": text}


def human(text: str) -> Row:
    return {"from": "human", "value": text}


def gpt(text: str) -> Row:
    return {"from": "gpt", "value": text}


A, B = "The same beginning, then yes {}", "The same beginning, then no {}"
PREFERENCES: dict[str, tuple[Row, str]] = {
    "instruction": ({"instruction": "ask {}", "chosen": A, "rejected": B}, "ask {}"),
    "instruction and input": (
        {"instruction": "ask {}", "input": "of this", "chosen": A, "rejected": B},
        "ask {}\nof this",
    ),
    "instruction and no input": (
        {"instruction": "ask {}", "input": None, "chosen": A, "rejected": B},
        "ask {}",
    ),
    "question and system": (
        {"system": "Be brief.", "question": "ask {}", "chosen": A, "rejected": B},
        "system: Be brief.\nuser: ask {}",
    ),
    "question without a system message": (
        {"system": "", "question": "ask {}", "chosen": A, "rejected": B},
        "ask {}",
    ),
    "query": ({"query": "ask {}", "chosen": A, "rejected": B}, "ask {}"),
    "x": ({"x": "ask {}", "chosen": A, "rejected": B}, "ask {}"),
    "history": (
        {"instruction": "ask {}", "history": [["before", "yes"]], "chosen": A, "rejected": B},
        "user: before\nassistant: yes\nuser: ask {}",
    ),
    "ShareGPT": (
        {"conversations": [human("ask {}")], "chosen": gpt(A), "rejected": gpt(B)},
        "ask {}",
    ),
    "messages": (
        {
            "messages": [user("one"), assistant("two"), user("ask {}")],
            "chosen": A,
            "rejected": [assistant(B)],
        },
        "user: one\nassistant: two\nuser: ask {}",
    ),
    "parts": (
        {
            "messages": [{"role": "user", "content": [{"type": "text", "text": "ask {}"}]}],
            "chosen": A,
            "rejected": B,
        },
        "ask {}",
    ),
    "whole conversations": (
        {"chosen": [user("ask {}"), assistant(A)], "rejected": [user("ask {}"), assistant(B)]},
        "ask {}",
    ),
    "whole ShareGPT conversations": (
        {"chosen": [human("ask {}"), gpt(A)], "rejected": [human("ask {}"), gpt(B)]},
        "ask {}",
    ),
    "a prompt column that the conversations repeat": (
        {
            "prompt": "ask {}",
            "messages": [user("ask {}"), assistant(A)],
            "chosen": [user("ask {}"), assistant(A)],
            "rejected": [user("ask {}"), assistant(B)],
        },
        "ask {}",
    ),
    "Anthropic's text": (
        {
            "chosen": f"\n\nHuman: one\n\nAssistant: two\n\nHuman: ask {{}}\n\nAssistant: {A}",
            "rejected": f"\n\nHuman: one\n\nAssistant: two\n\nHuman: ask {{}}\n\nAssistant: {B}",
        },
        "user: one\nassistant: two\nuser: ask {}",
    ),
}


def numbered(value: Any, number: int) -> Any:
    """Return a row with `{}` replaced in every text."""
    return json.loads(json.dumps(value).replace("{}", str(number)))


@pytest.mark.parametrize("suffix", ["json", "jsonl", "parquet"])
@pytest.mark.parametrize("name", PREFERENCES)
def test_the_prompt_of_a_preference_is_found(name: str, suffix: str, tmp_path: Path) -> None:
    row, expected = PREFERENCES[name]
    rows = [{"user_id": f"u{n % 3}", **numbered(row, n)} for n in range(12)]
    path = tmp_path / f"pairs.{suffix}"
    if suffix == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text(json.dumps(rows) if suffix == "json" else "\n".join(map(json.dumps, rows)))
    report = import_data(path, tmp_path / "out").preferences
    assert report is not None
    assert (report.kept, report.pairs, report.skipped) == (12, 12, {})
    found = {}
    for split in SPLITS:
        for one in open_preferences(tmp_path / "out", split):
            found |= {pair.prompt: (pair.chosen, pair.rejected) for pair in (*one.signals.pairs, *one.pairs)}
    assert found == {numbered(expected, n): (numbered(A, n), numbered(B, n)) for n in range(12)}


REFUSED: dict[str, tuple[Row, str, str]] = {
    "no prompt": (
        {"chosen": A, "rejected": B},
        "its columns are user_id, chosen, rejected",
        "--column prompt=",
    ),
    "another name": (
        {"request": "ask", "chosen": A, "rejected": B},
        "its columns are user_id, request, chosen, rejected",
        "--column prompt=",
    ),
    "two names": (
        {"question": "ask", "query": "ask", "chosen": A, "rejected": B},
        "has the columns question and query, each of which may be the prompt",
        "--column prompt=question",
    ),
    "two conversations": (
        {"messages": [user("a")], "conversations": [human("a")], "chosen": A, "rejected": B},
        "has the columns messages and conversations",
        "--column prompt=messages",
    ),
    "one text, one conversation": (
        {"chosen": [user("a"), assistant("b")], "rejected": B},
        "has no known prompt column",
        "--column prompt=",
    ),
    "another prompt than the conversations": (
        {"prompt": "ask", "chosen": [user("a"), assistant("b")], "rejected": [user("a"), assistant("c")]},
        "their last request 'a' is not the prompt 'ask'",
        "one answer",
    ),
    "an image": (
        {
            "messages": [{"role": "user", "content": [{"type": "image", "url": "x"}]}],
            "chosen": A,
            "rejected": B,
        },
        "\"content\" 1 is of the type 'image', expected a text",
        "images",
    ),
    "a history that is a text": (
        {"instruction": "a", "history": "b", "chosen": A, "rejected": B},
        "\"history\" is 'b', expected earlier requests and answers",
        "remove",
    ),
    "a message without a role": (
        {"conversations": [{"value": "a"}], "chosen": A, "rejected": B},
        'message 1: "role" is missing',
        "",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_prompt_is_never_guessed(name: str, tmp_path: Path) -> None:
    row, said, hint = REFUSED[name]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps({"user_id": "u", **row}) + "\n" for _ in range(4)))
    with pytest.raises(UserError) as raised:
        import_data(path, tmp_path / "out")
    assert f"{path}, line 1" in raised.value.message
    assert said in raised.value.message
    assert hint in raised.value.hint
    assert not (tmp_path / "out").exists()


def test_a_column_may_be_named(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"user": f"u{n % 3}", **numbered({"request": "ask {}", "chosen": A, "rejected": B}, n)}
        for n in range(12)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    import_data(path, tmp_path / "out", columns={"prompt": "request"})
    assert open_preferences(tmp_path / "out", "train")[0].pairs[0].prompt.startswith("ask ")


WORDS = "river heron reed otter stone cloud frost maple copper violin harbor candle".split()  # noqa: SIM905
INSTRUCTIONS: dict[str, tuple[Row, str, str]] = {
    "messages": ({"messages": [user("ask {}"), assistant("say {}")]}, "ask {}", "conversations"),
    "ShareGPT": (
        {"conversations": [{"from": "system", "value": "Be brief."}, human("ask {}"), gpt("say {}")]},
        "system: Be brief.\nuser: ask {}",
        "conversations",
    ),
    "several turns": (
        {"messages": [user("one"), assistant("two"), user("ask {}"), assistant("say {}")]},
        "user: one\nassistant: two\nuser: ask {}",
        "conversations",
    ),
    "prompt and completion": ({"prompt": "ask {}", "completion": "say {}"}, "ask {}", "prompt-completion"),
    "TRL's conversational form": (
        {"prompt": [user("ask {}")], "completion": [assistant("say {}")]},
        "ask {}",
        "prompt-completion",
    ),
    "question and answer": ({"question": "ask {}", "answer": "say {}"}, "ask {}", "prompt-completion"),
    "Alpaca with a system message": (
        {"system": "Be brief.", "instruction": "ask {}", "input": "", "output": "say {}"},
        "system: Be brief.\nuser: ask {}",
        "alpaca",
    ),
}


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_conversations_are_instructions(name: str, tmp_path: Path) -> None:
    row, expected, format = INSTRUCTIONS[name]
    texts = [f"{WORDS[n % 12]} {WORDS[n * 5 % 12]} {WORDS[n * 7 % 12]} {n}" for n in range(12)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row).replace("{}", text) + "\n" for text in texts))
    report = import_data(path, tmp_path / "out").instructions
    assert report is not None
    assert (report.format, report.kept) == (format, 12)
    found = {
        one.instruction: one.output
        for split in ("lora", "train", "dev", "test")
        for one in open_instructions(tmp_path / "out", split)
    }
    assert found == {expected.replace("{}", text): f"say {text}" for text in texts}


def test_conversations_without_an_answer_are_counted(tmp_path: Path) -> None:
    rows = [{"messages": [user(f"{word} {n}"), assistant(f"say {word}")]} for n, word in enumerate(WORDS)]
    rows += [{"messages": [user("and?")]}, {"messages": []}]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = import_data(path, tmp_path / "out").instructions
    assert report is not None
    skip = report.skipped["conversations that do not end with an answer"]
    assert (report.kept, skip.count, skip.first) == (12, 2, f"{path}, line 13")


def test_the_user_s_messages_of_conversations_are_a_history(tmp_path: Path) -> None:
    path = tmp_path / "chats.json"
    path.write_text(json.dumps([{"conversations": [human("one"), gpt("no"), human("two")]}]))
    (me,) = read_history(path, "LaMP_7")
    assert [item.fields for item in me.items] == [{"text": "one"}, {"text": "two"}]
    assert len({item.id for item in me.items}) == 2
    assert len(list(read_rows(path))) == 1


def test_an_unknown_table_names_its_columns(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"request": "a", "reply": "b"}\n')
    with pytest.raises(UserError, match=r"\(request, reply\) is a history, and no task was given"):
        import_data(tmp_path / "rows.jsonl", tmp_path / "out")
