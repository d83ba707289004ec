"""Prompt templates for signals and summaries, and what is dropped to fit a budget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personakit.records import Context, PreferencePair, ProfileItem, Signals
from personakit.tasks import get_task
from personakit.tasks.signals import (
    KINDS,
    MESSAGE_PAIRS,
    MESSAGES,
    PLAIN,
    SHORTENED,
    none_shown,
    prompt_with_signals,
    prompt_with_summary,
    render_signals,
    signal_wording,
    summary_prompt,
)
from tests.tasks.queries import context_of, count_words, query_of

WORDINGS = {"plain": PLAIN, "messages": MESSAGES, "message pairs": MESSAGE_PAIRS}


def signals_of(pairs: int = 2, comments: int = 1, about: int = 1, items: int = 1) -> Signals:
    return Signals(
        tuple(PreferencePair("u", f"asked{n}", f"liked{n}", f"disliked{n}") for n in range(pairs)),
        tuple(f"comment{n}" for n in range(comments)),
        tuple(f"about{n}" for n in range(about)),
        tuple(ProfileItem(str(n), {"text": f"item{n}"}, f"item{n}") for n in range(items)),
    )


def present(text: str, signals: Signals) -> dict[str, int]:
    words = {
        "about": signals.about,
        "comments": signals.comments,
        "items": [item.document for item in signals.items],
        "pairs": [pair.chosen for pair in signals.pairs],
    }
    said = text.replace('"', " ").split()
    return {kind: sum(word in said for word in words[kind]) for kind in KINDS}


def test_signals_that_fit_are_included_in_full() -> None:
    text, dropped = render_signals(signals_of(), count_tokens=count_words, max_length=500)
    assert dropped == {}
    assert text == (
        "About this person: about0\n\nThis person says: comment0\n\nThis person wrote: item0\n\n"
        "Asked: asked0\nThis person preferred: liked0\nto: disliked0\n\n"
        "Asked: asked1\nThis person preferred: liked1\nto: disliked1"
    )


def test_comments_on_posts_are_shown_with_the_post() -> None:
    item = ProfileItem("1", {"post": "what is {up}?", "comment": "{not} much"}, "what is {up}? {not} much")
    text, _ = render_signals(Signals(items=(item,)), count_tokens=count_words, max_length=50)
    assert text == "Under the post: what is {up}?\nthis person wrote: {not} much"


def test_the_oldest_pairs_are_dropped_first_and_nothing_is_cut() -> None:
    signals = signals_of(pairs=4, comments=0, about=0, items=0)
    text, dropped = render_signals(signals, count_tokens=count_words, max_length=17)
    assert dropped == {"pairs": 2}
    assert "asked2" in text
    assert text.index("asked2") < text.index("asked3")
    assert "asked1" not in text
    text, _ = render_signals(signals, count_tokens=count_words, max_length=17, newest_last=False)
    assert "asked0" in text
    assert "asked2" not in text


def test_a_signal_that_does_not_fit_is_skipped() -> None:
    long = PreferencePair("u", "word " * 50, "liked9", "disliked9")
    signals = Signals(pairs=(*signals_of().pairs, long))
    text, dropped = render_signals(signals, count_tokens=count_words, max_length=20)
    assert dropped == {"pairs": 1}
    assert "liked9" not in text
    assert "liked0" in text


@pytest.mark.parametrize("wording", WORDINGS)
@given(
    sizes=st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)),
    max_length=st.integers(0, 90),
)
def test_prompts_stay_within_budget_and_every_signal_is_included_or_counted(
    wording: str, sizes: tuple[int, int, int, int], max_length: int
) -> None:
    signals = signals_of(*sizes)
    chosen = WORDINGS[wording]
    for text, dropped, alone in (
        (*render_signals(signals, count_tokens=count_words, max_length=max_length, wording=chosen), ""),
        (
            *summary_prompt(signals, count_tokens=count_words, max_length=max_length, wording=chosen),
            chosen.ask,
        ),
        (
            *prompt_with_signals(
                "please do", signals, count_tokens=count_words, max_length=max_length, wording=chosen
            ),
            chosen.request("please do"),
        ),
    ):
        given = {kind: len(getattr(signals, kind)) for kind in KINDS}
        shown = present(text, signals)
        counts = {kind: count for kind, count in dropped.items() if kind != SHORTENED}
        assert {kind: given[kind] - shown[kind] for kind in KINDS if given[kind] > shown[kind]} == counts
        assert dropped.get(SHORTENED, 0) <= (sum(shown.values()) == 1)
        assert none_shown(signals, dropped) is not any(shown.values())
        assert text.endswith(alone)
        assert count_words(text) <= max(max_length, count_words(alone))
        if not any(shown.values()):
            assert text == alone


def test_the_newest_signal_is_shortened_where_none_fits() -> None:
    def pair(number: int) -> PreferencePair:
        return PreferencePair("u", f"ask{number} a b c", f"liked{number} d e f", f"not{number} g h i")

    signals = Signals(pairs=(pair(0), pair(1)))
    text, dropped = render_signals(signals, count_tokens=count_words, max_length=12)
    assert text == "Asked: ask1 a\nThis person preferred: liked1 d\nto: not1 g"
    assert dropped == {"pairs": 1, SHORTENED: 1}
    text, _ = render_signals(signals, count_tokens=count_words, max_length=6)
    assert text == "This person wrote: liked1 d e"  # the template of a pair alone has five words
    text, dropped = render_signals(signals, count_tokens=count_words, max_length=3)
    assert (text, dropped) == ("", {"pairs": 2})


def test_without_a_summary_the_prompt_is_the_request() -> None:
    assert prompt_with_summary("do it", None) == prompt_with_summary("do it", " \n") == "do it"
    assert prompt_with_summary("do {it}", "likes {braces} ") == (
        "What is known of the person who asks: likes {braces}\n\ndo {it}"
    )


def test_messages_use_the_template_of_nanos_lamp_7() -> None:
    wording = signal_wording("LaMP_7")
    assert wording is MESSAGES
    task, query = get_task("LaMP_7"), query_of("LaMP_7", text="on monday we went")
    assert prompt_with_summary("on monday we went", None, wording=wording) == task.prompt(query)
    assert prompt_with_summary("on monday we went", "begins with hey", wording=wording) == (
        task.prompt_with_context(
            query, Context(summary="begins with hey"), count_tokens=count_words, max_length=500
        )
    )
    signals = signals_of(pairs=2, comments=0, about=0, items=0)
    text, dropped = prompt_with_signals(
        "on monday we went", signals, count_tokens=count_words, max_length=500, wording=wording
    )
    assert dropped == {}
    assert text == task.prompt_with_context(
        query,
        context_of("LaMP_7", {"text": "liked0"}, {"text": "liked1"}),
        count_tokens=count_words,
        max_length=500,
    )


def test_lines_precede_the_messages() -> None:
    text, _ = summary_prompt(
        signals_of(pairs=1, items=0), count_tokens=count_words, max_length=500, wording=MESSAGES
    )
    assert text == (
        'about0\ncomment0\n"liked0"  are written by a person. Following the given patterns '
        "describe how this person writes: "
    )
    whole = signal_wording("LaMP_7", whole_pairs=True)
    text, _ = render_signals(
        signals_of(pairs=1, items=0), count_tokens=count_words, max_length=500, wording=whole
    )
    assert text == 'about0\ncomment0\n"liked0" not "disliked0" for "asked0"'


def test_complete_requests_use_the_plain_template() -> None:
    assert signal_wording(None) is PLAIN
    text, dropped = prompt_with_signals(
        "Do it.", signals_of(1, 0, 0, 0), count_tokens=count_words, max_length=500
    )
    assert dropped == {}
    assert text == (
        "Asked: asked0\nThis person preferred: liked0\nto: disliked0\n\n"
        "Answer the way this person prefers.\n\nDo it."
    )
    assert summary_prompt(Signals(), count_tokens=count_words, max_length=500) == (PLAIN.ask, {})
