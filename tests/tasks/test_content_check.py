"""The content check: what counts as a fact, as kept, and as invented."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personakit.tasks.content_check import ContentChecker, facts_of
from personakit.tasks.edits import undo_edits


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("We need 1,200 of them.", {("number", "1,200")}),
        ("It takes two days.", {("number", "two")}),
        ("See you on friday, 3 may.", {("date", "friday"), ("number", "3"), ("date", "may")}),
        ("You may call me tomorrow.", {("date", "tomorrow")}),
        ("Read https://a.org/x?y=1, please.", {("link", "https://a.org/x?y=1")}),
        ("Write to Ada@example.org.", {("e-mail address", "Ada@example.org")}),
        ("thanks @ada for this #Friday", {("mention", "@ada")}),
        ("I met John Smith in Paris.", {("name", "John"), ("name", "Smith"), ("name", "Paris")}),
        ("Kind Regards, [Your Name]", set()),
        ("DO NOT EVER TOUCH my lamp", set()),
        ("nothing at all", set()),
        ("", set()),
    ],
)
def test_facts(text: str, facts: set[tuple[str, str]]):
    assert {(fact.kind, fact.text) for fact in facts_of(text)} == facts


@pytest.mark.parametrize(
    ("draft", "candidate"),
    [
        ("We start at 09:00 on Monday.", "mon 9:00 we start!!"),
        ("It costs $5.00, or 1200 in all.", "1,200 overall; $5 each"),
        ("Call 713 991 0021 after two.", "call 713-991-0021 after 2"),
        ("We met Ada Berg in Oslo.", "ADA BERG, OSLO. WE MET."),
        ("See you tomorrow, Ada.", "c u tmrw, ada"),
        ("The link is https://a.org/b.", "https://a.org/b/ is the link"),
        ("Please send it.", "Hi There,\nplease send it.\nKind Regards"),
        ("please send it", "PLEASE SEND IT RIGHT NOW"),
        ("Send one.", "Send 1."),
        ("Open 9:00-12:30, since 05/03/2024.", "from 9 to 12:30 since 5.3.2024"),
        ("Call +49 170 1234567 or 06.12.34.56.78.", "call 49-170-1234567 or 06 12 34 56 78"),
        ("Add 3/4 of it, 24/7.", "24/7, add 3/4 of it"),
        ("Call 030/1234567.", "Call 030 1234567."),
        ("The number is 555-12-3456.", "555 12 3456 is the number"),
        ("Due 2024-05-03 or 3/5/24.", "due 3/5/24 or 2024-5-3"),
        ("From 01.02.2024-05.02.2024.", "from 1.2.2024 to 5.2.2024"),
        ("It is 1.200,50 or 1.234.567.", "it is 1200,50 or 1,234,567"),
        ("It is 1.234.567.", "it is 1 234 567"),
        ("Pay DE89 3704 0044 0532 0130 00.", "pay DE89370400440532013000"),
        ("I have John's book.", "i have johns book"),
        ("Pay fifteen.", "pay 15"),
    ],
)
def test_other_spellings_keep_content(draft: str, candidate: str):
    found = ContentChecker(draft).check(candidate)
    assert found.passed, found.reason
    assert found.reason == ""


@pytest.mark.parametrize(
    "forms",
    [
        (
            *("+49 30 123456", "+4930123456", "+49-30-123456", "+49.30.123456", "+49 (0)30 / 123 456"),
            *("(+49) 30 123-456", "0049 30 123456", "+49 30\u2013123456"),
        ),
        ("030 1234567", "0301234567", "030/123 45 67", "(030) 1234567", "030 - 1234567", "030-123456-7"),
        ("(713) 991-0021", "713-991-0021", "713.991.0021", "713 991 0021", "7139910021"),
        ("1-800-555-0199", "+1 (800) 555 0199"),
        ("06 12 34 56 78", "06.12.34.56.78", "0612345678", "06-12-34-56-78"),
        ("www.a.example", "https://www.a.example", "http://WWW.a.example/", "www.a.example/"),
        ("14:30", "2:30 pm", "2.30 p.m.", "14.30 Uhr", "02:30PM"),
        ("12:15", "12:15 pm"),
        ("00:15", "12:15 AM", "12.15 a.m."),
        ("from 2-3 pm", "from 2 pm to 3 pm", "from 14:00-15:00", "from 2 to 3pm"),
        ("from 11:30 to 1 pm", "from 11:30 to 13:00"),
    ],
)
def test_forms_of_one_number_or_link_are_one_fact(forms: tuple[str, ...]):
    for draft in forms:
        for candidate in forms:
            found = ContentChecker(f"It is {draft} now.").check(f"{candidate} it is!")
            assert found.passed, found.reason


@pytest.mark.parametrize(
    ("draft", "candidate"),
    [
        ("Call 030 1234567 2 times.", "2 times, call 0301234567."),
        ("Call 030 1234567 / 0170 7654321.", "Call 0301234567 or 01707654321."),
        ("Call 030 123456 - 10 of us are here.", "10 of us are here, call 030123456."),
        ("Open 09.30-10.30 on 05.03.24 10.30.", "open 9:30 to 10:30 on 5.3.24, 10:30"),
        ("Away 01.02-05.02.2024, 01/2024-03/2024.", "away 01.02 to 5.2.2024, 1 2024 to 3 2024"),
        ("It takes 100 200 30 days.", "30, 100 or 200 days"),
    ],
)
def test_numbers_beside_each_other_stay_apart(draft: str, candidate: str):
    found = ContentChecker(draft).check(candidate)
    assert found.passed, found.reason


@pytest.mark.parametrize(
    ("draft", "candidate", "reason"),
    [
        ("We start at 9.", "We start at 10.", "loses number 9 and invents number 10"),
        ("We meet on Monday.", "We meet.", "loses date Monday"),
        ("I told Ada.", "I told her.", "loses name Ada"),
        ("I told her.", "I told Ada.", "invents name Ada"),
        (
            "Write to a@b.org.",
            "Write to a@c.org.",
            "loses e-mail address a@b.org and invents e-mail address a@c.org",
        ),
        (
            "See https://a.org/b",
            "See https://a.org/c",
            "loses link https://a.org/b and invents link https://a.org/c",
        ),
        ("Thanks @ada!", "Thanks!", "loses mention @ada"),
        ("It takes 3 days, John and Ada.", "", "loses number 3, name Ada, name John"),
        ("It is done.", "It is done in five days.", "invents number five"),
        (
            "Open 9:30 to 10:45, for 9 to 45 people.",
            "Open 9:45 to 10:30, for 9 to 45 people.",
            "loses number 9:30, number 10:45 and invents number 9:45, number 10:30",
        ),
        ("It costs 3.000, not 3.", "It costs 3.", "loses number 3.000"),
        (
            "By 5/3/2024 or 3/4/2024.",
            "By 3/5/2024 or 3/4/2024.",
            "loses number 5/3/2024 and invents number 3/5/2024",
        ),
        ("Bob, I told you.", "Bob, I told Ada and Ada.", "invents name Ada"),
        (
            "Call +49 30 123456.",
            "Call +4930123465.",
            "loses number +49 30 123456 and invents number +4930123465",
        ),
        (
            "Call +49 30 123 456.",
            "Call +49 30 456 123.",
            "loses number +49 30 123 456 and invents number +49 30 456 123",
        ),
        ("Call 030 1234567.", "Call 030 123456.", "loses number 030 1234567 and invents number 030 123456"),
        ("At 14:30.", "At 2:30.", "loses number 14:30 and invents number 2:30"),
        ("At 2:30 am.", "At 2:30 pm.", "loses number 2:30 and invents number 2:30 pm"),
        ("At 2 pm.", "At 2 am.", "loses number 2 pm"),
        ("At 12 am.", "At 12 pm.", "loses number 12 am"),
        ("At 3 pm.", "At 16:00.", "loses number 3 pm and invents number 16:00"),
        (
            "See www.a.example.",
            "See www.b.example.",
            "loses link www.a.example and invents link www.b.example",
        ),
        (
            "See www.a.example/Ab.",
            "See www.a.example/ab.",
            "loses link www.a.example/Ab",
        ),
        (
            "Use 192.168.11.1.",
            "Use 192.168.1.11.",
            "loses number 192.168.11.1 and invents number 192.168.1.11",
        ),
        ("I told Andrea.", "I told Andreas.", "invents name Andreas"),
    ],
)
def test_what_is_lost_or_invented_is_named(draft: str, candidate: str, reason: str):
    assert ContentChecker(draft).check(candidate).reason == reason


HISTORY = (
    "Hi Bob, the room is free. Thanks, Ada",
    "hi Carol! see you there. Thanks, Ada",
    "Done. Thanks, Ada",
)


def test_the_writers_own_name_may_be_added_but_no_name_of_another_text():
    checker = ContentChecker("The room is free.", history=HISTORY)
    assert checker.check("The room is free. Thanks, Ada").passed
    assert checker.check("Hi Bob, the room is free. Thanks, Ada").reason == "invents name Bob"


def test_facts_of_the_request_may_be_used_but_need_not():
    checker = ContentChecker("Yes, that works.", request="Can Bob come at 9?")
    assert checker.check("Yes, that works for Bob at 9.").passed
    assert checker.check("Yes, that works.").passed


def test_ordinary_words_of_the_writer_are_no_names():
    checker = ContentChecker("It is done.", history=("all my blessings to you", "blessings!"))
    assert checker.check("It is done, Blessings").passed


@given(st.text("aAbZ0159.,:-/@ \n", max_size=40))
def test_an_unchanged_draft_passes(draft: str):
    assert ContentChecker(draft).check(draft).passed


@pytest.mark.parametrize("number", ["0.5", "00:30", "007", "0"])
def test_numbers_that_begin_with_0_are_kept(number: str):
    assert ContentChecker(f"Add {number} to it.").check(f"add {number} to it!").passed
    assert not ContentChecker(f"Add {number} to it.").check("add 8 to it").passed


def test_an_invention_that_stands_twice_is_undone_in_both_places():
    draft = "We open the gate today and then close the gate at night."
    candidate = "We open the gate with Bob and then close the gate with Bob. Cheers!"
    check = ContentChecker(draft).check
    assert len(check(candidate).invented) == 1
    text = undo_edits(draft, candidate, lambda text: check(text).problems)
    assert text == "We open the gate today and then close the gate at night. Cheers!"


def test_a_name_that_is_addressed_and_mentioned_is_undone_in_both_places():
    draft = "The shed is locked. Please come and then talk with her."
    candidate = "Hi Tom, the shed is locked! Please come and then talk with Tom."
    check = ContentChecker(draft).check
    assert check(candidate).problems == 2
    text = undo_edits(draft, candidate, lambda text: check(text).problems)
    assert text == "the shed is locked! Please come and then talk with her."


@pytest.mark.parametrize(
    "candidate",
    [
        "Hiya Lenz, the shed is locked.",
        "Hi Lenz! The shed is locked.",
        "Good morning Lenz - the shed is locked.",
        "Dear Lenz\nThe shed is locked.",
        "Lenz, the shed is locked.",
    ],
)
def test_a_name_in_an_opening_is_invented_although_the_history_has_it_in_lower_case(candidate: str):
    history = ("hey lenz - list is in the hut", "hey lenz, all done", "hi sanna, no news. bye, kai")
    found = ContentChecker("The shed is locked.", history=history).check(candidate)
    assert found.reason == "invents name Lenz"
    assert found.problems == 1
    for draft, request in (("Lenz, the shed is locked.", ""), ("The shed is locked.", "Is it locked? Lenz")):
        checker = ContentChecker(draft, request=request, history=history)
        assert "invents" not in checker.check(candidate).reason


@pytest.mark.parametrize(
    ("opening", "names"),
    [
        ("hey lenz - ", "lenz"),
        ("lenz, ", "lenz"),
        ("hi anna\n", "anna"),
        ("moin anna und lenz! ", "anna lenz"),
    ],
)
def test_a_greeting_in_lower_case_invents_a_name_too(opening: str, names: str):
    history = ("hey lenz - list is in the hut", "hey lenz, all done", "no news. bye, kai")
    draft, candidate = "The shed is locked.", f"{opening}the shed is locked."
    found = ContentChecker(draft, history=history).check(candidate)
    assert [fact.text for fact in found.invented] == names.split()
    assert not ContentChecker(f"Anna, Lenz: {draft}", history=history).check(candidate).invented
    lost = ContentChecker(candidate, history=history).check(draft).lost
    assert [fact.text for fact in lost] == names.split()


@pytest.mark.parametrize(
    "candidate",
    [
        "Hi all, the shed is locked.",
        "Good Morning Everyone! The shed is locked.",
        "Hello, the shed is locked.",
        "Sure, the shed is locked.",
        "Hi The shed is locked.",
        "hey there, the shed is locked.",
        "hi just checking, the shed is locked.",
        "hey running late, the shed is locked.",
        "hey will, the shed is locked.",
        "",
    ],
)
def test_an_opening_without_a_name_is_no_invention(candidate: str):
    history = ("sure, all done", "hey lenz, the news is good", "it will do")
    assert not ContentChecker("The shed is locked.", history=history).check(candidate).invented


def test_a_reason_names_a_few_facts():
    found = ContentChecker("It is 7.").check(" ".join(f"It is {n}." for n in range(100, 146)))
    assert len(found.invented) == 46
    assert found.reason.endswith(
        "invents number 100, number 101, number 102, number 103, number 104 and 41 more"
    )


@pytest.mark.parametrize("unit", ["Meet Ada on Monday 3 May 2021 with 40. ", "0.0.", "0.00", "1-1-", "a.a."])
def test_ten_times_the_text_takes_some_ten_times_as_long(unit: str):
    def seconds(count: int) -> float:
        start = time.process_time()
        assert ContentChecker(text := unit * count).check(text).passed
        return time.process_time() - start

    assert seconds(1500) < 40 * min(seconds(150) for _ in range(3))
