from __future__ import annotations

import json
import mailbox
from email.message import EmailMessage
from pathlib import Path

import pytest

from personakit.data.own import mbox
from personakit.errors import UserError
from tests.data.own.conftest import Read, fields, skipped
from tests.data.own.messages import KAI, LENA, mail, write_mbox

EXAMPLE = Path("examples/mailbox.mbox")
LONG = "I will bring the keys on {day}, and a cake if the oven lets me."


def test_the_example_mailbox_gives_a_profile_queries_and_a_style_card(read: Read) -> None:
    kai, lena = read(EXAMPLE, "kai"), read(EXAMPLE, "Lena Weiss")
    assert (kai.report.format, kai.own.writer) == ("mail", "Kai Berg <kai@berg.example>")
    assert len(kai.items) == kai.own.texts == 18
    assert all(text.startswith("hey ") and text.endswith("so long, k.") for text in kai.texts)
    assert all(text.startswith("Dear ") and text.endswith("Lena Weiss") for text in lena.texts)
    assert not set(kai.texts) & set(lena.texts)
    dates = fields(kai, "date")
    assert dates == sorted(dates)
    assert "hey NAME - | 100 %" in kai.style
    assert "| Kind regards, / Lena Weiss | 100 % |" in lena.style
    assert {split: counts.queries for split, counts in kai.report.tasks["writing"].items()} == {
        "train": 12,
        "dev": 3,
        "test": 3,
    }


def test_a_reply_answers_the_message_in_the_archive_else_its_quote_else_its_subject(
    tmp_path: Path, read: Read
) -> None:
    asked = mail("Can you open the hall on Friday, please?\n\n> old words", sender=LENA, to=KAI)
    answer = mail(LONG.format(day="Friday"), day=2, In_Reply_To=str(asked["Message-ID"]), Subject="Re: Hall")
    quote = "Saturday works for me as well.\n\nOn 3 Mar 2024, Lena Weiss wrote:\n> And on Saturday?"
    source = write_mbox(
        tmp_path / "all.mbox",
        mail("Nothing is quoted in this one.", day=4, Subject="Re: Hall"),
        mail("This one is about lunch, which is at noon.", day=5, Subject="Lunch"),
        mail(quote, day=3, Subject="Re: Hall"),
        answer,
        asked,
    )
    imported = read(source, "kai@berg.example")
    assert fields(imported, "request") == [
        "Can you open the hall on Friday, please?",
        "And on Saturday?",
        None,
        "Write an e-mail with the subject: Lunch",
    ]


def test_what_is_not_a_text_of_the_writer_is_counted_by_reason(tmp_path: Path, read: Read) -> None:
    text = LONG.format(day="Monday")
    report = EmailMessage()
    report["From"], report["Subject"] = KAI, "Undelivered Mail"
    source = write_mbox(
        tmp_path / "sent",
        mail(text),
        mail(text.upper(), day=2),
        mail("ok", day=3),
        mail("> only a quote", day=4),
        mail("I am away.", Auto_Submitted="auto-replied"),
        mail("I am away.", Subject="Abwesenheitsnotiz: Hallo"),
        mail("---------- Forwarded message ---------\nFrom: a@b.example\n\nHello", Subject="Fwd: x"),
        mail("This one was never sent to anybody.", X_Gmail_Labels="Drafts"),
        mail("word " * 6000),
    )
    assert skipped(read(source)) == {
        " because they repeat another": 1,
        " because they have fewer than 3 words and 20 characters": 1,
        " because nothing of their writer's own is in them": 1,
        ": automatic replies": 2,
        ": forwards without a word of one's own": 1,
        ": drafts and deleted messages": 1,
        " because they have more than 20000 characters": 1,
    }


def test_encodings_and_their_lies(tmp_path: Path, read: Read) -> None:
    def raw(charset: str, body: bytes, encoding: str = "8bit", day: int = 1) -> bytes:
        head = (
            f"From: =?iso-8859-1?Q?M=FCller=2C_K=E4the?= <k@m.example>\nDate: {day} Mar 2024 10:00:00 +0000\n"
        )
        head += f"Content-Type: text/plain; charset={charset}\nContent-Transfer-Encoding: {encoding}\n\n"
        return head.encode() + body

    source = write_mbox(
        tmp_path / "box",
        raw("iso-8859-1", "Schöne Grüße aus Köln eins".encode("latin-1"), day=1),
        raw("us-ascii", "Schöne Grüße aus Köln zwei".encode(), day=2),
        raw("no-such-charset", "Schöne Grüße aus Köln drei".encode("cp1252"), day=3),
        raw("utf-8", "Schöne Grüße aus Köln vier".encode("cp1252"), day=4),
        raw("utf-8", b"Sch=C3=B6ne Gr=C3=BC=C3=9Fe aus K=C3=B6ln =\nf=C3=BCnf", "quoted-printable", day=5),
        raw('"utf-8', b"U2Now7ZuZSBHcsO8w59lIGF1cyBLw7ZsbiBzZWNocw==", "base64", day=6),
    )
    imported = read(source)
    assert imported.own.writer == "Müller, Käthe <k@m.example>"
    words = ("eins", "zwei", "drei", "vier", "fünf", "sechs")
    assert imported.texts == [f"Schöne Grüße aus Köln {word}" for word in words]
    [(reason, count)] = imported.report.read.items()
    assert "charset is wrong or unknown" in reason
    assert count.count == 3


def test_html_only_mail_and_attachments(tmp_path: Path, read: Read) -> None:
    html = mail("unused", day=1)
    html.set_content("<p>The <b>cake</b> is in the oven, &amp; the key under the pot.</p>", subtype="html")
    attached = mail("The list is attached, have a look at it.", day=2)
    attached.add_attachment("secret,list\n", filename="list.csv", subtype="csv")
    attached.add_attachment(b"\0" * (3 << 20), maintype="application", subtype="zip", filename="big.zip")
    alternative = mail("The plain text of both is preferred.", day=3)
    alternative.add_alternative("<p>The HTML text of both.</p>", subtype="html")
    imported = read(write_mbox(tmp_path / "box", html, attached, alternative))
    assert imported.texts == [
        "The cake is in the oven, & the key under the pot.",
        "The list is attached, have a look at it.",
        "The plain text of both is preferred.",
    ]


def test_lines_with_from_in_a_text_do_not_split_a_message(tmp_path: Path, read: Read) -> None:
    text = (
        b"Two remarks for the trip.\n\nFrom here we walk to the mill in 2024.\n\n>From there by bus at nine."
    )
    head = b"From: kai@berg.example\nDate: 1 Mar 2024 10:00:00 +0000\n\n"
    imported = read(write_mbox(tmp_path / "box", head + text))
    assert imported.texts == [text.decode().replace(">From", "From")]


def test_a_maildir_and_a_folder_of_messages(tmp_path: Path, read: Read) -> None:
    maildir = mailbox.Maildir(str(tmp_path / "mail"))
    asked = mail("Who brings the keys?", sender=LENA, to=KAI, day=1)
    maildir.add(asked)
    for day in (1, 2, 3):
        maildir.add(mail(LONG.format(day=day), day=day, In_Reply_To=str(asked["Message-ID"])))
    trashed = mailbox.MaildirMessage(mail("This one is in the bin by now.", day=4))
    trashed.set_subdir("cur")
    trashed.add_flag("T")
    maildir.add(trashed)
    (tmp_path / "eml").mkdir()
    for day in (1, 2):
        (tmp_path / "eml" / f"{day}.eml").write_bytes(mail(LONG.format(day=day), day=day).as_bytes())
    imported = read(tmp_path / "mail", "kai")
    assert imported.texts == [LONG.format(day=day) for day in (1, 2, 3)]
    assert fields(imported, "request") == ["Who brings the keys?"] * 3
    assert read(tmp_path / "eml").texts == [LONG.format(day=day) for day in (1, 2)]
    assert read(tmp_path / "eml" / "1.eml").texts == [LONG.format(day=1)]


def test_thunderbirds_files_have_no_suffix_and_notes_may_have_a_folder_new(
    tmp_path: Path, read: Read
) -> None:
    box, notes = tmp_path / "Local Folders", tmp_path / "notes"
    (box / "Sent.sbd").mkdir(parents=True)
    write_mbox(box / "Sent", mail(LONG.format(day=1), day=1))
    write_mbox(box / "Sent.sbd" / "2023", mail(LONG.format(day=2), day=2))
    (box / "Sent.msf").write_text("// <!-- <mdb:mork:z v='1.4'/> -->")
    assert read(box).texts == [LONG.format(day=day) for day in (1, 2)]
    (notes / "new").mkdir(parents=True)
    (notes / "new" / "2024-03-01-pumps.md").write_text("Pumps hum when the seal is old.")
    assert read(notes).report.format == "notes"


def test_several_addresses_of_one_person(tmp_path: Path, read: Read) -> None:
    source = write_mbox(
        tmp_path / "box",
        mail(LONG.format(day=1), sender="Kai <kai@old.example>", day=1),
        mail(LONG.format(day=2), sender="K. Berg <KAI@new.example>", day=2),
        mail(LONG.format(day=3), sender=LENA, day=3),
    )
    imported = read(source, "kai@old.example", "kai@new.example")
    assert imported.own.writer == "Kai <kai@old.example>, K. Berg <kai@new.example>"
    assert len(imported.texts) == 2
    with pytest.raises(UserError, match=r'"kai@" fits 2 writers, Kai <kai@old.example> 1, K. Berg'):
        read(source, "kai@")
    with pytest.raises(UserError, match=r'no text by "tom", it has Kai <kai@old.example> 1, .*Lena Weiss'):
        read(source, "tom")
    with pytest.raises(UserError, match=r"texts of 3 writers .* and --me was not given") as caught:
        read(source)
    assert '--me "kai@old.example"' in caught.value.hint


def test_a_message_is_read_to_a_limit(tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mbox, "LONGEST", 2000)
    head = b"From: kai@berg.example\nDate: 1 Mar 2024 10:00:00 +0000\n\n"
    source = write_mbox(tmp_path / "box", head + b"the same words \n" * 1000, mail(LONG.format(day=2), day=2))
    imported = read(source)
    assert [len(text) < 2000 for text in imported.texts] == [True, True]
    assert imported.texts[1] == LONG.format(day=2)


def test_an_id_of_an_item_is_the_same_in_every_import(tmp_path: Path, read: Read) -> None:
    old = [mail(LONG.format(day=day), day=day) for day in (2, 3)]
    first = read(write_mbox(tmp_path / "one", *old))
    second = read(write_mbox(tmp_path / "two", mail("A new one from before all others.", day=1), *old))
    assert fields(first, "id") == fields(second, "id")[1:]
    assert json.loads((second.folder / "dataset.json").read_text())["own"]["texts"] == 3


def test_a_folder_of_mail_files_is_read_whatever_the_case_of_their_suffixes(
    tmp_path: Path, read: Read
) -> None:
    for name, day in (("a.eml", 1), ("b.EML", 2)):
        (tmp_path / name).write_text(mail(LONG.format(day=f"day {day}"), day=day).as_string())
    assert len(read(tmp_path, "kai").texts) == 2
