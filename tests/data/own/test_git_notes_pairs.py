from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from personakit.data import open_examples
from personakit.data.history import read_history
from personakit.data.skips import SkipCounts
from personakit.errors import UserError
from tests.data.own.conftest import Read, fields, skipped


def git(folder: Path, *arguments: str, author: str = "Kai Berg <kai@berg.example>", day: int = 1) -> None:
    name, _, address = author.rstrip(">").partition(" <")
    date = f"2024-03-{day:02}T12:00:00+00:00"
    identity = {
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", name), ("EMAIL", address), ("DATE", date))
    }
    none = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, env={**os.environ, **identity, **none})


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    messages = (
        (
            "Fixes the pump; it no longer hums\n\nThe seal was old.\n\nSigned-off-by: Kai Berg <k@b.example>",
            "Kai Berg",
        ),
        ("Added some more tests for things", "Lena Weiss"),
        ("Writes the list of seeds in order", "Kai Berg"),
        ('Revert "Writes the list of seeds in order"\n\nThis reverts commit 12.', "Kai Berg"),
        ("fixup! Writes the list of seeds", "Kai Berg"),
        ("Cuts the hedge before the birds nest", "Kai Berg"),
        ("Opens the gate at seven on Sundays", "Kai Berg"),
    )
    for day, (message, name) in enumerate(messages, start=1):
        for number in range(day):
            (folder / f"datei-ü{number}.txt").write_text(f"{day}\n")
        git(folder, "add", "-A")
        git(
            folder,
            "commit",
            "-q",
            "-m",
            message,
            author=f"{name} <{name[:4].strip().lower()}@x.example>",
            day=day,
        )
    return folder


def test_a_git_history_gives_the_messages_and_what_they_changed(repository: Path, read: Read) -> None:
    imported = read(repository, "kai")
    assert imported.report.format == "git"
    assert imported.texts == [
        "Fixes the pump; it no longer hums\n\nThe seal was old.",
        "Writes the list of seeds in order",
        "Cuts the hedge before the birds nest",
        "Opens the gate at seven on Sundays",
    ]
    assert imported.items[1]["request"] == (
        "Write the message of a commit that changes 3 files (+3 -2):\n"
        "datei-ü0.txt (+1 -1)\ndatei-ü1.txt (+1 -1)\ndatei-ü2.txt (+1 -0)"
    )
    assert fields(imported, "date")[0] == "2024-03-01T12:00:00"
    assert skipped(imported) == {
        ": reverts, whose text git writes": 1,
        ": commits to be merged into others (fixup!)": 1,
    }
    assert read(repository, "lena@x.example").texts == ["Added some more tests for things"]
    with pytest.raises(
        UserError, match=r"2 writers \(Kai Berg <kai@x.example> 6, Lena Weiss <lena@x.example> 1\)"
    ):
        read(repository)


def test_only_trailers_are_cut_from_a_commit_and_bots_are_left_out(tmp_path: Path, read: Read) -> None:
    git(tmp_path, "init", "-q", "-b", "main")
    bodies = (
        "Cuts the hedge before noon\n\nRun it so:\n\n    make hedge\n    make clean",
        "Paints the gate in green\n\nNote: it is wet until Friday.\nReviewed-by: Lena <l@x.example>",
        "Mends the roof of the hut\n\nReviewed-by: Lena <l@x.example>\nLink: https://x.example/1\n  goes on",
    )
    bot = "dependabot[bot] <1+dependabot[bot]@x.example>"
    for day, body in enumerate((*bodies, "Bumps the seeds from 1 to 2"), start=1):
        author = bot if day == 4 else "Kai Berg <kai@berg.example>"
        git(tmp_path, "commit", "-q", "--allow-empty", "-m", body, author=author, day=day)
    imported = read(tmp_path)  # the bot is no second writer
    assert imported.texts == [
        bodies[0],
        "Paints the gate in green\n\nNote: it is wet until Friday.",
        "Mends the roof of the hut",
    ]
    assert imported.report.read["commits left out because a bot wrote them"].count == 1


def test_a_repository_that_git_cannot_read(tmp_path: Path, read: Read) -> None:
    (tmp_path / "empty").mkdir()
    git(tmp_path / "empty", "init", "-q")
    with pytest.raises(UserError, match="git cannot read the history") as caught:
        read(tmp_path / "empty")
    assert "\n" not in caught.value.message


def test_notes_are_read_with_their_titles_and_dates(tmp_path: Path, read: Read) -> None:
    notes = tmp_path / "notes"
    (notes / ".obsidian").mkdir(parents=True)
    (notes / ".obsidian" / "x.md").write_text("not a note at all, but a setting")
    front = '---\ntitle: "On pumps"\ndate: 2024-03-05\ntags: [a]\n---\n'
    code = "Pumps hum when the seal is old.\n\n```\ncode()\n```\n\n> quoted words\n\nReplace it."
    (notes / "a.md").write_text(f"{front}# A heading\n\n{code}")
    (notes / "2024-03-06-on_bees.md").write_text("# On bees\n\nBees swarm in May, mostly at noon.")
    (notes / "2024-03-07-the-hedge.txt").write_text("The hedge is cut before the birds nest.")
    (notes / "latin.txt").write_bytes("Die Bücher über Bäume".encode("latin-1"))
    imported = read(notes)
    assert imported.report.format == "notes"
    assert [(item["date"], item["request"].split(": ")[1]) for item in imported.items] == [
        ("2024-03-05", "On pumps"),
        ("2024-03-06", "On bees"),
        ("2024-03-07", "the hedge"),
    ]
    assert imported.texts[0] == "Pumps hum when the seal is old.\n\nReplace it."
    assert imported.report.read["files left out because they are not UTF-8"].count == 1


def test_items_that_answer_nothing_are_in_the_history_of_writing(tmp_path: Path) -> None:
    path = tmp_path / "profile.jsonl"
    path.write_text('{"text": "we are out", "request": ""}\n{"text": "so long", "request": "bye"}\n')
    counts = SkipCounts()
    [profile] = read_history(path, "writing", counts=counts)
    assert [item.fields for item in profile.items] == [
        {"request": "", "text": "we are out"},
        {"request": "bye", "text": "so long"},
    ]
    path.write_text('{"text": "we are out"}\n')
    assert read_history(path, "writing")[0].items[0].fields["request"] == ""
    assert not [reason for reason in counts.report if "left out" in reason]


def test_long_notes_are_several_texts_and_undated_ones_have_their_files_time(
    tmp_path: Path, read: Read
) -> None:
    (tmp_path / "notes").mkdir()
    paragraph = "word " * 200
    (tmp_path / "notes" / "long.md").write_text("\n\n".join(f"{n} {paragraph}" for n in range(6)))
    os.utime(tmp_path / "notes" / "long.md", (1_700_000_000, 1_700_000_000))
    imported = read(tmp_path / "notes")
    assert [text[0] for text in imported.texts] == ["0", "2", "4"]
    assert fields(imported, "request") == ["Write a text with the title: long", None, None]
    assert set(fields(imported, "date")) == {"2023-11-14T22:13:20"}
    assert "files dated by their last change, because they have no date in them" in imported.report.read


def test_a_single_file_is_a_note(tmp_path: Path, read: Read) -> None:
    (tmp_path / "visit.md").write_text("# A visit\n\nThe hedge is cut before the birds nest.")
    imported = read(tmp_path / "visit.md")
    assert imported.report.format == "notes"
    assert imported.texts == ["The hedge is cut before the birds nest."]
    assert fields(imported, "request") == ["Write a text with the title: A visit"]
    plain = (tmp_path / "visit.md").rename(tmp_path / "visit.txt")
    with pytest.raises(UserError) as refused:
        read(plain)
    assert "--format notes" in refused.value.hint
    assert read(plain, format="notes").texts == imported.texts


def test_a_note_without_a_date_leaves_those_of_others(tmp_path: Path, read: Read) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "2020-01-02-pumps.md").write_text("Pumps hum when the seal is old.")
    (notes / "bees.md").write_text("Bees swarm in May, mostly at noon.")
    (notes / "other.md").write_text("---\nauthor: Lena\n---\nThe hedge is cut before the birds nest.")
    for path in notes.iterdir():
        os.utime(path, (1_700_000_000, 1_700_000_000))
    imported = read(notes, "me")
    assert fields(imported, "date") == ["2020-01-02", "2023-11-14T22:13:20"]
    assert imported.report.read["texts left out because another wrote them"].count == 1


def test_pairs_of_draft_and_final_are_rewrites_to_train_on(tmp_path: Path, read: Read) -> None:
    source = tmp_path / "pairs.csv"
    rows = [f'"Draft {n} is here.","hey, {n} it is! k.",2024-03-{n:02}' for n in range(1, 21)]
    source.write_text("Draft,Final,date\n" + "\n".join(reversed(rows)) + "\n,empty,2024-03-21\n")
    imported = read(source)
    assert (imported.report.format, imported.own.drafts, imported.own.requests) == ("pairs", 20, 0)
    assert imported.report.read['rows left out because "Draft" is empty or missing'].count == 1
    assert imported.items[0] == {
        "id": imported.items[0]["id"],
        "date": "2024-03-01",
        "draft": "Draft 1 is here.",
    } | {"text": "hey, 1 it is! k."}
    test, train = (open_examples(imported.folder, "rewriting", split) for split in ("test", "train"))
    assert {each.query.search_text for each in test} == {f"Draft {n} is here." for n in (18, 19, 20)}
    assert len(train) == 14
    for each in (*test, *train):
        newest = max(item.date or "" for item in each.profile.items) if each.profile.items else ""
        number = int(each.query.search_text.split()[1])
        assert newest < f"2024-03-{number:02}"


def test_pairs_of_several_writers_and_other_columns(tmp_path: Path, read: Read) -> None:
    source = tmp_path / "pairs.jsonl"
    lines = [
        f'{{"before": "Draft {n} of {who}", "after": "final {n} of {who}", "user_id": "{who}"}}'
        for n in range(4)
        for who in ("ada", "kai")
    ]
    source.write_text("\n".join(lines))
    columns = {"draft": "before", "final": "after"}
    with pytest.raises(UserError, match=r"2 writers \(ada 4, kai 4\)"):
        read(source, columns=columns)
    imported = read(source, "kai", columns=columns)
    assert imported.texts == [f"final {n} of kai" for n in range(4)]
    with pytest.raises(UserError, match='pairs have no field "text", they have draft, final'):
        read(source, "kai", columns=columns | {"text": "after"})
