"""A prompt that is a conversation. Models with a chat template see its messages, others its transcript."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

#: A message: `role` (system, user, assistant) and `content`.
Message = Mapping[str, str]


class Conversation(str):
    """The transcript of messages, which are kept. A single message of the user is its own transcript."""

    messages: tuple[Message, ...]

    def __new__(cls, messages: Sequence[Message]) -> Conversation:
        """Return the conversation of `messages`, oldest first."""
        alone = len(messages) == 1 and messages[0]["role"] == "user"
        lines = [each["content"] if alone else f"{each['role']}: {each['content']}" for each in messages]
        made = super().__new__(cls, "\n\n".join(lines))
        made.messages = tuple(messages)
        return made


def messages_of(prompt: str) -> list[dict[str, str]]:
    """Return the messages of a prompt: those of a `Conversation`, else one of the user."""
    if isinstance(prompt, Conversation):
        return [dict(message) for message in prompt.messages]
    return [{"role": "user", "content": prompt}]
