"""Exceptions that the command line reports in one sentence.

The command line prints the message and a `hint:` line. `UserError` exits with status 2, `RunError` with
status 1. Any other exception is a bug and keeps its traceback.
"""


class UserError(Exception):
    """Wrong use or bad input.

    `message` names the place, the value and what was expected ("data/dev.json, item 17: "score" is "five",
    expected 1 to 5"). `hint` says how to fix it.
    """

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class RunError(UserError):
    """A run failed although the input was valid (disk full, server down, out of memory)."""


class ServerUnavailableError(RunError):
    """A server does not respond, or refuses every request."""


def validator_message(message: str) -> str:
    """Return a message of pydantic without what it puts before a validator's own sentence."""
    return message.replace("Value error, ", "")
