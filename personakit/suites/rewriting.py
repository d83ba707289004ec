"""`personakit eval rewriting`: people's own rewrites of given texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from personakit.errors import UserError
from personakit.suites.base import COMMON, Options
from personakit.suites.lamp import LampSuite


class RewritingSuite(LampSuite):
    """Evaluate on people's rewrites of texts.

    ROUGE-L and edit distance to what the user wrote. One row copies the original; it is the generic answer
    too, unless the run was trained with draft=base. --base adds a model's own rewrites without a history.
    """

    name = "rewriting"
    scores_files = False
    options: ClassVar[Sequence[str]] = (
        *COMMON,
        "no_run",
        "bases",
        "sample_ids",
        "concurrency",
        "max_new_tokens",
        "max_edit",
    )

    def _tasks(self, options: Options, data: str, there: Sequence[tuple[str, str]]) -> list[str]:
        if (self.name, options.split) not in there:
            raise UserError(
                f'{data} has no people\'s rewrites of texts with the split "{options.split}"',
                hint="name a folder of them with --data; `personakit data import` makes one from a table of "
                "originals and rewrites",
            )
        return [self.name]
