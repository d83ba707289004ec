"""Prompt templates for a user's signals and for summaries of them (POPI).

Three prompts use the same parts: the inference model's (signals, then the request for a summary), the
generator's (a summary, then the request), and the raw-history control's (signals, then the request). The
paper does not publish its templates, so these are ours.

There are two templates, chosen by the task whose inputs the pairs' prompts are (`PreferenceStore.task`):

- `PLAIN`, for complete requests: every pair with its prompt and both answers.
- `MESSAGES`, for lamp-mini, whose prompts are the non-template part of LaMP-7 inputs: preferred answers are
formatted
  like LaMP-7's profile ('"..." , and "..."  are written by a person. Following the given patterns ...'), the
  request like LaMP-7's input, and a summary on a line above, as in `Task.prompt_with_context`. nano was
  trained on the first two. It has never seen rejected answers, so these are left out. `MESSAGE_PAIRS` adds
  prompt and both answers of each pair, for models that are trained to read them.

Signals that exceed the token budget are dropped whole and counted by kind. Where not even one fits, the one
of the highest priority is shortened, so that a user with signals is never shown without any.
"""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from personakit.data.lamp_formats import build_input, task_format
from personakit.records import PreferencePair, ProfileItem, Signals
from personakit.tasks.lamp import LAMP
from personakit.tasks.profile_prompt import JOIN

CountTokens = Callable[[str], int]
Dropped = Mapping[str, int]
"""The number of signals of each of the `KINDS` that were dropped, and under `SHORTENED` of those that were
shortened; {} if all are there as they are."""

KINDS = ("about", "comments", "items", "pairs")
"""The kinds of signals, as `Signals` names them."""

SHORTENED = "shortened"

_LAMP_7 = next(task.profile_prompt for task in LAMP if task.name == "LaMP_7")


@dataclass(frozen=True, slots=True)
class SignalWording:
    """The templates of one kind of prompt.

    `pair` contains {prompt}, {chosen} and {rejected}; `comment`, `about` and `item` {text}; `post`, for a
    comment on a post, {post} and {comment}. Comments and lines about the user come first, each followed by
    `line_end`; then pairs and items, joined by `join` and followed by `end`. `to_request` connects the
    signals with the request and `to_ask` with `ask`, the request for a summary; with `after_lines` also if
    there are only lines. `summary` is the template of a summary before a request. `task` is the LaMP task
    whose template applies to prompts.
    """

    pair: str
    comment: str
    about: str
    item: str
    post: str
    line_end: str
    join: str
    end: str
    to_request: str
    to_ask: str
    after_lines: bool
    ask: str
    summary: str
    task: str | None = None

    def request(self, prompt: str) -> str:
        """Return the request as the generator gets it without a summary or signals."""
        if self.task is None:
            return prompt
        return build_input(self.task, **{task_format(self.task).search_parts[0]: prompt})


PLAIN = SignalWording(
    pair="Asked: {prompt}\nThis person preferred: {chosen}\nto: {rejected}",
    comment="This person says: {text}",
    about="About this person: {text}",
    item="This person wrote: {text}",
    post="Under the post: {post}\nthis person wrote: {comment}",
    line_end="\n\n",
    join="\n\n",
    end="\n\n",
    to_request="Answer the way this person prefers.\n\n",
    to_ask="",
    after_lines=True,
    ask="Describe in a few sentences what this person likes in an answer, so that somebody who has seen "
    "none of this can answer in their way.\n",
    summary="What is known of the person who asks: {summary}\n\n",
)

_AFTER_PROFILE = _LAMP_7.frame.removeprefix("{profile}").removesuffix("{input}")
MESSAGES = SignalWording(
    pair=_LAMP_7.item.replace("{text}", "{chosen}"),
    comment="{text}",
    about="{text}",
    item=_LAMP_7.item,
    post=_LAMP_7.item.replace("{text}", "{comment}"),
    line_end="\n",
    join=JOIN,
    end="",
    to_request=_AFTER_PROFILE,
    to_ask=_AFTER_PROFILE,
    after_lines=False,
    ask="describe how this person writes: ",
    summary="{summary}\n",
    task="LaMP_7",
)

#: Asks a model that was not trained to write summaries: it says what to look at, and how to begin.
ASK_UNTRAINED = (
    "Above are answers that one person preferred, each with an answer that the person liked less. What do "
    "the preferred answers have in common? Describe their length, their words, their tone and their level of "
    'detail in one or two sentences, and begin with "This person likes answers that".\n'
)

MESSAGE_PAIRS = replace(MESSAGES, pair='"{chosen}" not "{rejected}" for "{prompt}" ')


def signal_wording(task: str | None, *, whole_pairs: bool = False) -> SignalWording:
    """Return the templates for preference data of a LaMP task (`PreferenceStore.task`), or of none.

    `whole_pairs` includes prompt and rejected answer of each pair, although nano does not know them.
    """
    if task is None:
        return PLAIN
    wording = MESSAGE_PAIRS if whole_pairs else MESSAGES
    return wording if task == wording.task else replace(wording, task=task)


def render_signals(
    signals: Signals,
    *,
    count_tokens: CountTokens,
    max_length: int,
    newest_last: bool = True,
    wording: SignalWording = PLAIN,
) -> tuple[str, Dropped]:
    """Return the signals as text of at most `max_length` tokens, and the counts of dropped signals.

    Priority: lines about the user, then comments, then pairs and items from newest to oldest. Each kind must
    be sorted from old to new, or with `newest_last` False from new to old; the text keeps that order. A
    signal that does not fit is skipped, and shorter ones after it may still be included. If none fits, the
    first is shortened (`_shortened`).
    """
    text, dropped = _fit(signals, "", "", count_tokens, max_length, newest_last, wording)
    return text.strip(), dropped


def summary_prompt(
    signals: Signals,
    *,
    count_tokens: CountTokens,
    max_length: int,
    newest_last: bool = True,
    wording: SignalWording = PLAIN,
) -> tuple[str, Dropped]:
    """Return the inference model's prompt of at most `max_length` tokens, and the counts of dropped signals.

    It contains the signals and the request for a summary, but no later request: a summary is inferred once
    per user. Without signals, only the request remains.
    """
    return _fit(signals, wording.to_ask, wording.ask, count_tokens, max_length, newest_last, wording)


def prompt_with_summary(prompt: str, summary: str | None, *, wording: SignalWording = PLAIN) -> str:
    """Return the generator's prompt: the request, after the summary unless that is None or blank."""
    return with_summary(wording.request(prompt), summary, wording=wording)


def with_summary(request: str, summary: str | None, *, wording: SignalWording = PLAIN) -> str:
    """Return a formatted request, after the summary unless that is None or blank."""
    if summary is None or not summary.strip():
        return request
    return wording.summary.format(summary=summary.strip()) + request


def prompt_with_signals(
    prompt: str,
    signals: Signals,
    *,
    count_tokens: CountTokens,
    max_length: int,
    newest_last: bool = True,
    wording: SignalWording = PLAIN,
) -> tuple[str, Dropped]:
    """Return the request after the raw signals, and the counts of signals dropped for `max_length` tokens.

    The request is never cut. If not even a word of a signal fits, only the request remains.
    """
    return with_signals(
        wording.request(prompt),
        signals,
        count_tokens=count_tokens,
        max_length=max_length,
        newest_last=newest_last,
        wording=wording,
    )


def with_signals(
    request: str,
    signals: Signals,
    *,
    count_tokens: CountTokens,
    max_length: int,
    newest_last: bool = True,
    wording: SignalWording = PLAIN,
) -> tuple[str, Dropped]:
    """Like `prompt_with_signals`, for a request that is already formatted."""
    return _fit(signals, wording.to_request, request, count_tokens, max_length, newest_last, wording)


def none_shown(signals: Signals, dropped: Dropped) -> bool:
    """Return whether no signal is in a prompt, given the counts of those dropped from it."""
    return sum(len(getattr(signals, kind)) - dropped.get(kind, 0) for kind in KINDS) == 0


@dataclass(frozen=True, slots=True)
class _FormattedSignal:
    """One formatted signal: its kind, its index within that kind, its template, and the template's fields."""

    kind: str
    place: int
    template: str
    fields: Mapping[str, str]

    @property
    def text(self) -> str:
        return self.template.format(**self.fields)

    def cut(self, words: int) -> _FormattedSignal:
        """Return the signal with the first words of each field."""
        return replace(
            self, fields={name: " ".join(text.split()[:words]) for name, text in self.fields.items()}
        )


def _fit(
    signals: Signals,
    leading: str,
    ending: str,
    count_tokens: CountTokens,
    max_length: int,
    newest_last: bool,
    wording: SignalWording,
) -> tuple[str, Dropped]:
    """Add signals by priority while they fit. `ending` is always included, `leading` only after signals."""
    separator_tokens = max(count_tokens(wording.join), count_tokens(wording.line_end))
    remaining_tokens = (
        max_length - count_tokens(wording.end + leading + ending) + separator_tokens
    )  # no separator after the last
    included: list[_FormattedSignal] = []
    for signal in _by_priority(signals, newest_last, wording):
        cost = count_tokens(signal.text) + separator_tokens
        if cost <= remaining_tokens:
            included.append(signal)
            remaining_tokens -= cost
    text = _assemble(included, wording, leading) + ending
    while included and count_tokens(text) > max_length:  # token counts of the parts do not quite add up
        included.pop()
        text = _assemble(included, wording, leading) + ending
    short = None
    if not included and (first := next(iter(_by_priority(signals, newest_last, wording)), None)) is not None:
        short = _shortened(
            first,
            wording,
            lambda signal: count_tokens(_assemble([signal], wording, leading) + ending) <= max_length,
        )
    if short is not None:
        included = [short]
        text = _assemble(included, wording, leading) + ending
    included_counts = Counter(signal.kind for signal in included)
    given_counts = {kind: len(getattr(signals, kind)) for kind in KINDS}
    dropped = {
        kind: count - included_counts[kind]
        for kind, count in given_counts.items()
        if count > included_counts[kind]
    }
    return text, dropped if short is None else dropped | {SHORTENED: 1}


def _shortened(
    signal: _FormattedSignal, wording: SignalWording, fits: Callable[[_FormattedSignal], bool]
) -> _FormattedSignal | None:
    """Return the signal with as many first words of each field as fit; None if not one word fits.

    Where a pair does not fit with one word of each text, the first words of the preferred answer stand alone.
    """
    alone = {
        "text": next(signal.fields[name] for name in ("chosen", "comment", "text") if name in signal.fields)
    }
    for form in (signal, replace(signal, template=wording.item, fields=alone)):
        longest = max(len(text.split()) for text in form.fields.values())
        # The first count that does not fit, whose place in the range is the last one that does.
        fitting = bisect(range(1, longest + 1), False, key=partial(_too_long, form, fits))
        if fitting:
            return form.cut(fitting)
    return None


def _too_long(signal: _FormattedSignal, fits: Callable[[_FormattedSignal], bool], words: int) -> bool:
    return not fits(signal.cut(words))


def _assemble(included: Iterable[_FormattedSignal], wording: SignalWording, leading: str) -> str:
    """Return the signals in their given order: lines first, then items and pairs."""
    by_kind: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for signal in sorted(included, key=lambda signal: signal.place):
        by_kind[signal.kind].append(signal.text)
    text = "".join(line + wording.line_end for line in (*by_kind["about"], *by_kind["comments"]))
    joined = [*by_kind["items"], *by_kind["pairs"]]
    if joined:
        return text + wording.join.join(joined) + wording.end + leading
    return text + leading if text and wording.after_lines else text


def _by_priority(signals: Signals, newest_last: bool, wording: SignalWording) -> list[_FormattedSignal]:
    def formatted_signals(kind: str, each: Sequence[tuple[str, Mapping[str, str]]]) -> list[_FormattedSignal]:
        made = [_FormattedSignal(kind, place, *signal) for place, signal in enumerate(each)]
        return made[::-1] if newest_last else made

    formatted = formatted_signals("about", [(wording.about, {"text": text}) for text in signals.about])
    formatted += formatted_signals(
        "comments", [(wording.comment, {"text": text}) for text in signals.comments]
    )
    pairs = formatted_signals("pairs", [(wording.pair, _pair_fields(pair)) for pair in signals.pairs])
    items = formatted_signals("items", [_item_template(item, wording) for item in signals.items])
    # Alternate pairs and items, each by priority.
    for number in range(max(len(pairs), len(items))):
        formatted += pairs[number : number + 1] + items[number : number + 1]
    return formatted


def _pair_fields(pair: PreferencePair) -> dict[str, str]:
    return {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}


def _item_template(item: ProfileItem, wording: SignalWording) -> tuple[str, Mapping[str, str]]:
    if {"post", "comment"} <= item.fields.keys():
        return wording.post, {name: item.fields[name] for name in ("post", "comment")}
    return wording.item, {"text": item.document}
