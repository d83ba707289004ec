from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path

import pytest

from personakit.data.own.learning import Edit, learn
from personakit.data.own.names import Pseudonyms
from personakit.data.own.records import Person
from tests.data.own.conftest import Read, fields
from tests.data.own.messages import KAI, LENA, mail, write_mbox

ME = (Person("kai@berg.example", "Kai Berg"),)
PEOPLE = (*ME, Person("lena@weiss.example", "Lena Weiss"), Person("m@x.example", "Mark O'Brien"))


def replaced(*texts: str, people: tuple[Person, ...] = PEOPLE) -> list[str]:
    pseudonyms = Pseudonyms(people, ME, texts)
    return [pseudonyms.replace(text) for text in texts]


def test_a_name_is_always_replaced_by_the_same_one_in_its_own_case() -> None:
    [first, second] = replaced(
        "Lena, ask LENA's sister lena-maria.", "hi lena weiss, it's kai berg from Berg & Co"
    )
    assert not re.search("lena|weiss", first + second, re.IGNORECASE)
    name = first.split(",")[0]
    assert first == f"{name}, ask {name.upper()}'s sister {name.lower()}-maria."
    assert second.startswith(f"hi {name.lower()} ")
    assert second.endswith("it's kai berg from Berg & Co")


def test_a_word_that_is_also_a_name_is_replaced_where_it_stands_as_one() -> None:
    texts = [
        "We mark the beds today. Mark them with Mark.",
        "Mark\n\nThe mark on the pot is old.",
        "Hi Mark, good mark!",
    ]
    first, second, third = replaced(*texts)
    name = second.split("\n")[0]
    assert name != "Mark"
    assert first == f"We mark the beds today. Mark them with {name}."
    assert second == f"{name}\n\nThe mark on the pot is old."
    assert third == f"Hi {name}, good mark!"


def test_names_in_texts_all_in_lower_case_are_names() -> None:
    assert "lena" not in replaced("tell lena i said hi, lena knows", "ask lena and mark")[0]


def test_those_who_are_greeted_and_those_with_a_title_have_names() -> None:
    greeted, titled, plain = replaced(
        "Dear Petronella,\n\nPetronella and I are early.",
        "We met Mr Zuckerbrot, and Zuckerbrot sang.",
        "Hi all, see you",
    )
    assert "Petronella" not in greeted
    assert "Zuckerbrot" not in titled
    assert plain == "Hi all, see you"


def test_names_of_lists_and_companies_are_words() -> None:
    people = (
        *PEOPLE,
        Person("a@b.example", "Garden Support Team"),
        Person("c@d.example", "The Seed Company"),
    )
    assert replaced("The seed is for the garden, Support said.", people=people) == [
        "The seed is for the garden, Support said."
    ]


def test_addresses_and_numbers_keep_their_form_and_dates_and_sums_stay() -> None:
    text = (
        "Write to lena@weiss.example or LENA@weiss.example, cc kai@berg.example, or call +49 170 1234567, "
        "(0170) 123 45 67, +49-170-1234567; IBAN DE89 3704 0044 0532 0130 00. Order 20240315123. "
        "On 2024-03-15 or 15.03.2024 at 10:30, 2019-2020, 1.234.567 euros, 17 of 200 in 2024, "
        "2019\u20132020, 1.234.567\u20131.300.000 euros."
    )
    assert replaced(text) == [
        "Write to person1@example.org or person1@example.org, cc kai@berg.example, or call +00 000 0000001, "
        "(0000) 000 00 02, +00-000-0000001; IBAN XX00 0000 0000 0000 0000 03. Order 00000000004. "
        "On 2024-03-15 or 15.03.2024 at 10:30, 2019-2020, 1.234.567 euros, 17 of 200 in 2024, "
        "2019\u20132020, 1.234.567\u20131.300.000 euros."
    ]


def test_pseudonyms_differ_and_are_nobody_of_the_texts() -> None:
    people = tuple(
        Person(f"{n}@x.example", f"{chr(97 + n % 26)}{'abcdefgh'[n // 26]}on{chr(97 + n % 7)}")
        for n in range(200)
    )
    pseudonyms = Pseudonyms((*people, Person("a@b.example", "Alba Adler")), ME, ())
    names = [pseudonyms.replace(person.name) for person in people]
    assert len({name.casefold() for name in names}) == len({person.name for person in people})
    assert not {name.casefold() for name in names} & {"alba", "adler", "kai", "berg"}
    assert all(name.isalpha() for name in names)


def test_an_import_replaces_in_texts_requests_and_the_style_card(tmp_path: Path, read: Read) -> None:
    asked = mail("Hi Kai, call me at 0170 1234567. Lena Weiss", sender=LENA, to=KAI)
    source = write_mbox(
        tmp_path / "box",
        asked,
        mail("Dear Lena, I called Frau Weiss twice.", day=2, In_Reply_To=str(asked["Message-ID"])),
        mail("Dear Lena, nobody answered the phone.", day=3),
        mail("Dear Lena, I give up for today.", day=4),
    )
    for keep, expected in ((False, False), (True, True)):
        imported = read(source, "kai", keep_names=keep)
        written = "".join(
            path.read_text() for path in imported.folder.rglob("*.*") if path.name != "dataset.json"
        )
        assert bool(re.search("lena|weiss|0170", written, re.IGNORECASE)) is expected
        assert "Dear NAME," in imported.style
        assert imported.own.replaced == ({} if keep else {"names": 6, "numbers": 1})
        assert imported.own.distinct == ({} if keep else {"names": 2, "addresses": 0, "numbers": 1})


def test_names_of_chats_notes_and_pairs_are_replaced(tmp_path: Path, read: Read) -> None:
    chat = [
        "05/02/24, 10:01 - Lena Okafor: The pump is broken again",
        "05/02/24, 10:02 - Kai Berg: lena said that okafor knows, ask kai",
    ]
    (tmp_path / "chat.txt").write_text("\n".join(chat))
    (tmp_path / "notes").mkdir()
    notes = {"Kai Berg": "Kai saw that Lena brought the seeds.", "Lena Weiss": "The seeds are in the box."}
    for author, text in notes.items():
        (tmp_path / "notes" / f"{author}.md").write_text(f"---\nauthor: {author}\n---\n{text}\n")
    rows = [
        {"user_id": "Kai Berg", "draft": "Lena is early.", "final": "Lena is too early, says Kai."},
        {"user_id": "Lena Weiss", "draft": "I am late.", "final": "I am late again, sorry."},
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for source in ("chat.txt", "notes", "pairs.jsonl"):
        [text] = read(tmp_path / source, "kai berg", keep_names=False).texts
        assert not re.search("lena|okafor", text, re.IGNORECASE)
        assert re.search("kai", text, re.IGNORECASE)


def test_ids_of_a_user_column_are_no_names(tmp_path: Path, read: Read) -> None:
    rows = [
        {"user_id": "writer-a", "draft": "x", "final": "Every gardener here is a writer."},
        {"user_id": "gardener-b", "draft": "x", "final": "I am late again, sorry."},
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert read(tmp_path / "pairs.jsonl", "writer-a", keep_names=False).texts == [rows[0]["final"]]


def test_slack_mentions_of_people_outside_the_workspace_are_replaced(tmp_path: Path, read: Read) -> None:
    (tmp_path / "general").mkdir()
    (tmp_path / "users.json").write_text(json.dumps([{"id": "U1", "name": "kai"}]))
    (tmp_path / "channels.json").write_text("[]")
    text = "ask <@U9|Petronella>, petronella knows the gate"
    message = {"type": "message", "user": "U1", "text": text, "ts": "1709287200.1"}
    (tmp_path / "general" / "2024-03-01.json").write_text(json.dumps([message]))
    [written] = read(tmp_path, keep_names=False).texts
    assert "petronella" not in written.casefold()


def test_names_with_particles_or_many_words_are_replaced_and_ones_own_is_not() -> None:
    names = ("Anna van der Berg-Smit", "Lars von Hagen", "Maria Luisa Garcia Lopez Fernandez")
    people = [Person(f"{place}@x.org", name) for place, name in enumerate(names)]
    text = "Anna and Lars Hagen met Maria Garcia.\n\nBest,\nKai"
    replaced = Pseudonyms(people, [Person("kai@berg.example")], [text]).replace(text)
    assert not {"Anna", "Lars", "Hagen", "Maria", "Garcia"} & set(re.findall(r"\w+", replaced))
    assert replaced.endswith("Best,\nKai")


def test_words_after_a_greeting_that_are_no_names_stay() -> None:
    texts = ["Hi thanks! All good here.", "hey quick question: did it work?"]
    pseudonyms = Pseudonyms([], [Person("kai@berg.example")], texts)
    assert [pseudonyms.replace(text) for text in texts] == texts


@pytest.mark.parametrize(
    "number",
    [
        "+49\u2011170\u20111234567",
        "030 \u2013 1234567",
        "06 12 34 56 78",
        "+33 6 12 34 56 78",
        "06.12.34.56.78",
        "030-1234-56-78",
        "0171-12-34567",
    ],
)
def test_telephone_numbers_in_groups_are_replaced(number: str) -> None:
    text = f"Call {number} today"
    assert number not in Pseudonyms([], [Person("kai@berg.example")], [text]).replace(text)


def test_a_name_that_is_a_common_word_is_replaced_only_where_it_stands_as_a_name() -> None:
    people = [
        Person("w@x.example", "Will Brown"),
        Person("m@x.example", "May Okafor"),
        Person("r@x.example", "Rose Adams"),
    ]
    texts = [
        "Hi Will,\nthe roof will not mend itself. Will you come in May? The brown gate may stay.",
        "Dear Will,\nI asked Will Brown about the rose. The Art of War is May's, Mr Brown.",
        "Will, May Okafor is here.\n\nThanks,\nRose",
        "hey will, see you in may",
    ]
    pseudonyms = Pseudonyms(people, ME, texts)
    name, brown, may, rose = (
        pseudonyms.replace(f"Hi {each}!")[3:-1] for each in ("Will", "Brown", "May", "Rose")
    )
    okafor = pseudonyms.replace("Okafor")
    assert not {"Will", "Brown", "May", "Rose", "Okafor"} & {name, brown, may, rose, okafor}
    assert [pseudonyms.replace(text) for text in texts] == [
        f"Hi {name},\nthe roof will not mend itself. Will you come in May? The brown gate may stay.",
        f"Dear {name},\nI asked {name} {brown} about the rose. The Art of War is May's, Mr {brown}.",
        f"{name}, {may} {okafor} is here.\n\nThanks,\n{rose}",
        f"hey {name.lower()}, see you in may",
    ]


@pytest.mark.parametrize("name", ["Mrs Jane Zuckerbrot", "Prof. Dr. Konrad Zuse", "Zoe\u0308 Franc\u0327ois"])
def test_names_in_headers_may_have_titles_and_any_form_of_unicode(name: str) -> None:
    words = unicodedata.normalize("NFC", name).split()[-2:]
    for form in ("NFC", "NFD"):
        for given in (name, unicodedata.normalize("NFC", name)):
            text = unicodedata.normalize(form, f"Yesterday {' '.join(words)} and {words[0]} sang.")
            found = Pseudonyms([Person("p@x.example", given)], ME, [text]).replace(text)
            assert not [word for word in words if word in unicodedata.normalize("NFC", found)]


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("petronella.zuse@x.example", "Today Petronella and Zuse sang."),
        ("petronella@x.example", "See you at the mill.\n\nPetronella"),
        ("office@x.example", "Hiya Petronella, see you"),
        ("office@x.example", "Sehr geehrte Frau Dr. Petronella Zuse, danke."),
    ],
)
def test_people_with_an_address_only_and_other_greetings(address: str, text: str) -> None:
    found = Pseudonyms([Person(address)], ME, [text]).replace(text)
    assert not re.search("petronella|zuse", found, re.IGNORECASE)


def test_an_address_without_a_persons_name_gives_none() -> None:
    texts = ["The garden is in the box.", "Ask the Office in the Garden about mail."]
    people = [Person("office@x.example"), Person("garden@x.example"), Person("mail@x.example")]
    pseudonyms = Pseudonyms(people, ME, texts)
    assert [pseudonyms.replace(text) for text in texts] == texts


def test_the_writers_own_name_in_requests_stays() -> None:
    texts = ["Dear Lena, it is done.\n\nCheers, Kai"]
    requests = ["Dear Kai, is it done?\n\nLena", "Dear Kai, is it?"]
    pseudonyms = Pseudonyms([], [Person("me")], texts, requests)
    assert pseudonyms.replace(texts[0]).endswith("Cheers, Kai")
    assert pseudonyms.replace(requests[0]).startswith("Dear Kai, ")
    assert "Lena" not in pseudonyms.replace(texts[0] + requests[0])


@pytest.mark.parametrize(
    ("me", "greetings", "stay", "go"),
    [
        (Person("me"), ["Hi Marlene", "Hi Kai", "Hi Kai"], "", "Marlene Kai"),
        (Person("kaiberg7@x.example"), ["Hi Marlene", "Hi Kai", "Hi Kai"], "Kai", "Marlene"),
        (Person("kaiberg7@x.example"), ["Hi Marlene", "Hi Marlene", "Hi Kai"], "", "Marlene Kai"),
        (Person("me"), ["Hi Marlene"], "", "Marlene"),
        (Person("me"), ["Hi Kai", "Hi Kai Zuse", "Hi Kai"], "Kai", "Zuse"),
        (Person("kai@berg.example", "Kai Berg"), ["Hi Tom and Lena"] * 2, "Kai", "Tom Lena"),
        (Person("kai@berg.example", "Kai Berg"), ["Hi Tom and Marlene"] * 2, "Kai", "Tom Marlene"),
    ],
)
def test_only_whom_the_requests_greet_most_may_be_the_writer(
    me: Person, greetings: list[str], stay: str, go: str
) -> None:
    texts = [f"{name} is right." for name in (*stay.split(), *go.split())]
    people = (Person("t@x.example", "Thomas Zuse"), Person("l@x.example", "Lena Weiss"))
    pseudonyms = Pseudonyms(people, [me], texts, [f"{each}, is it done?" for each in greetings])
    kept = [text.split()[0] for text in texts if pseudonyms.replace(text) == text]
    assert kept == stay.split()


def test_clauses_after_a_greeting_are_no_names() -> None:
    texts = [
        "hi will call later.",
        "i will call you later",
        "hey running late, sorry",
        "i am running late again",
    ]
    for more in ([], ["The tap is running."]):
        pseudonyms = Pseudonyms([], ME, [*texts, *more])
        assert [pseudonyms.replace(text) for text in texts] == texts


def test_names_of_greetings_in_lower_case_are_replaced() -> None:
    greeting, other, both = replaced("hi marlene, all done", "tell marlene and tom", "hi tom and lenz, bye")
    assert not re.search("marlene|tom|lenz", greeting + other + both)


@pytest.mark.parametrize(
    ("text", "stay"),
    [
        ("Hi Tom and team, Tom is here.", "team"),
        ("hey there Marlene! marlene knows", "there"),
        ("GRÜSS DICH MARLENE, all done", "all done"),
        ("dear mr zuckerbrot, all done", "mr"),
        ("Greetings from Oslo, all done", "from Oslo"),
        ("Liebe Grüße, Kai", "Grüße"),
        ("Hi to all, we are here", "to all"),
    ],
)
def test_those_whom_greetings_of_any_form_name_are_replaced(text: str, stay: str) -> None:
    found = Pseudonyms([], ME, [text]).replace(text)
    assert stay in found
    assert not re.search("tom|marlene|zuckerbrot", found, re.IGNORECASE)


def test_importing_a_profile_again_changes_no_text(tmp_path: Path, read: Read) -> None:
    asked = mail("Dear Kai, call me at 0170 1234567. Lena Weiss", sender=LENA, to=KAI)
    replies = (
        mail(
            f"Dear Lena, this is answer {n} of mine.\n\nCheers, Kai",
            day=n,
            In_Reply_To=str(asked["Message-ID"]),
        )
        for n in range(2, 6)
    )
    first = read(write_mbox(tmp_path / "box", asked, *replies), "kai", keep_names=False)
    again = read(first.folder / "profile.jsonl", keep_names=False, format="profile")
    assert again.texts == first.texts
    assert fields(again, "request") == fields(first, "request")
    assert "Cheers, Kai" in again.texts[0]
    assert "Dear NAME," in again.style
    assert again.own.replaced == {}
    [note] = [each for reason, each in again.report.read.items() if "names" in reason]
    assert note.count == len(first.texts)
    learn(
        first.folder / "profile.jsonl",
        [Edit("Ask Marlene Zuse, 0170 1234567.", "Ask her."), Edit(first.texts[0], "Hi Marlene, call her.")],
    )
    learned = read(first.folder / "profile.jsonl", keep_names=False, format="profile")
    assert first.texts[1] in learned.texts
    assert "0170" not in json.dumps(learned.items)
    assert "Marlene" not in json.dumps(learned.items)
    table = tmp_path / "table.jsonl"  # a profile of somebody else's making
    rows = [
        {
            "id": f"20240501000{n}",
            "text": f"Dear Lena, it is {done} again.",
            "draft": "",
            "request": f"Dear Kai, is it {done}?",
        }
        for n, done in enumerate(("done", "late"))
    ]
    table.write_text("\n".join(map(json.dumps, rows)))
    for item, row in zip(read(table, keep_names=False).items, rows, strict=True):
        assert "Lena" not in item["text"]
        assert item["request"] == row["request"]


def test_a_name_within_an_address_is_no_word_of_the_text() -> None:
    texts = ["The list is at lena@garden.example and x.example/lena/list. Lena has the key."]
    assert "Lena" not in replaced(*texts)[0]


def test_a_surname_that_is_a_word_leaves_the_first_name_a_name() -> None:
    people = (*PEOPLE, Person("e@post.example", "Emily Post"))
    assert replaced("Ask Emily for the post.", people=people)[0].endswith(" for the post.")
    assert "Emily" not in replaced("Ask Emily for the post.", people=people)[0]


def test_a_name_after_a_greeting_and_a_comma_is_replaced() -> None:
    people = (*PEOPLE, Person("w@x.example", "Will Brown"))
    unknown, later, word = replaced(
        "Hi, Petronella! It is done.", "Petronella knows.", "Hi, Will! It will do.", people=people
    )
    assert "Petronella" not in unknown + later
    assert re.fullmatch(r"Hi, (?!Will)\w+! It will do\.", word)


def test_a_name_keeps_its_ending() -> None:
    text = "Lenas Hut, Lena's hat, Lena\u2019s, LENAS, ask Lenas, or lena."
    pseudonyms = Pseudonyms(PEOPLE, ME, [text])
    name = pseudonyms.replace("Lena")
    assert pseudonyms.replace(text) == text.replace("Lena", name).replace("LENA", name.upper()).replace(
        "lena", name.lower()
    )
    assert pseudonyms.distinct["names"] == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Max Weiss", "The Maximum is Maxs."),
        ("Mark Weiss", "Der Markt der Marks, Marktes Marks."),
        ("Art Weiss", "All Arts of the Artist."),
        ("Will Weiss", "Good Wills, Willst du?"),
        ("Thi Zuse", "This is it. In This house, he is late."),
        ("Doe Zuse", "He Does it, and does it."),
        ("Hand Zuse", "The Hands of the clock. My hand, your hands."),
        ("Rot Zuse", "Lots of Rots and Rotation."),
        ("Lena Zuse", "Lenasee, Lenass, Helena, Lenast"),
        ("Kai Zuse", "Kais Hut."),
        ("Bill Zuse", "Bills"),
    ],
)
def test_words_that_begin_with_a_name_stay(name: str, text: str) -> None:
    assert Pseudonyms([Person("p@x.example", name)], ME, [text]).replace(text) == text


def test_the_form_of_one_name_that_is_another_persons_name_is_theirs() -> None:
    people = (Person("a@x.example", "Andrea Zuse"), Person("b@x.example", "Andreas Zuse"))
    pseudonyms = Pseudonyms(people, ME, [])
    assert pseudonyms.replace("Andreas") != f"{pseudonyms.replace('Andrea')}s"
    mine = Pseudonyms(people[:1], [Person("b@x.example", "Andreas Berg")], [])
    assert mine.replace("Andreas") == "Andreas"
