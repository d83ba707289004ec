"""A language model as judge of two answers, in both orders, because judges prefer the first one shown.

A reply from which no verdict can be read is counted and never scored.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from personakit.contracts import LanguageModel
from personakit.evaluation.bisection import Bisection
from personakit.evaluation.samples import Sample
from personakit.models.cost import CostEstimate, money_for, token_counter
from personakit.models.reasoning import remove_reasoning
from personakit.models.refusal import refusal_reason

#: Enough for "A", "B", "tie" and a few words around it; a judge that reasons needs more.
VERDICT_TOKENS = 16

_PROMPT = """Here is a request and two answers to it.

Request: {request}

Answer A: {first}

Answer B: {second}

Which answer is better? Reply with one word: A, B or tie.
"""
_WORD = re.compile(r"\b(A|B|[Tt]ie|TIE)\b")
# The verdict at the beginning: alone in its sentence, or followed by its reason, which may name the other
# answer (`rest`), except where it is vague.
_VERDICT = re.compile(
    r"""[\s"'*_`#(\[]{0,9}
    (?:(?:the\s{1,3})?(?:(?:better|best|final|my)\s{1,3}){0,3}(?:answer|verdict|choice|winner|one)\b[*_]{0,3}(?:\s{1,3}is\b)?
       [\s:*_"'-]{0,9}|it(?:\s+is|'s)\s+a\s+)?
    \b(?-i:(A|B|[Tt]ie|TIE))\b[*_"'`)\]]{0,9}
    (?:(?P<rest>\s*(?:[.:;!\n\u2013\u2014-]|\Z)|,?\s+(?:because|since|over|not)\b|\s+wins\b
       |\s+is\s+(?:(?:\w+ly|much|a\s+(?:bit|little))\s+)?(?:the\s+)?
        (?:better|best|superior|prefer(?:able|red)|stronger|winner)\b(?![^\n.]*\b(?:but|however)\b))
     |(?=,|\s+is\b(?!\s+(?:\w+ly\s+)?(?:not|worse|worst|inferior|less|weaker|too|no|as|equal)\b)))""",
    re.VERBOSE | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Match:
    """Two answers to one request."""

    request: str
    one: str
    other: str


def judge(
    matches: Sequence[Match], model: LanguageModel, *, max_new_tokens: int = VERDICT_TOKENS
) -> list[float | None]:
    """Return how good `one` of each match is against `other`: 1 better, 0 worse, 0.5 neither.

    The verdict is the mean over both orders, so one that changes with the order is 0.5; equal answers are
    0.5 without a request. None where a reply is missing or cannot be read; replies have at most
    `max_new_tokens`. Raises `RunError` where the
    judge's server is gone.
    """
    open_places = [place for place, each in enumerate(matches) if each.one.strip() != each.other.strip()]
    prompts = []
    for place in open_places:
        match = matches[place]
        prompts.append(_PROMPT.format(request=match.request, first=match.one, second=match.other))
        prompts.append(_PROMPT.format(request=match.request, first=match.other, second=match.one))
    replies: list[list[str]] = []
    if prompts:
        Bisection()(
            lambda some: model.generate(prompts[some], max_new_tokens=max_new_tokens),
            lambda place, error: [""],
            slice(0, len(prompts)),
            replies,
        )
    verdicts: list[float | None] = [0.5] * len(matches)
    for number, place in enumerate(open_places):
        both = [replies[2 * number + turn][0] for turn in (0, 1)]
        first, second = (None if refusal_reason(reply) else read_verdict(reply) for reply in both)
        verdicts[place] = None if first is None or second is None else (first + 1 - second) / 2
    return verdicts


def estimate_verdicts(
    model: str,
    requests: Sequence[str],
    *,
    comparisons: int,
    answer_tokens: int,
    verdict_tokens: int = VERDICT_TOKENS,
) -> CostEstimate:
    """Return at most what a judge costs: `comparisons` of answers to each request, in both orders."""
    count, calls = token_counter(model), 2 * comparisons * len(requests)
    words = sum(count(_PROMPT) + count(request) + 2 * answer_tokens for request in requests)
    prompt_tokens, completion_tokens = 2 * comparisons * words, calls * verdict_tokens
    money = money_for(model, prompt_tokens, completion_tokens)
    return CostEstimate(model, "verdicts, at most", calls, 0, prompt_tokens, completion_tokens, money)


def read_verdict(reply: str) -> float | None:
    """Return 1 where the reply is A or begins with it, 0 for B, 0.5 for a tie; None for other replies.

    Reasoning is removed first. `A or B?` and `A and B are equal` are no verdicts, nor is `A is worse`.
    """
    answer = remove_reasoning(reply)
    found = _VERDICT.match(answer or "")
    if answer is None or found is None:
        return None
    line = answer[found.start(1) :].partition("\n")[0]
    if not found["rest"] and len({word.casefold() for word in _WORD.findall(line)}) > 1:
        return None
    return {"a": 1.0, "b": 0.0, "tie": 0.5}[found[1].casefold()]


@dataclass(frozen=True)
class Judgement:
    """Verdicts on the samples of a log.

    `verdicts` maps a sample's place to its verdict (None: unreadable); samples without an opponent, or
    where either answer is missing, are not in it. `judged` and `unread` count them by row.
    """

    verdicts: Mapping[int, float | None]
    judged: Counter[str]
    unread: Counter[str]


def judge_samples(
    samples: Sequence[Sample],
    opponents: Mapping[str, str],
    model: LanguageModel,
    request: Callable[[Sample], str] = lambda sample: sample.query,
    *,
    max_new_tokens: int = VERDICT_TOKENS,
) -> Judgement:
    """Compare the answers of each row in `opponents` with those of its opponent row to the same queries.

    The opponent's answer has the same seed where there is one, else it is its only one. `request` words
    what the judge reads of a sample.
    """
    places, matches = [], []
    for place, other in _pairs(samples, opponents):
        if samples[place].error is None and other.error is None:
            places.append(place)
            matches.append(Match(request(samples[place]), samples[place].prediction, other.prediction))
    verdicts = dict(zip(places, judge(matches, model, max_new_tokens=max_new_tokens), strict=True))
    unread = Counter(samples[place].method for place, verdict in verdicts.items() if verdict is None)
    return Judgement(verdicts, Counter(samples[place].method for place in places), unread)


def _pairs(samples: Sequence[Sample], opponents: Mapping[str, str]) -> Iterator[tuple[int, Sample]]:
    by_query: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        by_query.setdefault((sample.method, sample.query_id), []).append(sample)
    for place, sample in enumerate(samples):
        candidates = by_query.get((opponents.get(sample.method, ""), sample.query_id), [])
        same_seed = [other for other in candidates if other.seed == sample.seed]
        if candidates:
            yield place, (same_seed or candidates)[0]
