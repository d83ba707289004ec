from __future__ import annotations

import pytest

from personakit.data.own.html_text import html_text
from personakit.data.own.mail_body import unwrapped
from personakit.data.own.quotes import split_reply
from tests.data.own.reply_styles import ASKED, REPLIES, Reply


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: reply.style)
def test_the_own_text_of_a_reply_is_found_and_what_it_answers(reply: Reply) -> None:
    found = split_reply(reply.body)
    assert found.own == reply.own
    if reply.quoted is None:
        assert found.quoted is None
    else:
        assert found.quoted is not None
        assert ASKED in found.quoted


def test_carriage_returns_change_nothing() -> None:
    for reply in REPLIES:
        assert split_reply(reply.body.replace("\n", "\r\n")) == split_reply(reply.body)


def test_a_remark_above_a_forward_is_kept_and_the_forward_is_no_request() -> None:
    found = split_reply(
        "See below.\n\n---------- Forwarded message ---------\nFrom: x@y.example\n\nHello there"
    )
    assert found == ("See below.", None, True)


def test_long_bodies_take_no_time_to_split() -> None:
    """Patterns that backtrack would take minutes on these, and the test would not end."""
    for part in ("On and on: ", "From: a\n", "a b c\n", "x", "> ", "-", "On 1 Mar 2024 ", "\n", " "):
        split_reply(part * 20_000)


def test_html_is_read_without_quotes_signature_and_markup() -> None:
    html = (
        "<html><head><style>p {color: red}</style><title>x</title></head>"
        "<body><div>Hi Lena,</div><div><br></div>"
        "<div>Friday &amp; Saturday work:<br>bring</div><ul><li>gloves</li><li>a rake</li></ul>"
        '<div class="gmail_signature">Kai Berg</div>'
        '<div class="gmail_quote"><div>On Tue, Lena wrote:</div><blockquote>can you?</blockquote></div>'
        "</body></html>"
    )
    assert html_text(html) == "Hi Lena,\n\nFriday & Saturday work:\nbring\n\n- gloves\n- a rake"
    assert "can you?" in html_text(html, quoted=True)


def test_html_of_outlook_ends_where_the_quote_begins() -> None:
    html = (
        '<div>Yes.</div><div id="appendonsend"></div><hr><div id="divRplyFwdMsg"><b>From:</b> L</div>can you?'
    )
    assert html_text(html) == "Yes."


def test_broken_html_is_read_as_far_as_it_goes() -> None:
    assert html_text("<div>Hello <b>there<div>and <i>you</div></p></b> all") == "Hello there\nand you\n\nall"


def test_wrapped_paragraphs_are_joined_and_lists_and_verses_are_not() -> None:
    first = "This paragraph was wrapped by a program at seventy-two columns, so"
    wrapped = f"{first}\nits lines are joined.\n\nRoses\nare red\n\n- {first}\n- and more"
    assert unwrapped(wrapped) == f"{first} its lines are joined.\n\nRoses\nare red\n\n- {first}\n- and more"
