"""Rule-based training data of POPI's warm starts, before the joint stage.

An untrained inference model samples no useful summaries, and an untrained generator cannot distinguish good
ones from bad ones. So the inference model first learns to write summaries of the signals, and the generator
to answer with them; the joint stage then improves the content. The template here is for the built-in data,
whose preferences are words; on real text the base model writes the summaries (`own_summaries`). All of this
is our choice; the paper's warm starts are unknown.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from personakit.popi.rows import SummarisedUser, WithSummary
from personakit.records import PreferencePair, Signals
from personakit.training.supervised import PromptCompletion

_PUNCTUATION = ".,;:!?\"'()[]"


def template_summary(
    signals: Signals, *, count_tokens: Callable[[str], int], max_tokens: int, bare: bool = False
) -> str:
    """Return a summary of at most `max_tokens` tokens, "" if no phrase of the signals fits.

    The phrases of a pair are those of the chosen answer that occur neither in the query nor in the rejected
    answer. Phrases of several pairs come first, then the user's own texts, then phrases of one pair. With
    `bare` phrases have no position ("begins with").
    """
    counts = Counter(phrase for pair in signals.pairs for phrase in dict.fromkeys(_phrases(pair, bare)))
    repeated = [phrase for phrase, count in counts.most_common() if count > 1]
    single = [phrase for phrase, count in counts.items() if count == 1]
    kept: list[str] = []
    for part in (*repeated, *signals.comments, *signals.about, *single):
        phrase = " ".join(part.split())
        if count_tokens("; ".join([*kept, phrase])) <= max_tokens:
            kept.append(phrase)
    return "; ".join(kept)


def inference_examples(users: Sequence[SummarisedUser], summaries: Sequence[str]) -> list[PromptCompletion]:
    """Return each user's summary prompt with the template summary; users without one are skipped."""
    return [
        PromptCompletion(user.summary_prompt, summary)
        for user, summary in zip(users, summaries, strict=True)
        if summary
    ]


def generator_examples(
    users: Sequence[SummarisedUser],
    summaries: Sequence[str],
    with_summary: WithSummary,
    *,
    without_share: float,
    seed: int,
) -> list[PromptCompletion]:
    """Return each held-out pair's query with the user's summary, and the chosen answer.

    A share `without_share` has no summary, so that the generator can also answer, and be a reference, without
    one.
    """
    generator = random.Random(f"{seed}/warm-start")
    return [
        PromptCompletion(
            with_summary(pair.prompt, "" if generator.random() < without_share else summary), pair.chosen
        )
        for user, summary in zip(users, summaries, strict=True)
        for pair in user.pairs
    ]


def _phrases(pair: PreferencePair, bare: bool) -> Iterator[str]:
    """Yield the runs of words that only the chosen answer contains, with their position unless `bare`."""
    elsewhere = {_bare(word) for text in (pair.prompt, pair.rejected) for word in text.split()}
    words = pair.chosen.split()
    own = [_bare(word) not in elsewhere and bool(_bare(word)) for word in words]
    start = 0
    while start < len(words):
        end = start
        while end < len(words) and own[end]:
            end += 1
        if end > start:
            position = "begins with " if start == 0 else "ends with " if end == len(words) else "says "
            yield f"{'' if bare else position}{' '.join(words[start:end]).strip(_PUNCTUATION)}"
        start = max(end, start + 1)


def _bare(word: str) -> str:
    """Return the word lower-cased, without surrounding punctuation."""
    return word.strip(_PUNCTUATION).casefold()
