"""Separates a model's reasoning from its answer, and asks models not to reason.

Reasoning comes as text in tags, as parts of a list, or in a field of its own (`reasoning_content`,
`reasoning`), which nothing here reads. The tags are those of DeepSeek-R1, Qwen3 and most others (`<think>`),
Mistral (`[THINK]`), Cohere (`<|START_THINKING|>`), OpenThinker (`<|begin_of_thought|>`), Seed-OSS, Kimi,
Gemma (`<|channel>thought`), and gpt-oss' channels (OpenAI's harmony format).
"""

from __future__ import annotations

import re
from typing import Any

#: Variables of chat templates that switch reasoning off (Qwen3, GLM, SmolLM3; DeepSeek-V3.1, Granite).
#: Templates ignore variables that they do not use.
NO_THINKING = {"enable_thinking": False, "thinking": False}

_NAMES = "(?:seed:)?(?:think|thinking|thought|reasoning)"
_OPEN = rf"(?:<{_NAMES}>|\[THINK\]|<\|START_THINKING\|>|<\|begin_of_thought\|>|<\|channel>thought\b|◁think▷)"
_CLOSE = rf"(?:</{_NAMES}>|\[/THINK\]|<\|END_THINKING\|>|<\|end_of_thought\|>|<channel\|>|◁/think▷)"
# What some models put around the answer that follows.
_ANSWER_TAGS = re.compile(
    r"\A\s*<\|(?:START_RESPONSE|begin_of_solution)\|>|<\|(?:END_RESPONSE|end_of_solution)\|>\s*\Z"
)
_BLOCK = re.compile(rf"{_OPEN}.*?{_CLOSE}", re.DOTALL | re.IGNORECASE)
_END = re.compile(_CLOSE, re.IGNORECASE)
# An answer may mention a tag within a line.
_UNCLOSED = re.compile(rf"^[^\S\n]*{_OPEN}", re.MULTILINE | re.IGNORECASE)
_OPENED = re.compile(rf"{_OPEN}\s*\Z", re.IGNORECASE)
_CHANNEL, _FINAL = "<|channel|>", "<|channel|>final<|message|>"
_CHANNEL_END = re.compile(r"<\|(?:return|end|call)\|>")
_MARKERS = re.compile(rf"{_OPEN}|{_CLOSE}|<\|(?:channel|message)\|>|<\|channel>", re.IGNORECASE)
_REASONING_PARTS = frozenset({"thinking", "reasoning", "redacted_thinking"})


def remove_reasoning(text: str, *, opened: bool = False) -> str | None:
    """Return `text` without reasoning; None if the reasoning does not end, so that there is no answer.

    `opened` says that the prompt has opened the block already. A text without reasoning is returned as it is.
    """
    if _CHANNEL in text:
        _, final, answer = text.rpartition(_FINAL)
        return _CHANNEL_END.split(answer)[0].strip() if final else None
    rest = text if opened or _END.search(text) is None else _BLOCK.sub("", text)
    ends = list(_END.finditer(rest))
    if ends:
        rest = rest[ends[-1].end() :]
    elif opened:
        return None
    if _UNCLOSED.search(rest):
        return None
    rest = _ANSWER_TAGS.sub("", rest)
    return text if rest == text else rest.strip()


def closing_tag(prompt: str) -> str:
    """Return the tag that closes the block in which a rendered prompt ends, "" if it ends in none.

    The templates of DeepSeek-R1 and Qwen3-Thinking end in `<think>`.
    """
    opened = _OPENED.search(prompt)
    if opened is None:
        return ""
    tag = opened[0].strip()
    if "channel" in tag:
        return "<channel|>"
    if "|" in tag:
        return tag.replace("START", "END").replace("begin", "end")
    return f"{tag[0]}/{tag[1:]}"


def is_marker(token: str) -> bool:
    """Return whether a special token marks reasoning, so that decoding must keep it."""
    return _MARKERS.fullmatch(token) is not None


def content_text(content: Any) -> str:
    """Return the text of a message's `content`: a text, or a list of parts, without parts of reasoning."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "".join(
        part if isinstance(part, str) else str(part["text"])
        for part in content
        if isinstance(part, str)
        or (
            isinstance(part, dict)
            and part.get("type") not in _REASONING_PARTS
            and isinstance(part.get("text"), str)
        )
    )
