"""`personakit eval rewriting`: people's own rewrites of given texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from personakit.baselines import DecodingOptions, Generic
from personakit.errors import UserError
from personakit.evaluation.runner import answered_and_scored
from personakit.evaluation.sections import Section
from personakit.models.cost import CostEstimate, RequestMeter
from personakit.models.open import is_endpoint
from personakit.records import Example
from personakit.suites.base import COMMON, Options, Row
from personakit.suites.lamp import CHECKED, LampSuite, LampWorld, light_label
from personakit.suites.neutral import NEUTRAL_FILE, neutral_document, neutral_examples, neutral_section
from personakit.suites.passes import PassRunner

if TYPE_CHECKING:
    from personakit.evaluation.measurements import Costs


class RewritingSuite(LampSuite):
    """Evaluate on people's rewrites of texts.

    ROUGE-L and edit distance to what the user wrote. One row copies the original; it is the generic answer
    too, unless the run was trained with draft=base. --base adds a model's own rewrites without a history.
    The method also gets neutral texts, which need no change.
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

    def further(
        self, world: LampWorld, rows: Sequence[Row], passes: PassRunner, log: Path, results: dict[str, Any]
    ) -> Path:
        """Give the method and its light edits texts that need no change."""
        own = {
            world.method,
            f"{world.method}, {CHECKED}",
            light_label(world.method, world.options.max_edit),
        }
        candidates = [one for row in rows if row.label in own for one in row.candidates(world)]
        examples = self._neutral(world)
        if candidates and examples:
            scored = answered_and_scored(world.tasks)
            neutral = passes(candidates, {self.name: examples}, scored, NEUTRAL_FILE)
            results["neutral"] = neutral_document(neutral, world.tasks[self.name], examples)
        return log

    def requests(self, world: LampWorld, rows: Sequence[Row]) -> list[CostEstimate]:
        """Estimate also the drafts of neutral texts, where a model behind an API writes them."""
        found = super().requests(world, rows)
        examples = self._neutral(world)
        if world.main and not world.given_texts and is_endpoint(world.base) and examples:
            meter = RequestMeter(world.base)
            Generic(meter, DecodingOptions(world.around.settings.decoding.max_new_tokens)).respond(
                [one.query for one in examples], [one.profile for one in examples]
            )
            found.append(meter.estimate("generic answers to neutral texts"))
        return found

    def sections(self, results: Mapping[str, Any], costs: Mapping[str, Costs]) -> list[Section]:
        """Return the sections of `eval lamp`, and the neutral texts before the costs."""
        *before, last = super().sections(results, costs)
        return [*before, neutral_section(results), last]

    def _neutral(self, world: LampWorld) -> list[Example]:
        if world.options.sample_ids:
            return []  # a single query was asked for
        return neutral_examples(world.tasks[self.name], world.examples[self.name], world.options.limit)

    def _tasks(self, options: Options, data: str, there: Sequence[tuple[str, str]]) -> list[str]:
        if (self.name, options.split) not in there:
            raise UserError(
                f'{data} has no people\'s rewrites of texts with the split "{options.split}"',
                hint="name a folder of them with --data; `personakit data import` makes one from a table of "
                "originals and rewrites",
            )
        return [self.name]
