"""Summaries by the base model itself, as training data of the inference model's warm start.

On real text a rule that lists phrases teaches nonsense. A model that follows instructions already writes
summaries in plain words if its prompt names what to look for (`ASK_UNTRAINED`); fine-tuning on those that are
usable teaches the inference model to write such with its own, shorter prompt, and the joint stage improves
them. The filter is our choice; what it drops is counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from personakit.models.cache import FingerprintedModel
from personakit.records import PreferencePair, Signals
from personakit.training.preference import TrainingPair
from personakit.training.processes import map_over_processes

SAMPLES = 4
"""Summaries sampled for a user whose greedy one is dropped; the first that passes is kept."""
TEMPERATURE = 0.7
FEWEST_WORDS = 5
COPIED_WORDS = 8
"""So many words in a row from an answer or a query are a copy."""
MOST_REPEATED = 0.5
"""The largest share of three-word runs that may occur more than once."""

_OPENING = re.compile(r"^(sure|certainly|of course|okay|here (is|are))\b[^\n]*?[:!]\s+", re.IGNORECASE)
_LAST_SENTENCE_END = re.compile(
    r"(?<!\be\.g)(?<!\bi\.e)(?<!\bvs)(?<!\bcf)(?<!\b[DM]r)(?<!\bMs)[.!?](?=[\"')*]*(\s|$))[\"')*]*"
)
_CONTINUES = re.compile(r"\b(asked|prefer\w*|lik\w+|says|wrote|about this person|to):", re.IGNORECASE)
"""What stands in the prompt and in no summary."""
_ABOUT_ANSWERS = re.compile(r"\b(answer|repl|respon|explan|writ|tone|style|language)", re.IGNORECASE)
_PREFERENCE = re.compile(r"\b(lik|prefer|enjoy|want|favou?r|appreciat|value)", re.IGNORECASE)
_FIRST_PERSON = re.compile(r"\bI\b|\b[Aa]s an? (?:AI|(?:large )?language model)\b")


@dataclass(frozen=True, slots=True)
class Author:
    """A user to be summarised: the base model's prompt, and the texts that a summary must not copy."""

    prompt: str
    texts: tuple[str, ...]


def author(prompt: str, signals: Signals, pairs: Sequence[TrainingPair]) -> Author:
    """Return the author with all texts of their signals and held-out pairs."""
    every: list[PreferencePair | TrainingPair] = [*signals.pairs, *pairs]
    texts = [text for pair in every for text in (pair.prompt, pair.chosen, pair.rejected)]
    return Author(prompt, (*texts, *(item.document for item in signals.items)))


def write_summaries(
    authors: Sequence[Author],
    model: FingerprintedModel,
    *,
    max_tokens: int,
    seed: int,
) -> tuple[list[str], Counter[str]]:
    """Return a summary of at most `max_tokens` tokens per user, "" where none passes the filter, and counts.

    The counts are the users with a summary ("kept"), and by reason those whose first summary was dropped and
    that no other one replaced.
    """
    kept: dict[int, str] = {}
    reasons = {place: "no signal fits" for place, each in enumerate(authors) if not each.prompt}
    for samples, temperature in ((1, 0.0), (SAMPLES, TEMPERATURE)):
        missing = [place for place, each in enumerate(authors) if each.prompt and place not in kept]

        def generate(
            prompts: Sequence[str], many: int = samples, hot: float = temperature
        ) -> list[list[str]]:
            return model.generate(
                prompts, samples=many, max_new_tokens=max_tokens, temperature=hot, seed=seed
            )

        written = map_over_processes([authors[place].prompt for place in missing], generate)
        for place, texts in zip(missing, written, strict=True):
            for text in texts:
                summary, reason = read_summary(text, authors[place].texts, model.count_tokens, max_tokens)
                if reason is None:
                    kept[place] = summary
                    break
                reasons.setdefault(place, reason)
    counts = Counter(f"dropped: {reason}" for place, reason in reasons.items() if place not in kept)
    counts["kept"] = len(kept)
    counts["different"] = len(set(kept.values()))
    return [kept.get(place, "") for place in range(len(authors))], counts


def read_summary(
    text: str, texts: Sequence[str], count_tokens: Callable[[str], int], max_tokens: int
) -> tuple[str, str | None]:
    """Return the summary in a model's reply, and the reason for dropping it (None if it is kept).

    The reply becomes one paragraph without an opening such as "Here is a summary:". Sentences that do not fit
    into `max_tokens` tokens are left out, and so is a last one without an end.
    """
    summary = " ".join(_OPENING.sub("", text.strip()).split())
    if not summary:
        return "", "empty"
    if _CONTINUES.search(summary):
        return summary, "continues the prompt"
    ends = [match.end() for match in _LAST_SENTENCE_END.finditer(summary)]
    fitting = [end for end in ends if count_tokens(summary[:end]) < max_tokens]  # one for the end
    if not fitting:
        return summary, "no whole sentence fits"
    summary = summary[: fitting[-1]]
    words = _words(summary)
    if len(words) < FEWEST_WORDS:
        return summary, "too short"
    if not (_ABOUT_ANSWERS.search(summary) and _PREFERENCE.search(summary)):
        return summary, "says nothing of answers"
    if _FIRST_PERSON.search(summary):
        return summary, "speaks of the model"
    if _repeats(words):
        return summary, "repeats itself"
    runs = set(_runs(words, COPIED_WORDS))
    if any(run in runs for other in texts for run in _runs(_words(other), COPIED_WORDS)):
        return summary, "copies an answer or a query"
    return summary, None


def _repeats(words: Sequence[str]) -> bool:
    counts = Counter(_runs(words, 3))
    return sum(count for count in counts.values() if count > 1) > MOST_REPEATED * sum(counts.values())


def _runs(words: Sequence[str], length: int) -> Iterable[tuple[str, ...]]:
    return (tuple(words[at : at + length]) for at in range(len(words) - length + 1))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
