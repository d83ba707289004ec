"""What both models of POPI are fine-tuned on before they are trained together, written by code.

A model that has never written a summary samples none worth a reward, and a generator that has never seen one
does not tell good from bad. So the inference model first learns to write a plain summary, made from the
signals by a template, and the generator to answer with it. It is a place to begin: what is worth saying,
the joint stage finds out. All of it is our choice; the paper's warm starts are not known.
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
    """Return a summary of at most `max_tokens` tokens, "" where the signals say nothing that fits.

    Of a pair it tells what the preferred answer says and neither the request nor the other answer does; what
    several pairs show comes first, then the user's own words, then what is seen once. With `bare` a phrase
    stands without its place in the answer.
    """
    shown = Counter(phrase for pair in signals.pairs for phrase in dict.fromkeys(_phrases(pair, bare)))
    often = [phrase for phrase, count in shown.most_common() if count > 1]
    once = [phrase for phrase, count in shown.items() if count == 1]
    kept: list[str] = []
    for part in (*often, *signals.comments, *signals.about, *once):
        told = "; ".join([*kept, " ".join(part.split())])
        if count_tokens(told) <= max_tokens:
            kept.append(" ".join(part.split()))
    return "; ".join(kept)


def inference_examples(users: Sequence[SummarisedUser], summaries: Sequence[str]) -> list[PromptCompletion]:
    """Return each user's summary prompt with their template summary; users without one are left out."""
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
    """Return each held-out pair's request with its user's summary, and the preferred answer.

    Of a share of them the summary is left out, so that the generator can answer, and be a reference, without
    one too.
    """
    drawn = random.Random(f"{seed}/warm-start")
    return [
        PromptCompletion(
            with_summary(pair.prompt, "" if drawn.random() < without_share else summary), pair.chosen
        )
        for user, summary in zip(users, summaries, strict=True)
        for pair in user.pairs
    ]


def _phrases(pair: PreferencePair, bare: bool) -> Iterator[str]:
    """What only the preferred answer says, run of words by run of words, with its place where that tells."""
    elsewhere = {_plain(word) for text in (pair.prompt, pair.rejected) for word in text.split()}
    words = pair.chosen.split()
    own = [_plain(word) not in elsewhere and bool(_plain(word)) for word in words]
    start = 0
    while start < len(words):
        end = start
        while end < len(words) and own[end]:
            end += 1
        if end > start:
            place = "begins with " if start == 0 else "ends with " if end == len(words) else "says "
            yield f"{'' if bare else place}{' '.join(words[start:end]).strip(_PUNCTUATION)}"
        start = max(end, start + 1)


def _plain(word: str) -> str:
    return word.strip(_PUNCTUATION).casefold()
