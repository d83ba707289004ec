"""The one exception for wrong use and bad input, and the one for a run that failed.

The command line turns `UserError` into one sentence plus a `hint:` line and exit status 2,
`RunError` into the same with exit status 1. Everything else is a bug and keeps its traceback.
"""


class UserError(Exception):
    """Wrong use or bad input.

    `message` names the place and the value ("data/dev.json, item 17: "score" is "five", expected 1
    to 5"); `hint` says what to do about it.
    """

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class RunError(UserError):
    """The input was fine and the run still failed (a full disk, a dead server, out of memory)."""


class GoneError(RunError):
    """Nobody answers any more: a server that stays away, or refuses whatever it is asked."""
