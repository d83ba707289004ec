from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from personakit.data.own.sources import NOT_READ
from personakit.data.own.whatsapp import NO_CHAT
from personakit.errors import UserError
from tests.data.own.conftest import Read, fields
from tests.data.own.messages import mail, write_mbox

ASKED, ANSWERED = "Can you open the hall on Friday?", "sure, i'll be there with the keys"

# Where the phone is: how it writes 31 December 2023, 21:41, and what stands before the name.
FORMATS = {
    "Android, US": "12/31/23, 9:41\u202fPM - ",
    "Android, UK": "31/12/2023, 21:41 - ",
    "Android, Germany": "31.12.23, 21:41 - ",
    "Android, France": "31/12/2023 à 21:41 - ",
    "Android, Germany, older": "31.12.23 um 21:41 - ",
    "Android, Netherlands": "31-12-2023 21:41 - ",
    "Android, Spain": "31/12/23 9:41 p. m. - ",
    "Android, ISO": "2023-12-31 21:41 - ",
    "Android, Finland": "31.12.2023 21.41 - ",
    "Android, Hungary": "2023. 12. 31. 21:41 - ",
    "Android, Taiwan": "2023/12/31 下午9:41 - ",
    "iOS, US": "[12/31/23, 9:41:05\u202fPM] ",
    "iOS, Germany": "[31.12.23, 21:41:05] ",
    "iOS, Brazil": "[31/12/2023 21:41:05] ",
    "iOS, marked": "\u200e[31/12/23, 9:41:05 pm] ",
}


@pytest.mark.parametrize("place", FORMATS)
def test_whatsapp_writes_dates_in_the_format_of_the_phone(place: str, tmp_path: Path, read: Read) -> None:
    start = FORMATS[place]
    source = tmp_path / "WhatsApp Chat with Lena.txt"
    source.write_text(f"{start}Lena Weiss: {ASKED}\n{start}Kai: {ANSWERED}\nand a cake\n", encoding="utf-8")
    imported = read(source, "kai")
    assert imported.report.format == "whatsapp"
    assert imported.texts == [f"{ANSWERED}\nand a cake"]
    assert fields(imported, "request") == [ASKED]
    assert imported.items[0]["date"].startswith("2023-12-31T21:41")


def test_whatsapp_joins_messages_in_a_row_and_leaves_out_what_it_writes_itself(
    tmp_path: Path, read: Read
) -> None:
    lines = [
        "05/02/24, 10:00 - Messages and calls are end-to-end encrypted.",
        "05/02/24, 10:01 - Lena: The pump is broken again: it hums",
        "05/02/24, 10:02 - Kai: i had a look",
        "05/02/24, 10:03 - Kai: it's the seal <This message was edited>",
        "05/02/24, 10:04 - Kai: <Media omitted>",
        "05/02/24, 10:05 - Kai: This message was deleted",
        "05/02/24, 12:30 - Kai: new one is in the post",
        "05/02/24, 12:31 - Lena added Tom",
        "06/02/24, 12:31 - Tom: And who fits it?",
        "09/02/24, 09:00 - Kai: nobody fits it, it fits itself",
        "10/02/24, 09:00 - Kai: \u200eimage omitted",
    ]
    (tmp_path / "chat").mkdir()
    (tmp_path / "chat" / "_chat.txt").write_text("\n".join(lines), encoding="utf-8-sig")
    imported = read(tmp_path / "chat", "Kai")
    assert imported.texts == [
        "i had a look\nit's the seal",
        "new one is in the post",
        "nobody fits it, it fits itself",
    ]
    assert fields(imported, "request") == ["The pump is broken again: it hums"] * 2 + [None]
    assert fields(imported, "date")[0] == "2024-02-05T10:02:00"  # the day first: the months would go back
    counts = {reason.split(" left out")[0]: each.count for reason, each in imported.report.read.items()}
    assert counts == {"lines of WhatsApp's own": 2, "messages": 3}
    with pytest.raises(UserError, match=r"3 writers \(Kai 4, Lena 1, Tom 1\), and --me was not given"):
        read(tmp_path / "chat")


def test_whatsapp_messages_may_hold_dates_and_captions(tmp_path: Path, read: Read) -> None:
    source = tmp_path / "WhatsApp Chat with Lena Weiss.txt"
    lines = [
        "05/02/24, 10:01 - Lena Weiss: When do we meet?",
        "05/02/24, 10:02 - Kai: these two work for me:",
        "06/02/24 10:30 at the mill",
        "07/02/24 11:30 at the lake",
        "05/02/24, 12:30 - Kai: <Media omitted>",
        "this is how the mill looks",
    ]
    source.write_text("\n".join(lines), encoding="utf-8")
    imported = read(source, "kai", keep_names=False)
    assert imported.texts == [
        "these two work for me:\n06/02/24 10:30 at the mill\n07/02/24 11:30 at the lake",
        "this is how the mill looks",
    ]
    assert "Lena" not in (imported.folder / "dataset.json").read_text(encoding="utf-8")


def test_notes_beside_another_source_are_counted(tmp_path: Path, read: Read) -> None:
    chat = "05/02/24, 10:01 - Kai: the pump hums again\n"
    for name, content in {
        "chats/old/chat.TXT": chat,
        "chats/old/list.txt": "no chat",
        "chats/pump.md": "# Pump\n\nIt hums.",
        "mails/cur/1.txt": mail("The pump hums again, and loudly.").as_string(),
        "mails/new/2.txt": mail("Nobody knows what it hums.").as_string(),
        "mails/chats/chat.txt": chat,
        "mails/pump.md": "It hums.",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    found = {
        folder: {reason: each.count for reason, each in read(tmp_path / folder, "kai").report.read.items()}
        for folder in ("chats", "mails")
    }
    assert found == {
        "chats": {NOT_READ: 1, NO_CHAT: 1},
        "mails": {"whatsapp sources left out: import them on their own": 1, NOT_READ: 1},
    }


def test_whatsapp_with_dates_in_two_orders_is_refused(tmp_path: Path, read: Read) -> None:
    (tmp_path / "c.txt").write_text(
        "31/12/23, 10:00 - Kai: one two three\n12/31/23, 10:01 - Kai: four five six\n"
    )
    with pytest.raises(UserError, match="day first and others with the month first"):
        read(tmp_path / "c.txt")


def telegram(number: int, who: str, text: Any, **more: Any) -> dict[str, Any]:
    names = {"user1": "Kai Berg", "user2": "Lena Weiss"}
    return {
        "id": number,
        "type": "message",
        "date": f"2024-03-01T10:{number:02}:00",
        "date_unixtime": "1",
    } | {
        "from": names.get(who, "A bot"),
        "from_id": who,
        "text": text,
        **more,
    }


def test_telegram_one_chat_and_all_chats_of_an_account(tmp_path: Path, read: Read) -> None:
    messages = [
        telegram(1, "user2", ASKED),
        telegram(2, "user1", "Which of the two halls?"),
        telegram(3, "user2", "The big one, of course"),
        telegram(4, "user1", ["see ", {"type": "link", "text": "http://x.example"}, " for the plan"]),
        telegram(5, "user1", ANSWERED, reply_to_message_id=1),
        telegram(6, "user1", "A joke by somebody else", forwarded_from="Tom"),
        telegram(7, "user1", "", photo="x.jpg"),
        {"id": 8, "type": "service", "date": "2024-03-01T10:08:00", "text": ""},
        telegram(9, "user1", "A poll is open now", via_bot="@poll"),
    ]
    chat = {"name": "Lena Weiss", "type": "personal_chat", "id": 7, "messages": messages}
    (tmp_path / "result.json").write_text(json.dumps(chat))
    whole = {"about": "x", "personal_information": {"user_id": 1, "first_name": "Kai"}}
    (tmp_path / "whole.json").write_text(json.dumps(whole | {"chats": {"about": "x", "list": [chat]}}))
    for imported in (read(tmp_path / "result.json", "kai berg"), read(tmp_path / "whole.json")):
        assert imported.report.format == "telegram"
        assert imported.own.writer == "Kai Berg <user1>"
        assert imported.texts == ["Which of the two halls?", "see http://x.example for the plan", ANSWERED]
        assert fields(imported, "request") == [ASKED, "The big one, of course", ASKED]
        assert sorted(each.count for each in imported.report.read.values()) == [1, 1, 2]


def test_telegram_with_nulls_namesakes_and_a_reply_to_oneself(tmp_path: Path, read: Read) -> None:
    messages = [
        telegram(1, "user2", ASKED),
        telegram(2, "user1", "Which of the two halls?"),
        telegram(3, "user2", "The big one, of course"),
        telegram(4, "user1", "i mean the one by the lake", reply_to_message_id=2),
        None,
        telegram(6, "user1", None),
        telegram(7, "user3", "Another Kai says hello") | {"from": "Kai Berg"},
    ]
    chat = {"name": "L", "type": "private_group", "id": 7, "personal_information": None, "messages": messages}
    (tmp_path / "result.json").write_text(json.dumps(chat | {"chats": None}))
    imported = read(tmp_path / "result.json", "user1")
    assert fields(imported, "request") == [ASKED, "The big one, of course"]
    assert [each.count for each in imported.report.read.values()] == [2]
    with pytest.raises(UserError, match="fits 2 writers, Kai Berg <user1> 2, Kai Berg <user3> 1") as caught:
        read(tmp_path / "result.json", "Kai Berg")
    assert '--me "user1"' in caught.value.hint


def test_slack_channels_threads_and_mentions(tmp_path: Path, read: Read) -> None:
    export = tmp_path / "export"
    (export / "general").mkdir(parents=True)
    users = [{"id": "U1", "name": "kai", "profile": {"real_name": "Kai Berg"}}, {"id": "U2", "name": "lena"}]
    users.append({"id": "U3", "name": "tom", "real_name": "Tom Okafor"})
    (export / "users.json").write_text(json.dumps(users))
    (export / "channels.json").write_text("[]")
    day = [
        {"type": "message", "user": "U2", "text": ASKED, "ts": "1709287200.1", "thread_ts": "1709287200.1"},
        {"type": "message", "user": "U2", "text": "Lunch is at noon &amp; outside", "ts": "1709287260.1"},
        {
            "type": "message",
            "user": "U1",
            "text": "<@U2> <https://x.example|the menu> is out",
            "ts": "1709287320.1",
        },
        {
            "type": "message",
            "user": "U1",
            "text": ANSWERED,
            "ts": "1709287380.1",
            "thread_ts": "1709287200.1",
        },
        {"type": "message", "subtype": "channel_join", "user": "U1", "text": "joined", "ts": "1709287390.1"},
        {"type": "message", "bot_id": "B1", "text": "build is green", "ts": "1709287400.1"},
    ]
    (export / "general" / "2024-03-01.json").write_text(json.dumps(day))
    imported = read(export, "Kai Berg")
    assert imported.report.format == "slack"
    assert dict(zip(imported.texts, fields(imported, "request"), strict=True)) == {
        "@lena the menu is out": "Lunch is at noon & outside",
        ANSWERED: ASKED,
    }
    assert sum(each.count for each in imported.report.read.values()) == 2
    day[2]["text"] = "ask <@U3>, he has the menu for noon"
    (export / "general" / "2024-03-01.json").write_text(json.dumps(day))
    [text] = [text for text in read(export, "kai", keep_names=False).texts if "menu" in text]
    assert text.endswith(", he has the menu for noon")
    assert "Tom" not in text
    assert "Okafor" not in text


def test_chatgpt_reads_the_branch_that_was_open_last(tmp_path: Path, read: Read) -> None:
    def node(id: str, parent: str | None, role: str, *parts: Any, kind: str = "text") -> dict[str, Any]:
        content = {"content_type": kind, "parts": list(parts)}
        message = {"author": {"role": role}, "create_time": 1709287200.0 + len(id), "content": content}
        return {"id": id, "parent": parent, "children": [], "message": message}

    nodes = [
        {"id": "root", "parent": None, "message": None},
        node("s", "root", "system", ""),
        node("u1", "s", "user", "How long does plum cake bake?"),
        node("a1", "u1", "assistant", "About forty minutes at 180 degrees."),
        node("old", "a1", "user", "This branch was edited away."),
        node("pic", "a1", "user", {"asset_pointer": "x"}, kind="multimodal_text"),
        node("u2", "a1", "user", "and with the lid on, how long then?"),
    ]
    one = {
        "title": "Cake",
        "create_time": 1.7e9,
        "mapping": {each["id"]: each for each in nodes},
        "current_node": "u2",
    }
    other = one | {"current_node": "pic"}
    (tmp_path / "conversations.json").write_text(json.dumps([one, other, {"title": "x", "mapping": {}}]))
    imported = read(tmp_path / "conversations.json")
    assert imported.report.format == "chatgpt"
    assert list(zip(imported.texts, fields(imported, "request"), strict=True)) == [
        ("How long does plum cake bake?", None),
        ("and with the lid on, how long then?", "About forty minutes at 180 degrees."),
    ]
    assert sorted(each.count for each in imported.report.read.values()) == [1, 1]


def test_a_folder_with_several_whatsapp_chats_is_read_chat_by_chat(tmp_path: Path, read: Read) -> None:
    (tmp_path / "chats" / "tom").mkdir(parents=True)
    # the month first in one, the day first in the other
    (tmp_path / "chats" / "a.txt").write_text(
        f"02/25/24, 10:00 - Lena: {ASKED}\n02/25/24, 10:01 - Kai: {ANSWERED}\n"
    )
    (tmp_path / "chats" / "tom" / "_chat.txt").write_text(
        "[25/02/24, 11:00:00] Tom: Who has the rake?\n[25/02/24, 11:01:00] Kai: it is in the hut\n"
    )
    (tmp_path / "chats" / "list.txt").write_text("seeds, string, a new rake")
    imported = read(tmp_path / "chats", "kai")
    assert imported.report.format == "whatsapp"
    assert imported.texts == [ANSWERED, "it is in the hut"]
    assert fields(imported, "request") == [ASKED, "Who has the rake?"]
    [(reason, left_out)] = imported.report.read.items()
    assert (left_out.count, Path(left_out.first).name) == (1, "list.txt")
    assert "no chat" in reason


def test_a_chat_beside_an_mbox_is_counted(tmp_path: Path, read: Read) -> None:
    folder = tmp_path / "all"
    folder.mkdir()
    write_mbox(folder / "Sent", mail("The seeds are in the blue box by the door."))
    (folder / "chat.txt").write_text(f"02/25/24, 10:00 - Lena: {ASKED}\n02/25/24, 10:01 - Kai: {ANSWERED}\n")
    imported = read(folder, "kai")
    assert imported.report.format == "mail"
    [(reason, left_out)] = imported.report.read.items()
    assert (left_out.count, Path(left_out.first).name) == (1, "chat.txt")
    assert "whatsapp" in reason


@pytest.mark.parametrize("format", ["telegram", "chatgpt", "whatsapp", "slack", "notes", "mail"])
def test_a_file_of_another_format_is_refused(format: str, tmp_path: Path, read: Read) -> None:
    for name, content in (("table.csv", "text\nhello there\n"), ("one.json", '{"a": 1}')):
        (tmp_path / name).write_text(content)
        with pytest.raises(UserError, match=name):
            read(tmp_path / name, format=format)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.mkdir(), "holds nothing to import, expected mail, chats"),
        (lambda path: path.touch(), "is empty"),
    ],
    ids=["a folder", "a file"],
)
def test_an_empty_source_is_named(
    make: Callable[[Path], None], message: str, tmp_path: Path, read: Read
) -> None:
    make(tmp_path / "Sent")
    with pytest.raises(UserError, match=message):
        read(tmp_path / "Sent")
