"""Each broken source gives one sentence, or a text with a counted skip; nothing is half-written."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from personakit.data.imports import import_data
from personakit.data.own.importing import OwnChoice
from personakit.data.own.mbox import messages
from personakit.errors import UserError
from tests.data.own.messages import LENA, mail, write_mbox

FROM = b"From kai@x.example Fri Mar  1 12:00:00 2024\n"
GOOD = mail("Friday works for me, I bring the keys.")
CHAT = "05/02/24, 10:01 - Kai: the pump hums again\n"
TELEGRAM = '{"name": "L", "type": "personal_chat", "id": 7, "messages": [{"id": 1, "from_id": "user1"'


def text(path: Path, name: str, content: str | bytes) -> Path:
    """Write a file of this name and return it."""
    file = path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def slack(path: Path, day: str) -> Path:
    text(path, "s/users.json", "[]")
    text(path, "s/channels.json", "[]")
    text(path, "s/general/2024-03-01.json", day)
    return path / "s"


def folder(path: Path) -> Path:
    (path / "f").mkdir()
    return path / "f"


Make = Callable[[Path], Path]

REFUSED: dict[str, tuple[Make, str]] = {
    "nothing there": (lambda path: path / "none.mbox", "none.mbox does not exist"),
    "an empty file": (lambda path: text(path, "a.mbox", ""), "a.mbox is empty"),
    "an empty folder": (folder, "holds nothing to import"),
    "an empty Maildir": (
        lambda path: text(path, "m/new/.keep", text(path, "m/cur/.keep", "").read_bytes()).parent.parent,
        "has no text with a writer, expected at least one",
    ),
    "an mbox without a message of the writer": (
        lambda path: write_mbox(path / "b", mail("Hello to you all over there", sender=LENA)),
        'has no text by "kai", it has Lena Weiss <lena@weiss.example> 1',
    ),
    "an mbox of nothing but replies by machines": (
        lambda path: write_mbox(path / "b", mail("I am away until Monday.", Auto_Submitted="auto-replied")),
        "has no usable text by Kai Berg .*: 1 text left out: automatic replies",
    ),
    "an mbox of separators": (lambda path: text(path, "b", FROM * 3), "has no text with a writer"),
    "an mbox cut off in its first header": (
        lambda path: text(path, "b", FROM + b"Fro"),
        "no text with a writer",
    ),
    "a picture that is called an mbox": (
        lambda path: text(path, "b.mbox", b"\x89PNG\r\n\x1a\n" + bytes(99)),
        "unknown",
    ),
    "a ZIP archive": (lambda path: text(path, "takeout.zip", b"PK\x03\x04" + bytes(99)), "is a ZIP archive"),
    "an mbox compressed with gzip": (
        lambda path: text(path, "a.mbox.gz", b"\x1f\x8b" + bytes(99)),
        "with gzip",
    ),
    "a Telegram export cut off": (
        lambda path: text(path, "result.json", TELEGRAM),
        "line 1, column .* not valid JSON",
    ),
    "a Telegram export without messages": (
        lambda path: text(path, "result.json", '{"about": "x", "personal_information": {"user_id": 1}}'),
        "has no chat with messages",
    ),
    "a ChatGPT export cut off": (
        lambda path: text(path, "conversations.json", '[{"title": "x", "mapping": {"a": {"me'),
        "conversations.json",
    ),
    "a Slack export with a broken day": (
        lambda path: slack(path, '[{"type": '),
        "2024-03-01.json, line 1, column",
    ),
    "a Slack export with an object for a day": (
        lambda path: slack(path, '{"ok": true}'),
        "is no list of messages",
    ),
    "a WhatsApp chat of system lines": (
        lambda path: text(path, "c.txt", "05/02/24, 10:01 - Kai: x\n05/02/24, 10:02 - Kai joined\n"),
        "has no usable text by Kai: 1 text left out because it has fewer than",
    ),
    "a WhatsApp chat with an impossible time": (
        lambda path: text(path, "c.txt", "05/02/24, 31:61 - Kai: the pump hums again\n"),
        "05/02/24, 31:61 is no date and time",
    ),
    "a text file that is no chat": (lambda path: text(path, "c.txt", "hello\n"), "has an unknown file type"),
    "a folder of empty notes": (
        lambda path: text(path, "n/a.md", "# Title\n").parent,
        "nothing of its writer's own",
    ),
    "pairs without a final text": (
        lambda path: text(path, "p.csv", "draft,final\nabc,\n"),
        'no usable row: .*"final" is empty or missing',
    ),
    "a repository without a commit": (
        lambda path: text(path, "g/.git/HEAD", "ref: refs/heads/main\n").parent.parent,
        "git cannot read the history",
    ),
}

HEAD = b"From: kai@berg.example\nDate: 2 Mar 2024 10:00:00 +0000\n"

#: How to make it, the texts that are kept, and a word of a reason that is counted.
COUNTED: dict[str, tuple[Make, int, str | None]] = {
    "an mbox cut off in an attachment": (
        lambda path: write_mbox(
            path / "b",
            GOOD,
            HEAD + b"Content-Type: multipart/mixed; boundary=x\n\n--x\n\nThe list is attached.\n--x\n"
            b"Content-Disposition: attachment\nContent-Transfer-Encoding: base64\n\nAAAA",
        ),
        2,
        None,
    ),
    "a multipart message without its boundary": (
        lambda path: write_mbox(
            path / "b", GOOD, HEAD + b"Content-Type: multipart/mixed; boundary=x\n\nnothing"
        ),
        1,
        "nothing of their writer's own",
    ),
    "an unknown charset and one that lies": (
        lambda path: write_mbox(
            path / "b",
            GOOD,
            HEAD + b"Content-Type: text/plain; charset=x-klingon\n\nSch\xf6ne Gr\xfc\xdfe aus K\xf6ln",
            HEAD + b"Content-Type: text/plain; charset=utf-16\n\nThree words here.",
        ),
        3,
        "charset",
    ),
    "a broken date": (
        lambda path: write_mbox(
            path / "b", GOOD, b"From: kai@berg.example\nDate: yesterday\n\nNo date at all here"
        ),
        1,
        "no date",
    ),
    "broken base64 and quoted-printable": (
        lambda path: write_mbox(
            path / "b",
            GOOD,
            HEAD + b"Content-Transfer-Encoding: base64\n\n!!!!",
            HEAD + b"Content-Transfer-Encoding: quoted-printable\n\nThe sum =ZZ is =E2=82=AC 5 =",
        ),
        2,
        None,
    ),
    "encoded headers that cannot be decoded": (
        lambda path: write_mbox(
            path / "b",
            GOOD,
            HEAD + b"Subject: =?utf-8?B?!?= =?x?Q?=ff?=\nTo: \xff\xfe <\n\nStill a text of mine here.",
        ),
        2,
        None,
    ),
    "messages without a sender": (
        lambda path: write_mbox(
            path / "b", GOOD, b"Subject: x\n\nWho wrote this one?", b"From: \n\nAnd this one?"
        ),
        1,
        "messages without a sender",
    ),
    "bytes of zero and a line of a megabyte": (
        lambda path: write_mbox(
            path / "b", GOOD, HEAD + b"\n\0\0" + b"x" * (2 << 20), mail("The last one of all.", day=9)
        ),
        2,
        "more than",
    ),
    "a WhatsApp chat in Latin-1": (
        lambda path: text(
            path, "c.txt", CHAT.encode() + "05/02/24, 10:02 - Kai: schöne Grüße\n".encode("latin-1")
        ),
        1,
        None,
    ),
    "Telegram messages of every broken form": (
        lambda path: text(
            path,
            "result.json",
            json.dumps(
                {"name": None, "type": "personal_chat", "id": 7}
                | {
                    "messages": [
                        {
                            "id": 1,
                            "type": "message",
                            "date": "2024-03-01T10:00:00",
                            "from": "Kai",
                            "from_id": "user1",
                        }
                        | {"text": "the pump hums again"},
                        {
                            "id": 2,
                            "type": "message",
                            "date": "soon",
                            "from_id": "user1",
                            "text": "no date in this",
                        },
                        {"id": 3, "type": "message", "from_id": "user1", "text": None},
                        {"id": 4},
                    ]
                }
            ),
        ),
        1,
        "messages left out because they have no text",
    ),
    "notes that are no text": (
        lambda path: (
            text(path, "n/a.md", b"\xff\xfe\x00").parent / text(path, "n/b.md", "The pump hums again.").name
            and path / "n"
        ),
        1,
        "not UTF-8",
    ),
}


def test_there_are_thirty_broken_sources() -> None:
    assert len(REFUSED) + len(COUNTED) >= 30


@pytest.mark.parametrize("name", REFUSED)
def test_a_source_that_cannot_be_read_gives_one_sentence(name: str, tmp_path: Path) -> None:
    make, sentence = REFUSED[name]
    source = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    me = ("kai",) if "by_me" in name or "of the writer" in name else ()
    with pytest.raises(UserError, match=sentence) as caught:
        import_data(source, tmp_path / "out", own=OwnChoice(me))
    assert "\n" not in caught.value.message
    assert source.name in caught.value.message
    assert caught.value.hint
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", COUNTED)
def test_a_broken_part_is_left_out_and_counted(name: str, tmp_path: Path) -> None:
    make, kept, reason = COUNTED[name]
    report = import_data(make(tmp_path), tmp_path / "out", own=OwnChoice())
    assert report.own is not None
    assert report.own.texts == kept
    counts = {**report.own.skipped, **report.read}
    assert all(each.count for each in counts.values())
    assert reason is None or any(reason in each for each in counts), counts


def test_a_mailbox_is_read_at_flat_memory(tmp_path: Path) -> None:
    attached = mail("The film is attached, it is a long one.")
    attached.add_attachment(bytes(4 << 20), maintype="video", subtype="mp4", filename="film.mp4")
    source = write_mbox(tmp_path / "box", *[attached] * 3)
    assert source.stat().st_size > 16 << 20
    tracemalloc.start()
    found = sum(1 for _ in messages(source))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == 3
    assert peak < 6 << 20
