from __future__ import annotations

import re

import pytest

from personakit.data.own.profile import Item
from personakit.data.own.style import count_style
from personakit.data.own.style_card import style_card
from personakit.data.own.system_prompt import system_prompt

WORK = (
    "The pump is fixed",
    "The hedge is cut",
    "The bees have gone",
    "The hut is open",
    "The gate is shut",
    "It rains",
)
CASUAL = [f"yo! {text.lower()}, i don't know why... cheers, jo" for text in WORK]
FORMAL = [f"Dear Sir,\n\n{text}; I do not know why.\n\nYours faithfully,\nJ. Poe" for text in WORK]


def test_openings_and_closings_are_found_with_their_shares_and_examples() -> None:
    mixed = count_style([*CASUAL, *FORMAL[:3]])
    assert [(each.what, each.texts) for each in mixed.openings] == [("yo!", 6), ("Dear Sir,", 3)]
    assert [each.texts for each in mixed.closings] == [6, 3]
    assert mixed.closings[0].what.endswith("cheers, jo")
    assert mixed.closings[1].what.endswith("Yours faithfully, / J. Poe")
    assert mixed.openings[0].example.startswith("yo! the pump")


def test_case_punctuation_spelling_and_length_are_counted() -> None:
    casual, formal = count_style(CASUAL), count_style(FORMAL)
    assert (casual.texts, casual.lower_case, formal.lower_case) == (6, 6, 0)
    assert casual.punctuation["ellipses"][0] == 6
    assert "semicolons" not in casual.punctuation
    assert formal.punctuation["semicolons"][0] == 6
    assert casual.spelling["i or I"] == (6, 0)
    assert formal.spelling["i or I"][0] == 0
    assert casual.spelling["contractions (don't) or full forms (do not)"] == (6, 0)
    assert formal.spelling["contractions (don't) or full forms (do not)"] == (0, 6)
    assert formal.several_paragraphs == 6
    assert casual.words_of_text.median == 11


def test_phrases_are_those_that_others_do_not_use() -> None:
    texts = [f"well now, {text.lower()} over there" for text in WORK]
    others = [f"{text} and the garden is the garden" for text in WORK]
    assert "the" not in {each.what for each in count_style(texts, others).phrases}
    middle = [f"{n} things, {text.lower()} at long last, {n} more" for n, text in enumerate(WORK)]
    phrase = next(each for each in count_style(middle, others).phrases if "long" in each.what)
    assert phrase.texts == 6
    assert "at long last" in phrase.example


def test_a_card_escapes_what_markdown_would_read() -> None:
    card = style_card(
        [Item(str(n), f"*a* | <b> {text} [x] `c`") for n, text in enumerate(WORK)], name="Jo | *Poe*"
    )
    assert card.startswith("# How Jo \\| \\*Poe\\* writes\n")
    for line in card.splitlines():
        if line.startswith("|"):
            assert line.replace("\\|", "").count("|") in (4, 5)
    assert "<b>" not in card


def test_a_card_of_one_short_text() -> None:
    card = style_card([Item("1", "ok")], name="jo")
    assert "Counted in 1 text of 1 word" in card
    assert "None that recurs." in card


@pytest.mark.parametrize("greeting", ["Dear {},\n\n", "hey {} - "])
def test_a_prompt_says_name_for_those_who_are_greeted(greeting: str) -> None:
    names = ("Sanna", "Falk", "Yoris", "Lenz", "Mika", "Runa")
    texts = [greeting.format(name) + text.lower() for name, text in zip(names, WORK, strict=True)]
    if greeting.islower():
        texts = [text.lower() for text in texts]
    items = [Item(str(n), text) for n, text in enumerate(texts)]
    prompt = system_prompt(items, tokens=400, count_tokens=lambda text: len(text.split()))
    begins = re.findall('Begins with "(.*?)" \\(100 %\\); NAME stands for a name.', prompt.text)
    assert begins == [greeting.format("NAME").strip()]


def test_a_prompt_shows_signs_as_written_and_judges_the_sentence_before_them() -> None:
    texts = [f"Co-op a/b: {text} today{' ' * (n % 2)}.\n-TOMO" for n, text in enumerate(WORK)]
    items = [Item(str(n), text) for n, text in enumerate(texts)]
    prompt = system_prompt(items, tokens=400, count_tokens=lambda text: len(text.split())).text
    assert '- Ends with "-TOMO" (100 %).' in prompt
    assert '- Begins with "Co-op a/b:" (100 %).' in prompt
    assert "No mark at the end" not in prompt
    assert re.search(r"- Usually \d+ to \d+ words, \d+ a sentence\.", prompt)
    unmarked = [Item(str(n), f"{text} today\n-TOMO") for n, text in enumerate(WORK)]
    unmarked_prompt = system_prompt(unmarked, tokens=400, count_tokens=lambda text: len(text.split())).text
    assert "- No mark at the end (100 %)." in unmarked_prompt
