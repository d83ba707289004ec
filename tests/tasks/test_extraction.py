"""Reading answers in chat models' replies; replies are worded as such models word them."""

from __future__ import annotations

import time

import pytest

from personakit.data.lamp_formats import profile_item
from personakit.evaluation.judge import read_verdict
from personakit.models.reasoning import remove_reasoning
from personakit.tasks import get_task
from personakit.tasks.answers import extract_answer, own_texts

from .queries import query_of

STORM = "Storm Batters Coast"
LATE = "gonna be late, dont wait"
MAIL = "Hi Tom,\n\nthe numbers are in.\n\nLet me know if you have any questions.\n\nAnn"


@pytest.mark.parametrize(
    "reply",
    [
        STORM,
        f'Here is a headline:\n\n**"{STORM}"**',
        f'"{STORM}"',
        f"“{STORM}”",
        f"„{STORM}“",
        f"«{STORM}»",
        f"'{STORM}'",
        f'"{STORM}".',
        f"**{STORM}**",
        f"*{STORM}*",
        f"## {STORM}",
        f"`{STORM}`",
        f"```\n{STORM}\n```",
        f"Sure! {STORM}",
        f'Sure! Here\'s a headline for the article: "{STORM}"',
        f"Certainly! Here is a possible headline:\n\n{STORM}",
        f"Headline: {STORM}",
        f"Title: {STORM}",
        f"**Headline:** {STORM}\n\nThis headline captures the event.",
        f"**Headline: {STORM}**",
        f"**Response:** {STORM}",
        f"Final answer: {STORM}",
        f'"{STORM}" would be a suitable headline.',
        f'A good headline for this article is "{STORM}"',
        f"Suggested headline: {STORM}",
        f"### Headline\n{STORM}",
        f'Based on the article, a possible headline could be: "{STORM}"',
        f'A suitable headline for this article would be:\n\n"{STORM}"',
        f'The headline could be "{STORM}".',
        f'"{STORM}" is the title for "a storm came in the night"',
        f'"{STORM}" - This headline says what happened.',
        f"{STORM} (This headline says what happened)",
        f"1. {STORM}\n2. Coast Hit by Storm",
        f"- {STORM}\n- Coast Hit by Storm",
        f'Here are a few options:\n\n1. **"{STORM}"**\n2. **"Coast Hit"**\n\nLet me know!',
        f"I'd suggest the following headline:\n**{STORM}**",
        f"How about this headline:\n\n{STORM}",
        f"I'd be happy to help! Here is a headline:\n{STORM}",
        f"Hier ist eine Überschrift:\n\n„{STORM}“",
        f"{STORM}\n\nLet me know if you'd like another version!",
    ],
)
def test_the_title_in_a_reply(reply: str) -> None:
    assert extract_answer(reply, get_task("LaMP_4")) == STORM


@pytest.mark.parametrize(
    "reply",
    [
        f"Of course. Here's the rewritten tweet:\n\n{LATE}",
        f'Sure! Here is a paraphrased version of the tweet:\n\n"{LATE}"',
        f"Paraphrased tweet: {LATE}",
        f"**Paraphrased tweet:**\n\n{LATE}",
        f'The tweet can be paraphrased as: "{LATE}"',
        f"I'd be happy to help you with that.\n\n{LATE}",
        f"Sure, I can help with that!\n\n{LATE}",
        f"Sure!\n\n{LATE}",
        f'"{LATE}"\n\n(This version keeps the casual tone.)',
        f"{LATE}\n\nNote: I kept the casual tone.",
        f"{LATE}\n\nIn this version, I kept the meaning of the original.",
        f"{LATE}\n\nLet me know if you'd like a different tone.",
        f'1. "{LATE}"\n2. "running behind, go without me"',
        f"> {LATE}",
        f"Here's the rewritten tweet:\n\n---\n\n{LATE}\n\n---",
    ],
)
def test_the_tweet_in_a_reply(reply: str) -> None:
    assert extract_answer(reply, get_task("LaMP_7"), ["I will be late, do not wait"]) == LATE


@pytest.mark.parametrize(
    "reply",
    [
        MAIL,
        f"Here is the revised e-mail:\n\n{MAIL}",
        f"Here's a more polished version of your email:\n\n---\n\n{MAIL}\n\n---\n\n"
        "Let me know if you'd like a different tone!",
        f"Subject: The numbers\n\n{MAIL}",
        f"Here is the revised e-mail:\n\n{MAIL}\n\nNote: I changed the wording of the second line.",
        f"**Revised version**\n\n{MAIL}\n\nThis version is shorter.",
        f"**Revised version**\n\n{MAIL}",
        f"Certainly! Below is a rewritten version of your text:\n\n```\n{MAIL}\n```\n\nI hope this helps!",
        f"{MAIL}\n\nChanges made:\n\n- a greeting\n- a comma",
        f"{MAIL}\n\nI made the following changes to improve the tone:\n\n1. a greeting\n\n2. a comma",
    ],
)
def test_the_email_in_a_reply(reply: str) -> None:
    assert extract_answer(reply, get_task("rewriting"), ["tom, numbers are in. questions? ann"]) == MAIL


@pytest.mark.parametrize(
    ("task", "answer"),
    [
        ("LaMP_7", "see you at 7 :)"),
        ("LaMP_4", "Here's How to Win: 5 Tips"),
        ("LaMP_4", '"Why Trust?": Explaining "Black Boxes"'),
        ("LaMP_4", "Storm **Batters** Coast"),
        ("LaMP_4", "Sure Thing: the Return of Slow Food"),
        ("LaMP_4", "10 Ways to Save"),
        ("LaMP_4", "Der Titel: eine Überschrift"),
        ("LaMP_4", "1,000 Tweets Later"),
        ("LaMP_4", 'Trump\'s Response to Report Is "Fake News"'),
        ("LaMP_4", "Here's Trump's Response To The Report: 'Fake News'"),
        ("LaMP_4", '"Frozen" — A Review of the New Film'),
        ("LaMP_4", '"Frozen" — This Is the Best Film'),
        ("LaMP_4", '"Frozen" Is the Title We Need'),
        ("LaMP_4", "Revisions: A Memoir"),
        ("LaMP_4", "The Message of Easter Is: Hope"),
        ("LaMP_4", "The Answer: A Novel"),
        ("LaMP_5", "The Answer Set Programming Paradigm: A Survey"),
        ("LaMP_5", "Text Generation Is All You Need"),
        ("LaMP_7", "Here's the thing: I love it"),
        ("LaMP_7", "Of course. I'd do it again"),
        ("LaMP_7", "Absolutely, see you there"),
        ("LaMP_7", "*sighs* whatever"),
        ("LaMP_7", "#storm is here"),
        ("LaMP_7", '"no" and "never"'),
        ("LaMP_7", "snack tasting: done"),
        ("LaMP_7", "おはよう、今日もいい天気"),
        ("rewriting", "Sure, I can do Friday.\n\nSee you"),
        ("rewriting", "Dear all,\n\n1. Legal\n2. Gas"),
        ("rewriting", "1. Legal\n2. Gas"),
        ("rewriting", "Hi,\n\nNote: the meeting moved to 3pm."),
        ("rewriting", "Hi,\n\nThis version is final."),
        ("rewriting", "Hi,\n\nI've changed the wording of clause 2 in the agreement."),
        ("rewriting", "Hi,\n\nPlease let me know if you want me to make the changes."),
        ("rewriting", "It is done. (I changed the wording of clause 2.)"),
        ("rewriting", "Hi,\n\nThis email and its files are confidential."),
        ("rewriting", "Hi,\n\nLet me know if there are any changes."),
        ("rewriting", "Bitte ruf mich an.\n\nHinweis: ich bin erst um zehn da."),
        ("rewriting", "Attached:\n- one\n- two"),
    ],
)
def test_nothing_is_removed_from_an_answer_without_wrapping(task: str, answer: str) -> None:
    assert extract_answer(answer, get_task(task)) == answer


@pytest.mark.parametrize(
    ("task", "answer", "own"),
    [
        ("LaMP_4", f'"{STORM}"', '"Rain Again"'),
        ("LaMP_4", f"“{STORM}”", '"Rain Again"'),
        ("LaMP_4", f"**{STORM}**", "**Rain** Again"),
        ("LaMP_4", f"# {STORM}", "# Rain"),
        ("LaMP_4", f"Title: {STORM}", "title: rain"),
        ("LaMP_4", f"- {STORM}", "- rain"),
        ("LaMP_6", "Subject: Lunch", "Subject: Dinner"),
        ("LaMP_4", f"{STORM} (this title is long)", "Rain (this title is short)"),
        ("LaMP_4", f"Sure! {STORM}", "Sure! Rain Again"),
        ("LaMP_7", f"Sure! {LATE}", "Sure! fine with me"),
        ("LaMP_7", f'"{LATE}"', '"as if"'),
        ("LaMP_7", "*waves*", "*sighs* ok"),
        ("LaMP_7", f"> {LATE}", "> be me"),
        ("LaMP_7", "1. wake up\n2. regret it", "1. eat\n2. sleep"),
        ("rewriting", f"Subject: Numbers\n\n{MAIL}", "Subject: numbers\n\ntom, see below"),
        ("rewriting", "Here is the message from Tom:\n\nyes", "Below is the text from Tom:\n\nyes"),
        ("rewriting", "Hi,\n\nI changed the tone.", "hi\n\ni changed the tone"),
        ("rewriting", "Hi,\n\nLet me know if you want another style.", "hey\n\nlet me know about it"),
        ("rewriting", "```\nx = 1\n```", "```\nx=1\n```"),
    ],
)
def test_what_the_users_own_texts_have_stays(task: str, answer: str, own: str) -> None:
    assert extract_answer(answer, get_task(task), ["something else", own]) == answer
    # The case is about the own text: without it, something is removed.
    assert extract_answer(answer, get_task(task), ["something else"]) != answer


@pytest.mark.parametrize("reply", ["", '""', "Here is a headline:", "**", "Title:", "1. ", "Sure!"])
def test_a_reply_is_never_emptied(reply: str) -> None:
    for task in ("LaMP_4", "LaMP_7", "rewriting"):
        assert extract_answer(reply, get_task(task)) == reply.strip()


def test_own_texts_are_the_users_outputs_and_for_rewrites_the_given_text() -> None:
    item = profile_item("LaMP_4", "1", {"title": "Rain", "text": "It rained."})
    query = query_of("LaMP_4", text="A storm.")
    assert list(own_texts(get_task("LaMP_4"), query, [item], "a draft")) == ["a draft", "Rain"]
    tweet = profile_item("LaMP_7", "1", {"text": "lol"})
    assert list(own_texts(get_task("LaMP_7"), query_of("LaMP_7", text="I am late."), [tweet])) == [
        "I am late.",
        "lol",
    ]


def test_own_texts_are_not_read_for_a_bare_answer() -> None:
    def unread() -> object:
        raise AssertionError
        yield ""

    assert extract_answer(STORM, get_task("LaMP_4"), unread()) == STORM  # type: ignore[arg-type]


def test_a_subject_line_announces_no_comment() -> None:
    body = "Hi,\n\nNote: the meeting moved to 3pm."
    assert extract_answer(f"Subject: Monday\n\n{body}", get_task("rewriting"), ["hi, meeting at 3"]) == body


@pytest.mark.parametrize("start", ["", "answer", "1. a", "Sure! ", "The title is ", "a\n\nThis version "])
@pytest.mark.parametrize("repeated", ["*", " ", "\n", "-", "(", "1", "a"])
def test_a_reply_of_one_repeated_character_is_read_in_linear_time(start: str, repeated: str) -> None:
    """Eight times the length takes at most 24 times as long, where quadratic time is 64 times as long."""

    def seconds(length: int) -> float:
        reply = f"{start}{repeated * length}b"
        begun = time.process_time()
        for task in ("LaMP_1", "LaMP_2", "LaMP_3", "LaMP_4", "LaMP_7", "rewriting"):
            extract_answer(reply, get_task(task), ["one", "two"])
        read_verdict(reply)
        remove_reasoning(reply)
        return time.process_time() - begun

    seconds(10)  # compiles the patterns
    assert seconds(16_000) < 24 * max(min(seconds(2_000) for _ in range(2)), 0.002)
