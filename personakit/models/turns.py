"""How a chat template writes the assistant's turn: what comes before the answer, and the token that ends it.

The template itself is asked: it renders a conversation in which the assistant has answered. So Gemma's
answers end with `<end_of_turn>` and Phi's with `<|end|>`, although the end-of-sequence token of their
tokenizers is another one. Generation, scoring and training all use what is found here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from personakit.errors import UserError
from personakit.models.conversation import messages_of
from personakit.models.reasoning import NO_THINKING, closing_tag

#: Variables of chat templates: no reasoning, and a fixed date (otherwise Llama 3.2 writes today's, and
#: prompts change from day to day). Templates ignore variables that they do not use.
TEMPLATE_OPTIONS = {**NO_THINKING, "date_string": "26 Jul 2024"}
_QUESTION, _ANSWER = "Which word?", "Heron"


@dataclass(frozen=True, slots=True)
class AnswerTurn:
    """The assistant's turn after the generation prompt."""

    lead: str = ""
    """Text before the answer, such as the end of a thought that the generation prompt opens."""
    anchor: str = ""
    """The end of the generation prompt, if the answer's first token depends on it (sentencepiece)."""
    strips: bool = False
    """Whether the template strips the answer."""
    end: int | None = None
    """The token that ends the turn; None if there is none."""

    @property
    def end_ids(self) -> list[int]:
        """The end token, if there is one."""
        return [] if self.end is None else [self.end]

    def as_rendered(self, answer: str) -> str:
        """Return `answer` as the template writes it."""
        return answer.strip() if self.strips else answer


def has_template(tokenizer: Any) -> bool:
    """Return whether prompts become messages."""
    return bool(getattr(tokenizer, "chat_template", None))


def render_prompt(tokenizer: Any, prompt: str) -> str:
    """Return `prompt` as a user message, or a `Conversation` as its messages, and the generation prompt.

    Raises `UserError` if the chat template is broken or rejects such a conversation.
    """
    return _render(tokenizer, messages_of(prompt), add_generation_prompt=True)


def without_special_tokens(tokenizer: Any, text: str) -> str:
    """Return `text` with the tokenizer's special tokens broken up by a space behind their first character.

    A text that somebody else wrote could otherwise end its message and begin another one.
    """
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    special = {*tokenizer.all_special_tokens, *(token.content for token in added if token.special)}
    for token in sorted(special, key=len, reverse=True):
        if len(token) > 1:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def answer_turn(tokenizer: Any) -> AnswerTurn:
    """Return the form of the assistant's turn. Without a chat template, it ends with the end of sequence."""
    end = tokenizer.eos_token_id
    if not has_template(tokenizer):
        return AnswerTurn(end=end)
    prompt = render_prompt(tokenizer, _QUESTION)
    turn = _render_answer(tokenizer, _ANSWER)
    if turn is None:
        return AnswerTurn(end=end)
    before, _, after = turn.rpartition(_ANSWER)
    if before.startswith(prompt):
        lead = before[len(prompt) :]
    else:  # DeepSeek-R1's conversations have no thoughts, but its generation prompt opens one
        closing = closing_tag(prompt)
        lead = f"{closing}\n\n" if closing else ""
    spaced = f" {_ANSWER} "
    strips = spaced not in (_render_answer(tokenizer, spaced) or spaced)
    lead, anchor = _boundary(tokenizer, prompt, lead)
    return AnswerTurn(lead, anchor, strips, _first_added(tokenizer, after, end))


def opened_thought(tokenizer: Any) -> bool:
    """Return whether the generation prompt opens a block of reasoning."""
    return has_template(tokenizer) and bool(closing_tag(render_prompt(tokenizer, _QUESTION)))


def end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Return the tokens at which generation stops: the turn's, the tokenizer's, and the model's own."""
    config = getattr(model, "generation_config", None)
    declared = getattr(config, "eos_token_id", None)
    ends = declared if isinstance(declared, Sequence) else [declared]
    found = [answer_turn(tokenizer).end, tokenizer.eos_token_id, *ends]
    return [int(end) for end in dict.fromkeys(found) if end is not None]


def _render(tokenizer: Any, messages: list[dict[str, str]], **options: Any) -> str:
    from jinja2 import TemplateError

    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, **options, **TEMPLATE_OPTIONS)
    except (TemplateError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise UserError(
            f'the chat template of model "{tokenizer.name_or_path}" fails on a user message: {error}',
            hint="correct chat_template.jinja (or chat_template in tokenizer_config.json), or remove it to "
            "use the model without a template",
        ) from error
    return str(text)


def _render_answer(tokenizer: Any, answer: str) -> str | None:
    """Return a rendered conversation that ends with `answer`; None if the template rejects it."""
    messages = [{"role": "user", "content": _QUESTION}, {"role": "assistant", "content": answer}]
    try:
        text = _render(tokenizer, messages)
    except UserError:
        return None
    return text if answer.strip() in text else None


def _first_added(tokenizer: Any, text: str, default: int | None) -> int | None:
    """Return the first token of `text` that is no part of ordinary text."""
    added = {*tokenizer.all_special_ids, *getattr(tokenizer, "added_tokens_decoder", {})}
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return next((int(index) for index in ids if index in added), default)


def _boundary(tokenizer: Any, prompt: str, lead: str) -> tuple[str, str]:
    """Return the lead and the anchor that tokenise an answer as the whole conversation would be.

    A sentencepiece tokenizer marks the start of a text like a space, and so may need no lead (Mistral), or
    the preceding line break to know that there is no space (Zephyr).
    """

    def ids(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    whole, before = ids(f"{prompt}{lead}{_ANSWER}"), ids(prompt)
    for candidate in (lead, lead.lstrip(" ")):
        if before + ids(f"{candidate}{_ANSWER}") == whole:
            return candidate, ""
    anchor = prompt[-1:]
    after_anchor = ids(f"{anchor}{lead}{_ANSWER}")[len(ids(anchor)) :]
    if before + after_anchor == whole:
        return lead, anchor
    return lead, ""
