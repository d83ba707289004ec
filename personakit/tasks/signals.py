"""How a user's signals, and a summary of them, are worded: the one place where they become text (POPI).

Three prompts are made of the same parts: the inference model's (signals, then the request for a summary),
the generator's (a summary, then what is asked), and that of the raw-history control (signals, then what is
asked). The paper's own wording is not known: all of it is our choice.

Two wordings, by the task whose inputs the prompts of the pairs are (`PreferenceStore.task`):

- `PLAIN`, where prompts are whole requests: every pair with its prompt and both answers.
- `MESSAGES`, for lamp-mini, whose prompts are the non-template part of a LaMP-7 input: what the user
  preferred stands as LaMP-7's profile does ('"..." , and "..."  are written by a person. Following the
  given patterns ...'), the request as LaMP-7 words it, and a summary in a line above, where
  `Task.prompt_with_context` puts it. nano was taught to read the first two so. It knows no answer that
  the user did *not* prefer, so these are left out; `MESSAGE_PAIRS` is the same with prompt and both
  answers of each pair, for models that are trained to read them.

Signals are dropped whole to fit a budget, never cut, and counted by kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from personakit.data.lamp_formats import build_input, task_format
from personakit.records import PreferencePair, ProfileItem, Signals
from personakit.tasks.lamp import LAMP
from personakit.tasks.profile_prompt import JOIN

CountTokens = Callable[[str], int]
Dropped = Mapping[str, int]
"""How many signals of each of the `KINDS` did not fit; {} where all did."""

KINDS = ("about", "comments", "items", "pairs")
"""The kinds of signals, as `Signals` names them."""

_LAMP_7 = next(task.profile_prompt for task in LAMP if task.name == "LaMP_7")


@dataclass(frozen=True, slots=True)
class SignalWording:
    """How one kind of prompt words everything.

    `pair` holds {prompt}, {chosen} and {rejected}; `comment`, `about` and `item` {text}; `post`, for a
    comment on somebody's post, {post} and {comment}. Comments and lines about the user come first, each
    ended by `line_end`; then pairs and items, with `join` between them and `end` behind the last.
    `to_request` leads from the signals to what is asked and `to_ask` to `ask`, the request for a summary;
    with `after_lines` also where there are lines alone. `summary` words a summary before a request.
    `task` is the LaMP task whose template goes around a prompt.
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
        """Return what is asked, as the answering model is asked it when nothing is known of the user."""
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

MESSAGE_PAIRS = replace(MESSAGES, pair='"{chosen}" not "{rejected}" for "{prompt}" ')


def wording_for(task: str | None, *, whole_pairs: bool = False) -> SignalWording:
    """Return the wording for preference data of a LaMP task (`PreferenceStore.task`), or of none.

    `whole_pairs` shows prompt and rejected answer of a pair even where nano does not know them.
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
    """Return the signals as text of at most `max_length` tokens, and what was dropped to fit.

    What is said in words goes first (about the user, then comments), then pairs and items, the newest
    first: the oldest are the first to be dropped. Each kind is taken to run from old to new, or with
    `newest_last` off from new to old; the text keeps the order given. A signal longer than what is left is
    passed over, and smaller ones after it are still taken.
    """
    text, dropped = _fitted(signals, "", "", count_tokens, max_length, newest_last, wording)
    return text.strip(), dropped


def summary_prompt(
    signals: Signals,
    *,
    count_tokens: CountTokens,
    max_length: int,
    newest_last: bool = True,
    wording: SignalWording = PLAIN,
) -> tuple[str, Dropped]:
    """Return the inference model's prompt, of at most `max_length` tokens, and what was dropped to fit.

    It holds the signals and the request for a summary, and nothing of what will be asked: a summary
    is inferred once for a user. Without signals it is the request alone.
    """
    return _fitted(signals, wording.to_ask, wording.ask, count_tokens, max_length, newest_last, wording)


def prompt_with_summary(prompt: str, summary: str | None, *, wording: SignalWording = PLAIN) -> str:
    """Return the generator's prompt: the request, below a summary unless it is None or blank."""
    return below_summary(wording.request(prompt), summary, wording=wording)


def below_summary(request: str, summary: str | None, *, wording: SignalWording = PLAIN) -> str:
    """Return a request that is worded already below a summary, unless it is None or blank."""
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
    """Return the request below the raw signals, and what was dropped to stay within `max_length` tokens.

    The request is never cut; where no signal fits beside it, it stands alone.
    """
    return below_signals(
        wording.request(prompt),
        signals,
        count_tokens=count_tokens,
        max_length=max_length,
        newest_last=newest_last,
        wording=wording,
    )


def below_signals(
    request: str,
    signals: Signals,
    *,
    count_tokens: CountTokens,
    max_length: int,
    newest_last: bool = True,
    wording: SignalWording = PLAIN,
) -> tuple[str, Dropped]:
    """Do the same for a request that is worded already."""
    return _fitted(signals, wording.to_request, request, count_tokens, max_length, newest_last, wording)


@dataclass(frozen=True, slots=True)
class _Worded:
    """One signal: its kind, its place in that kind, its text."""

    kind: str
    place: int
    text: str


def _fitted(
    signals: Signals,
    leading: str,
    ending: str,
    count_tokens: CountTokens,
    max_length: int,
    newest_last: bool,
    wording: SignalWording,
) -> tuple[str, Dropped]:
    """Take signals in order of worth while they fit; `ending` always stands, `leading` only after signals."""
    joint = max(count_tokens(wording.join), count_tokens(wording.line_end))
    room = max_length - count_tokens(wording.end + leading + ending) + joint  # the last has none behind it
    taken: list[_Worded] = []
    for each in _by_worth(signals, newest_last, wording):
        cost = count_tokens(each.text) + joint
        if cost <= room:
            taken.append(each)
            room -= cost
    text = _assembled(taken, wording, leading) + ending
    while taken and count_tokens(text) > max_length:  # the tokens of a text are not quite those of its parts
        taken.pop()
        text = _assembled(taken, wording, leading) + ending
    left = Counter(each.kind for each in taken)
    given = {kind: len(getattr(signals, kind)) for kind in KINDS}
    return text, {kind: count - left[kind] for kind, count in given.items() if count > left[kind]}


def _assembled(taken: Iterable[_Worded], wording: SignalWording, leading: str) -> str:
    """The signals in the order given: lines above, items and pairs below."""
    by_kind: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for each in sorted(taken, key=lambda one: one.place):
        by_kind[each.kind].append(each.text)
    text = "".join(line + wording.line_end for line in (*by_kind["about"], *by_kind["comments"]))
    shown = [*by_kind["items"], *by_kind["pairs"]]
    if shown:
        return text + wording.join.join(shown) + wording.end + leading
    return text + leading if text and wording.after_lines else text


def _by_worth(signals: Signals, newest_last: bool, wording: SignalWording) -> list[_Worded]:
    def worded(kind: str, texts: Sequence[str]) -> list[_Worded]:
        made = [_Worded(kind, place, text) for place, text in enumerate(texts)]
        return made[::-1] if newest_last else made

    said = worded("about", [wording.about.format(text=text) for text in signals.about])
    said += worded("comments", [wording.comment.format(text=text) for text in signals.comments])
    pairs = worded("pairs", [_pair(pair, wording) for pair in signals.pairs])
    items = worded("items", [_item(item, wording) for item in signals.items])
    # Pairs and items in turn, the newest of each first.
    for number in range(max(len(pairs), len(items))):
        said += pairs[number : number + 1] + items[number : number + 1]
    return said


def _pair(pair: PreferencePair, wording: SignalWording) -> str:
    return wording.pair.format(prompt=pair.prompt, chosen=pair.chosen, rejected=pair.rejected)


def _item(item: ProfileItem, wording: SignalWording) -> str:
    if {"post", "comment"} <= item.fields.keys():
        return wording.post.format(**item.fields)
    return wording.item.format(text=item.document)
