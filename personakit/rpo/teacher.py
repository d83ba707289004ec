"""The `teacher` trajectory writer: a language model explains how evidence leads to the gold answer.

The teacher sees the gold answer, the rewriter does not: the teacher's prompt forbids quoting it in evidence
and plan, and its trajectories pass the same filters as the template's. Replies are cached: an interrupted run
only requests the missing ones.

The prompt is our choice: the paper (arXiv 2511.05286) does not say how its trajectories were written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from personakit.config import TrainRPO
from personakit.contracts import LanguageModel
from personakit.errors import UserError
from personakit.models.cache import CachedModel
from personakit.models.open import open_language_model
from personakit.rpo.prompts import Trajectory, parse_trajectory
from personakit.rpo.self_written import EXPLANATION_TOKENS, SelfWriter
from personakit.rpo.writer import (
    PromptedWriter,
    ResponseWriter,
    TemplateWriter,
    TrajectoryRequest,
    TrajectoryWriter,
)
from personakit.tasks.answers import extract_answer
from personakit.training.processes import process_count
from personakit.training.progress import Progress, report_stage

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


class TeacherWriter(PromptedWriter):
    """Writes trajectories with a teacher model; unparsable replies are returned as text."""

    order = _ORDER

    def read(self, reply: str, each: TrajectoryRequest) -> Trajectory | str | None:
        """Return the trajectory; see `read_reply`."""
        return read_reply(reply, each)


def read_reply(reply: str, each: TrajectoryRequest) -> Trajectory | str | None:
    """Parse the teacher's reply, ignoring text around the trajectory.

    A response that differs from the gold answer only in white space, case, or words that the task ignores is
    replaced by the gold answer. Returns the reply if it does not parse, None if it is empty.
    """
    start, end = reply.find("<evidence>"), reply.rfind("</response>")
    written = parse_trajectory(reply[start : end + len("</response>")]) if 0 <= start < end else None
    if written is None:
        return reply.strip() or None
    answer = extract_answer(written.response, each.task, [each.gold])
    same = answer == each.gold or _normalized(answer) == _normalized(each.gold)
    return Trajectory(
        " ".join(written.evidence.split()),
        " ".join(written.plan.split()),
        each.gold.strip() if same else written.response,
    )


def open_writer(
    config: TrainRPO, progress: Progress, distribute: Callable[[LanguageModel], LanguageModel]
) -> TrajectoryWriter:
    """Open the (resolved) writer; `distribute` wraps its model to split prompts among the processes."""
    kind = config.trajectories.writer
    if kind == "none":
        return ResponseWriter()
    if kind == "template":
        return TemplateWriter()
    own = kind == "own"
    name = config.model if own else teacher_name(config)
    cap = EXPLANATION_TOKENS if own else reply_tokens(config)
    label = "traces by the model itself" if own else "trajectories by the teacher"
    model = open_language_model(name, truncate=True, endpoint=config.endpoint)

    def generate(prompts: Sequence[str]) -> list[str]:
        with report_stage(progress, label, len(prompts)) as stage:
            cached = CachedModel(
                model,
                # Assumes that the other processes progress at the same rate.
                on_progress=lambda done, _: stage.update(min(len(prompts), done * process_count())),
            )
            replies = distribute(cached).generate(prompts, max_new_tokens=cap)
        return [texts[0] for texts in replies]

    writer = SelfWriter if own else TeacherWriter
    return writer(generate, count_tokens=model.count_tokens, max_length=config.prompt_tokens)


def teacher_name(config: TrainRPO) -> str:
    """Return the name of the teacher model; raises `UserError` if it is not set."""
    if config.trajectories.teacher is None:
        raise UserError(
            "trajectories.writer is teacher, but trajectories.teacher names no model",
            hint="set trajectories.teacher, for example to openai:MODEL",
        )
    return config.trajectories.teacher


def reply_tokens(config: TrainRPO) -> int:
    """Return the maximum length of the teacher's reply, in its own tokens."""
    return config.trajectories.teacher_tokens or config.trajectories.max_tokens


def _normalized(text: str) -> str:
    return " ".join(text.casefold().split())
