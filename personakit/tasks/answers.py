"""Reads the answer in a chat model's reply as a person would: without preamble, label, quotes or comments.

Chat models wrap answers: `Sure! Here is a headline:`, then `**"Storm Batters Coast"**`, then `Let me know if
you'd like another option.` `extract_answer` is the one place that unwraps them, for every row of a table and
for drafts. LaMP's official scoring of prediction files does not use it.

Personal style must survive. So nothing is removed that one of the user's own texts (or the draft) has as
well: a user whose tweets are in quotes, begin with `Sure!` or have a `Subject:` keeps that. Of several
options, the first is the answer. The wordings below are English; quotes and Markdown are removed in any
language.

Labels and ratings are read by `Task.parse`, which looks for a label or a number in the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property

from personakit.records import ProfileItem, Query
from personakit.tasks.base import Task

_FLAGS = re.IGNORECASE
_KIND = (
    r"(?:headlines?|titles?|subjects?(?: lines?)?|tweets?|posts?|captions?|paraphras\w*|rephras\w*"
    r"|re-?writ\w*|rewording|revis\w*|versions?|answers?|responses?|e-?mails?|messages?|texts?|outputs?|suggestions?"
    r"|options?|alternatives?)"
)
_ADJECTIVE = (
    r"(?:paraphrased|rephrased|rewritten|reworded|revised|edited|improved|personali[sz]ed|suggested|proposed"
    r"|possible|potential|generated|new|final|best|catchy|my|your|the|a)"
)
_REVISED = r"(?:paraphrased|rephrased|rewritten|reworded|revised|edited|improved)"
#: What a title or a message hardly calls itself; real headlines have a `Response:` or `Revisions:`.
_NAME = (
    rf"(?:headlines?|titles?|subject(?: lines?)?|tweets?|paraphrases?|rephrasing|rewrites?|rewording"
    rf"|{_REVISED}\s+{_KIND}|(?:paraphrased|rephrased|rewritten|reworded|revised)(?=[*_]{{0,9}}:| as\b)"
    r"|(?:(?:my|your|final) )?answer)"
)
#: Words about the request itself, which a message of the user hardly has in its first line.
_TASK_WORD = r"(?:paraphras\w*|rephras\w*|re-?writ\w*|reworded|rewording|revised|headlines?|tweets?)"
_YES = (
    r"(?:sure(?: thing)?|of course|certainly|absolutely|okay|ok|alright|all right|got it|great|no problem"
    r"|understood|yes|(?:i(?:'d| would|['’]d| am|['’]m) )?(?:be )?happy to (?:help|assist))"
)
_BASIS = r"(?:based on|following|given|considering|according to|using|in line with|after reading)"
_HERE = r"(?:here(?:['’]s| is| are)|below (?:is|are)|the following (?:is|are))"
_SUGGEST = (
    r"(?:how about|(?:you|we) (?:could|can|might)|i(?:['’](?:d|ll|ve)| would| could| can| have|) ?"
    r"(?:suggest|propose|recommend|go with|re-?writ\w*|paraphras\w*|rephras\w*|revis\w*)"
    r"|(?:a|an|one|another|my|the|some|possible|potential|suggested|this is)\b)"
)
_LEAD = rf"(?:{_YES}\b[^\n.!:,]{{0,60}}[.!,:;—–-]*\s+)?(?:{_BASIS}[^:\n]{{0,150}},\s*)?"

#: `Sure! Here is a headline:` / `Based on the article, a possible title could be:`, then the answer below it.
_ANNOUNCEMENT_LINE = re.compile(
    rf"{_LEAD}(?:{_HERE}|{_SUGGEST})[^\n]{{0,160}}?\b{_KIND}\b[^\n]{{0,120}}:[*_]{{0,9}}[ \t]*\n", _FLAGS
)
#: The same with the answer on the same line: `Here's a headline: Storm`, `The title could be: Storm`.
_ANNOUNCEMENT = re.compile(
    rf"{_LEAD}(?:{_HERE}[^\n:]{{0,120}}?\b{_NAME}\b[^\n:]{{0,80}}"
    rf"|(?:{_SUGGEST})[^\n:]{{0,80}}?\b{_NAME}\b[^\n:]{{0,80}}\b(?:is|be|are|as)(?: as follows)?)"
    r"\s*:[*_]{0,9}\s*",
    _FLAGS,
)
#: A first paragraph without a colon: `Sure, I can help you with that.`
_OFFER = re.compile(
    rf"{_YES}(?:\b[^\n]{{0,80}}\b(?:help|assist|{_TASK_WORD})| you with)\b[^\n]{{0,80}}[.!]\s*\n\s*\n", _FLAGS
)
_SURE_LINE = re.compile(r"(?:sure(?: thing)?|of course|certainly|absolutely)[.!,]*\s*\n", _FLAGS)
_SURE = re.compile(r"(?:sure(?: thing)?|certainly)!\s+", _FLAGS)
_SURE_TITLE = re.compile(r"(?:sure(?: thing)?|of course|certainly|absolutely)[.!]\s+", _FLAGS)
#: `Headline:`, `**Paraphrased tweet:**`, `**Response:**`; and, alone on its line, `## Revised version`.
_LABEL = re.compile(
    rf"(?:(?:final )?answer|(?:(?:{_ADJECTIVE}\s+){{0,3}}(?!answer){_NAME}"
    rf"|[*_#]{{1,9}}\s{{0,9}}(?:{_ADJECTIVE}\s+){{0,3}}{_KIND})(?:\s+\d)?(?:\s+for [^\n:]{{1,60}})?)"
    r"[*_]{0,9}:[*_]{0,9}\s*",
    _FLAGS,
)
_LABEL_LINE = re.compile(rf"[*_#]{{1,9}}\s{{0,9}}(?:{_ADJECTIVE}\s+){{0,3}}{_KIND}[*_]{{0,9}}\s*\n", _FLAGS)
_SUBJECT_LINE = re.compile(r"[*_]{0,9}subject(?: line)?[*_]{0,9}:[^\n]*\n", _FLAGS)
_FITTING = rf"(?:{_ADJECTIVE}|suitable|good|great|better|fitting|appropriate|concise|short|simple|engaging)"
#: `The headline could be "Storm".` and `"Storm" is the title for "..."`, as in LaMP's prompts.
_QUOTED_LAST = re.compile(
    rf"{_LEAD}(?:the|a|an|my|one|another|some|possible|suggested|potential)\s+(?:{_FITTING}\s+){{0,3}}{_NAME}\b"
    r"[^\n\"“«:]{0,80}\b(?-i:is|be|as|with)[:,]?\s*[*_]{0,9}[\"“«]([^\n]+)[\"”»][*_]{0,9}\.?$",
    _FLAGS,
)
_QUOTED_FIRST = re.compile(
    r"[*_]{0,9}[\"“«]([^\n\"”»]+)[\"”»][*_]{0,9}"
    rf"(?:\s+(?-i:is|would be|could be|might be)\s+(?:the|a|an|my|one)\s+(?:{_FITTING}\s+){{0,3}}{_NAME}\b.*"
    rf"|\s+[-–—]+\s+(?:this (?:{_FITTING} )?{_NAME}\b|(?-i:this|it)\s+[a-z]+s\b).*)$",
    _FLAGS,
)
#: A list of options begins with the first pattern, and the second one ends its first option.
_FIRST_NUMBER = (
    re.compile(r"[*_]{0,9}(?:option\s{0,3})?1[.):]", _FLAGS),
    re.compile(r"\n[ \t]{0,9}[*_]{0,3}(?:option\s{0,3})?2[.):]", _FLAGS),
)
_FIRST_BULLET = (re.compile(r"[-*•](?=\s)"), re.compile(r"\n[ \t]{0,9}[-*•]\s"))
_LIST_ITEM = re.compile(r"\s*(?:[-*•]|\d+[.)])\s")
_LIST_MARK = re.compile(r"(?:[-*•]|1[.)])\s+")
_MENTIONS_OPTIONS = re.compile(
    r"\b(?:options|versions|alternatives|suggestions|paraphrases|ways|headlines|titles|subjects|tweets)\b",
    _FLAGS,
)
#: What a comment calls the answer; an e-mail may well end with `This message is confidential`.
_RESULT = r"(?:headline|title|tweet|subject line|versions?|paraphras\w*|rephras\w*|re-?writ\w*|revision)"
_MANNER = rf"(?:{_RESULT}|tone|style|wording|phrasing|meaning|original)"
#: A last paragraph that no e-mail has: `(This version keeps the casual tone.)`, `Changes made:`.
_CERTAIN_COMMENT = re.compile(
    r"[(\[*_]{0,9}(?:(?:key )?changes made[*_]{0,9}:|what (?:i )?changed[*_]{0,9}:|in this version, i\b"
    rf"|(?:(?:this|the above|my) (?:[\w-]+ ){{0,2}}{_RESULT}\b|(?:note[*_]{{0,9}}: )?i(?:['’]ve| have)?"
    r" (?:made|changed|kept|tried|aimed|used|maintained|adjusted|re\w+)\b"
    r"|(?:(?:please )?let me know|feel free|would you like"
    r"|if you(?:['’]d| would)? (?:like|need|want|prefer))\b)[^\n]*\b(?:tone|style)\b)",
    _FLAGS,
)
#: One that some have, too: `This version keeps ...`, `Note: I ...`, `Let me know if you'd like ...`
_COMMENT = re.compile(
    rf"[(\[*_]{{0,9}}(?:(?:this|the above|my|these) (?:[\w-]+ ){{0,2}}{_RESULT}\b"
    r"|(?:note|explanation|reasoning|(?:key )?changes(?: made)?|what (?:i )?changed)[*_]{0,9}:"
    rf"|(?:in this|i(?:['’]ve| have)? (?:made|changed|kept|tried|aimed|used|maintained|adjusted|re\w+))\b"
    rf"[^\n]*\b{_MANNER}\b"
    r"|(?:(?:please )?let me know|feel free|would you like|if you(?:['’]d| would)? (?:like|need|want|prefer)"
    rf"|i can also)\b[^\n]*\b(?:{_MANNER}|adjust\w*|tweak\w*|refine\w*|me to (?:change|make|edit)\w*)\b"
    r"|i hope this (?:helps|works for you)\b)",
    _FLAGS,
)
_COMMENT_IN_BRACKETS = re.compile(
    rf"\((?:this|note|the above|i)\b[^()\n]*\b{_MANNER}\b[^()\n]*\)[*_]{{0,9}}$", _FLAGS
)
_FENCE = re.compile(r"```[\w-]*\n(.*?)\n?```", re.DOTALL)
_RULE_LINE = re.compile(r"(?:[-*_] ?){3,99}[ \t\r]*\n")
_RULE_END = re.compile(r"\n[ \t\r]*(?:[-*_] ?){3,99}$")
_BLOCK_QUOTE = re.compile(">")
_HEADING = re.compile(r"#{1,6}\s+")
_EMPHASIS = ("***", "**", "__", "*", "_", "`")
_QUOTES = ('""', "“”", "”“", "„“", "„”", "«»", "»«", "‹›", "「」", "『』", "‘’", "''", "``")
_LAYERS = 8


def extract_answer(text: str, task: Task, own_texts: Iterable[str] = ()) -> str:
    """Return the answer to a query of `task` in a model's reply, or the stripped reply if there is none.

    `own_texts` (see `own_texts`) are read only where there is something to remove.
    """
    answer = text.strip()
    if task.kind == "generation":
        answer = _unwrapped(answer, _OwnTexts(own_texts), one_line=getattr(task, "one_line", False))
    parsed = task.parse(answer)
    return text.strip() if parsed is None else parsed


def own_texts(task: Task, query: Query, items: Iterable[ProfileItem], *drafts: str) -> Iterator[str]:
    """Yield the texts whose form an answer may keep: drafts, a text to be rewritten, the user's outputs."""
    yield from drafts
    if not getattr(task, "one_line", True):
        yield query.search_text
    for item in items:
        yield task.item_parts(item)[1]


class _OwnTexts:
    """The user's texts, and what they contain."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._given = texts

    @cached_property
    def _texts(self) -> tuple[str, ...]:
        return tuple(text.strip() for text in self._given)

    def match(self, pattern: re.Pattern[str]) -> bool:
        """Whether a text begins with the pattern."""
        return any(pattern.match(text) for text in self._texts)

    def have(self, form: Callable[[str], object]) -> bool:
        """Whether a text has the form."""
        return any(map(form, self._texts))

    def are_lines(self) -> bool:
        """Whether there are texts, each a single line."""
        return bool(self._texts) and not any("\n" in text for text in self._texts)

    def contain(self, words: str) -> bool:
        """Whether a line of a text begins with these words, in any case."""
        wanted = words.strip(" \t\n*_#").casefold()
        return any(
            line.strip(" \t*_#>").casefold().startswith(wanted)
            for text in self._texts
            for line in text.splitlines()
        )


def _unwrapped(text: str, own: _OwnTexts, *, one_line: bool) -> str:
    wrapped = False
    for _ in range(_LAYERS):
        before = text
        for remove in _REMOVALS:
            inner = remove(text, own, one_line).strip() or text
            wrapped = wrapped or (inner != text and remove in _WRAPPERS)
            text = inner
        # An e-mail may end with `Note: the meeting moved`. A model that comments has mostly announced, too.
        text = (
            _without_comments(text, own, _COMMENT if one_line or wrapped else _CERTAIN_COMMENT).strip()
            or text
        )
        if text == before:
            break
    return text


def _without_fence(text: str, own: _OwnTexts, one_line: bool) -> str:
    found = _FENCE.fullmatch(text)
    if found is None and (inside := _FENCE.search(text)) and _ANNOUNCEMENT_LINE.match(text[: inside.start()]):
        found = inside
    return text if found is None or own.have(lambda each: "```" in each) else found[1]


def _without_preamble(text: str, own: _OwnTexts, one_line: bool) -> str:
    for pattern in (
        _ANNOUNCEMENT_LINE,
        _ANNOUNCEMENT,
        _OFFER,
        _SURE_LINE,
        _SURE_TITLE if one_line else _SURE,
    ):
        found = pattern.match(text)
        if found is None or not text[found.end() :].strip():
            continue
        # `Here is the message from Tom:` may be the first line of an e-mail.
        named = re.search(rf"\b{_TASK_WORD}\b", found[0], _FLAGS) is not None
        if own.contain(found[0]) or (not named and own.match(pattern)):
            continue
        rest = text[found.end() :].lstrip()
        if (rule := _RULE_LINE.match(rest)) is not None:
            rest = _RULE_END.sub("", rest[rule.end() :])
        if _MENTIONS_OPTIONS.search(found[0]):
            rest = _first_option(rest, own, one_line=True)
        return rest
    return text


def _first_option(text: str, own: _OwnTexts, one_line: bool) -> str:
    """Return the first of a list of options; a list in answer to a text of several lines is content."""
    for first, second in (_FIRST_NUMBER, _FIRST_BULLET) if one_line else (_FIRST_NUMBER,):
        start, end = first.match(text), second.search(text)
        option = text[start.end() : end.start()].lstrip("*_").strip() if start and end else ""
        if option and not own.have(_has_list) and (one_line or own.are_lines()):
            return option
    return text


def _without_comments(text: str, own: _OwnTexts, comment: re.Pattern[str]) -> str:
    """Remove last paragraphs, and a last bracket, that comment on the answer."""
    paragraphs = re.split(r"\n[ \t\r]*(?:\n[ \t\r]*)+", text)
    number = len(paragraphs)
    for place in range(len(paragraphs) - 1, 0, -1):
        if comment.match(paragraphs[place]):
            number = place
        elif not (_COMMENT.match(paragraphs[place]) or _LIST_ITEM.match(paragraphs[place])):
            break
    if number < len(paragraphs) and not (
        own.contain(" ".join(paragraphs[number].split()[:3])) or paragraphs[number - 1].endswith(":")
    ):
        text = _RULE_END.sub("", "\n\n".join(paragraphs[:number]).rstrip())
    if not text.rstrip("*_").endswith(")") or "(" not in text:  # `See you :)`
        return text
    bracket = _COMMENT_IN_BRACKETS.match(text, text.rindex("("))
    if bracket is None or (comment is _CERTAIN_COMMENT and comment.match(bracket[0]) is None):
        return text
    if own.have(lambda each: _COMMENT_IN_BRACKETS.search(each) is not None):
        return text
    return text[: bracket.start()].rstrip().rstrip("*_")


def _without_subject_line(text: str, own: _OwnTexts, one_line: bool) -> str:
    found = None if one_line else _SUBJECT_LINE.match(text)
    return text if found is None or own.contain("subject") else text[found.end() :]


def _without_label_line(text: str, own: _OwnTexts, one_line: bool) -> str:
    found = _LABEL_LINE.match(text)
    return text if found is None or own.contain(found[0]) else text[found.end() :]


def _without_label(text: str, own: _OwnTexts, one_line: bool) -> str:
    found = _LABEL.match(text)
    return text if found is None or own.contain(found[0]) else text[found.end() :]


def _title_line(text: str, own: _OwnTexts, one_line: bool) -> str:
    """Return the first line; the next one if it ends with a colon; a title quoted in a sentence."""
    if not one_line:
        return text
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [""]
    line = lines[1] if len(lines) > 1 and lines[0].rstrip("*_ ").endswith((":", "：")) else lines[0]
    if (mark := _LIST_MARK.match(line)) is not None and not own.have(_has_list):
        line = line[mark.end() :]
    for pattern in (_QUOTED_FIRST, _QUOTED_LAST):
        found = pattern.match(line)
        if found is not None and not own.match(pattern):
            return found[1]
    return line


def _without_markdown(text: str, own: _OwnTexts, one_line: bool) -> str:
    heading = _HEADING.match(text)
    if heading is not None and not own.match(_HEADING):
        return text[heading.end() :]
    lines = text.splitlines()
    if all(line.startswith(">") for line in lines if line.strip()) and not own.match(_BLOCK_QUOTE):
        return "\n".join(line.lstrip("> ") for line in lines)
    for mark in _EMPHASIS:
        inner = text[len(mark) : -len(mark)]
        if text == f"{mark}{inner}{mark}" and inner.strip(mark[0] + " ") and mark not in inner:
            return text if own.have(re.compile(rf"{re.escape(mark)}\S").search) else inner
    return text


def _without_quotes(text: str, own: _OwnTexts, one_line: bool) -> str:
    """Remove quotes around the whole text, with a full stop after them."""
    inner = _quoted(text)
    return text if inner is None or own.have(lambda each: _quoted(each) is not None) else inner


def _quoted(text: str) -> str | None:
    """Return the text between quotes, None if it is not quoted as a whole."""
    for opening, closing in map(tuple, _QUOTES):
        body = text.removesuffix(".") if text.endswith(f"{closing}.") else text
        if len(body) < 3 or not (body.startswith(opening) and body.endswith(closing)):
            continue
        inner = body[1:-1]
        # `"A" and "B"` is not a quotation; an apostrophe is not a quote.
        marks = re.sub(r"(?<=\w)['’](?=\w)", "", inner)
        if opening not in marks and closing not in marks:
            return inner
    return None


def _has_list(text: str) -> bool:
    return any(_LIST_MARK.match(line.lstrip()) for line in text.splitlines())


#: From the outside in. Each returns the text unchanged where there is nothing to remove.
_REMOVALS = (
    _without_fence,
    _without_preamble,
    _first_option,
    _without_subject_line,
    _without_label_line,
    _title_line,
    _without_markdown,
    _without_quotes,
    _without_label,
)
_WRAPPERS = (_without_fence, _without_preamble, _without_label_line, _without_label)
