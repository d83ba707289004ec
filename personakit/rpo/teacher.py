"""The `teacher` trajectory writer: any language model, asked to explain the gold answer from the evidence.

The teacher sees the gold answer, the rewriter never will: so it is told to quote it in neither evidence
nor plan, and what it writes goes through the same filters as the template's. Its answers are kept in
the answer cache: a stopped job asks for the rest only.

The wording is ours; the paper (arXiv 2511.05286) does not say who wrote its trajectories, or how.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from personakit.config import TrainRPO
from personakit.contracts import LanguageModel
from personakit.errors import UserError
from personakit.models.cache import CachedModel
from personakit.models.open import open_language_model
from personakit.rpo.prompts import DRAFT, Trajectory, parse_trajectory
from personakit.rpo.writer import KEEP, NOTHING, Assignment, TemplateWriter, TrajectoryWriter
from personakit.training.processes import process_count
from personakit.training.progress import Progress, report_stage

_GOLD = "\nWhat this user answered: "
_ORDER = """

The draft above was written by somebody who does not know this user. Explain how one who knows nothing but \
the request, the draft and the user's own items shown in it would come to what the user answered. \
Write these three parts and nothing else:
<evidence>which of the user's items matter here, and what they show about how this user writes or \
decides: one or two sentences</evidence>
<plan>what of the draft to keep and what to change, following from the evidence: one sentence</plan>
<response>what this user answered, copied word for word</response>
Do not quote the user's answer in evidence or plan, and do not mention that it is known: both must read \
as if written before it."""

Ask = Callable[[Sequence[str]], Sequence[str]]
"""From prompts to one reply each."""


class TeacherWriter:
    """Has trajectories written by whoever `ask` reaches."""

    def __init__(self, ask: Ask, *, count_tokens: Callable[[str], int], max_length: int) -> None:
        """Show the teacher the request with as many items as fit into `max_length` tokens."""
        self._ask = ask
        self._count_tokens = count_tokens
        self._max_length = max_length

    def write_all(self, assignments: Sequence[Assignment]) -> list[Trajectory | str | None]:
        """Return each trajectory, the reply itself where it is none, None where there was no reply.

        Without any context the draft is kept, for which nobody is asked.
        """
        asked = [each for each in assignments if not each.context.empty]
        replies = iter(self._ask([self.prompt(each) for each in asked]))
        return [
            Trajectory(NOTHING, KEEP, each.draft) if each.context.empty else read_reply(next(replies), each)
            for each in assignments
        ]

    def prompt(self, each: Assignment) -> str:
        """Return what the teacher is asked."""
        request = each.task.prompt_with_context(
            each.query, each.context, count_tokens=self._count_tokens, max_length=self._max_length
        )
        return request + DRAFT + each.draft + _GOLD + each.gold + _ORDER


def read_reply(reply: str, each: Assignment) -> Trajectory | str | None:
    """Find the trajectory in what the teacher said; a greeting or a fence around it does no harm.

    A response that differs from gold in spaces and case only, or in words that the task does not read,
    is gold.
    """
    start, end = reply.find("<evidence>"), reply.rfind("</response>")
    written = parse_trajectory(reply[start : end + len("</response>")]) if 0 <= start < end else None
    if written is None:
        return reply.strip() or None
    same = each.task.parse(written.response) == each.gold or _plain(written.response) == _plain(each.gold)
    return Trajectory(
        " ".join(written.evidence.split()),
        " ".join(written.plan.split()),
        each.gold.strip() if same else written.response,
    )


def open_writer(
    config: TrainRPO, progress: Progress, deal: Callable[[LanguageModel], LanguageModel]
) -> TrajectoryWriter:
    """Open the writer that the configuration names; `deal` shares prompts out among the processes."""
    if config.trajectories.writer == "template":
        return TemplateWriter()
    model = open_language_model(teacher_name(config), truncate=True, endpoint=config.endpoint)

    def ask(prompts: Sequence[str]) -> list[str]:
        with report_stage(progress, "trajectories by the teacher", len(prompts)) as stage:
            cached = CachedModel(
                model,
                # The other processes are about as far with their shares as this one is.
                on_progress=lambda done, _: stage.update(min(len(prompts), done * process_count())),
            )
            replies = deal(cached).generate(prompts, max_new_tokens=reply_tokens(config))
        return [texts[0] for texts in replies]

    return TeacherWriter(ask, count_tokens=model.count_tokens, max_length=config.prompt_tokens)


def teacher_name(config: TrainRPO) -> str:
    """The teacher's model; raises `UserError` where the configuration names none."""
    if config.trajectories.teacher is None:
        raise UserError(
            "trajectories.writer is teacher, and trajectories.teacher names no model",
            hint="set trajectories.teacher, for example to openai:MODEL",
        )
    return config.trajectories.teacher


def reply_tokens(config: TrainRPO) -> int:
    """Where a reply of the teacher is cut (its own tokens)."""
    return config.trajectories.teacher_tokens or config.trajectories.max_tokens


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
