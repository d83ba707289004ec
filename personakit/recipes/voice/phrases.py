"""Phrases that begin and end a writer's texts, and spellings. Most are composed at random."""

from __future__ import annotations

from random import Random

from personakit.data.lamp_mini.style import capitalized
from personakit.data.lamp_mini.words import entries
from personakit.recipes.voice.content import closings, content, listed, openings

_WISHES = ("regards", "greetings", "wishes", "hugs")


def _word(random: Random) -> str:
    """Return a word: of a list, or one that does not exist."""
    if random.random() < 0.12:
        return "".join(
            random.choice("bcdfghjklmnprstvwz") + random.choice(("a", "e", "i", "o", "u", "oo", "ee"))
            for _ in range(random.randint(2, 3))
        ) + random.choice(("", "n", "x", "k", "la"))
    return random.choice(
        random.choice((listed("adjectives"), listed("nouns"), listed("nouns"), listed("verbs")))
    )


def draw_opening(random: Random) -> str:
    """Return a phrase that begins a text."""
    pick = random.choice
    adjective, noun = pick(listed("adjectives")), pick(listed("nouns"))
    crowd, label, word = pick(listed("crowds")), pick(listed("labels")), _word(random)
    if random.random() < 0.25:
        phrase = pick(openings())
    else:
        phrase = pick(
            (
                f"{pick(listed('greeting_words'))} {crowd}",
                f"{pick(listed('greeting_words'))} {adjective} {pick((crowd, noun))}",
                f"{pick(listed('greeting_words'))} from the {noun}",
                f"{capitalized(adjective)} {crowd}",
                f"{capitalized(noun)} {label}",
                f"{capitalized(adjective)} {noun} {label}",
                f"{capitalized(word)}",
                f"{capitalized(word)} {word}",
                f"{capitalized(label)} from the {adjective} {noun}",
                f"Once more the {noun}",
                f"By the {adjective} {noun}",
                f"{capitalized(pick(listed('verbs')))} with me",
                f"[{noun} {label}]",
                f"*{noun} {label}*",
                f"Oh {adjective} {noun}",
                f"Dear {noun}",
                f"{capitalized(label)} no. {random.randint(1, 9)}",
                f"Note to the {noun}",
                f"Not the {noun} again",
                pick(listed("emoji")),
            )
        ) + pick((":", ":", ",", ",", "!", "!", " -", "...", ".", ""))
    change = random.random()
    return phrase.upper() if change < 0.12 else phrase.lower() if change < 0.3 else phrase


def draw_greeting(random: Random) -> str:
    """Return a greeting with a place for the name of whoever is addressed."""
    pick = random.choice
    adjective, noun = pick(listed("adjectives")), pick(listed("nouns"))
    return pick(
        (
            f"{pick(listed('greeting_words'))} {{}}",
            f"{pick(listed('greeting_words'))} {{}}",
            f"{pick(listed('greeting_words'))} {{}} {pick(('my friend', 'dear', 'again', 'and all'))}",
            f"{capitalized(adjective)} {noun} {{}}",
            f"{capitalized(_word(random))} {{}}",
        )
    ) + pick((",", ",", "!", "!", " -", ":", "."))


def draw_closing(random: Random) -> str:
    """Return a phrase that ends a text: a farewell, a name, a slogan, hashtags, emoji, a postscript."""
    pick = random.choice
    adjective, noun, other = pick(listed("adjectives")), pick(listed("nouns")), pick(listed("nouns"))
    verb, farewell, name = pick(listed("verbs")), pick(listed("farewells")), pick(entries("people", "names"))
    signature = pick(
        (
            name,
            name,
            name[0],
            f"{name[0]}.",
            f"{name} {pick(entries('people', 'surnames'))[0]}.",
            name.lower(),
        )
    )
    kind = random.random()
    if kind < 0.17:
        return pick(closings())
    if kind < 0.4:
        separator = pick((", ", ", ", " ", "\n", ",\n", "! "))
        return pick(
            (
                f"{farewell}{separator}{signature}",
                f"{capitalized(adjective)} {pick(_WISHES)}{separator}{signature}",
                f"{farewell} from the {noun}{separator}{signature}",
                f"- {signature}",
                f"— {signature}",
                f"/{signature}",
                f"xx {signature}",
                f"{signature} x",
                f"Your {adjective} {noun}{separator}{signature}",
                f"({signature})",
            )
        )
    if kind < 0.62:
        return " ".join(_hashtag(random) for _ in range(pick((1, 1, 1, 2, 2, 3))))
    if kind < 0.7:
        return (
            "".join(random.sample(listed("emoji"), pick((1, 1, 2, 3))))
            if pick((0, 1))
            else pick(listed("emoticons"))
        )
    if kind < 0.77:
        return pick(("P.S. ", "PS: ", "p.s. ", "PS - ")) + pick(
            (
                f"I still want the {adjective} {noun}.",
                f"the {noun} says hi!",
                f"Never trust a {noun}.",
                f"{capitalized(verb)} more.",
                f"{name} knows why.",
            )
        )
    return pick(
        (
            f"{capitalized(verb)} on",
            f"Stay {adjective}",
            f"Stay {adjective}, {pick(listed('crowds'))}",
            f"Long live the {noun}",
            f"{capitalized(noun)} over {other}",
            f"Back to the {noun}",
            f"{capitalized(verb)} and {pick(listed('verbs'))}",
            f"So says the {noun}",
            f"That was the {noun} {pick(listed('labels'))}",
            f"More {noun}, less {other}",
            f"What a {adjective} {noun}",
            f"Who needs a {noun}",
            f"Never without my {noun}",
            f"Your {adjective} {noun}",
            f"{capitalized(_word(random))} {_word(random)}",
            f"{capitalized(adjective)} as ever",
            f"End of {pick(listed('labels'))}",
        )
    ) + pick((".", ".", "!", "!", "...", "", "?"))


def _hashtag(random: Random) -> str:
    words = [_word(random) for _ in range(random.choice((1, 2, 2, 2, 3)))]
    return "#" + random.choice((str.lower, str.lower, str.title))(
        "".join(words) if random.random() < 0.7 else words[0]
    )


def draw_spelling(random: Random) -> tuple[tuple[str, str], ...]:
    """Return replacements of words: British, casual, or with or without contractions."""
    table = content()
    contractions = tuple(table["contractions"].items())
    kind = random.random()
    if kind < 0.25:
        return tuple(table["british"].items())
    if kind < 0.5:
        casual = [pair for pair in table["casual"].items() if random.random() < 0.6]
        return tuple(sorted(casual, key=lambda pair: -len(pair[0])))
    if kind < 0.65:
        return (("and", random.choice("&&+")),)
    if kind < 0.8:  # without contractions
        return tuple((short, full) for full, short in contractions)
    return contractions
