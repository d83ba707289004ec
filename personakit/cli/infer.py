"""`personakit infer`: one query for one user, or a batch of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personakit.cli.command import command
from personakit.cli.options import Base, Columns, Resume, Run, RunData, Split
from personakit.cli.output import Result, harmless, note, shortened
from personakit.cli.summaries import SummaryRequest
from personakit.errors import RunError, UserError

if TYPE_CHECKING:
    from rich.console import Console

    from personakit.methods import FinishedRun
    from personakit.records import Answer, Profile, Query

Text = Annotated[
    str | None,
    typer.Argument(
        metavar="QUERY",
        help="What the user asks: a bare text, or a full LaMP input; - reads it from stdin. Without one: "
        "a sample query of the data.",
    ),
]
Task = Annotated[str | None, typer.Option("--task", help="The query's task, such as LaMP_7.")]
User = Annotated[str | None, typer.Option("--user", metavar="ID", help="A user of the data.")]
ProfileFile = Annotated[
    Path | None,
    typer.Option("--profile", metavar="FILE", help="A history of your own: JSONL, CSV or Parquet."),
]
Batch = Annotated[
    Path | None,
    typer.Option(
        "--batch", metavar="FILE", help='JSONL with {"id", "query"} and, if any, "user" or "profile".'
    ),
]
Trace = Annotated[
    bool, typer.Option("--trace", help="Show what was retrieved, the plan, and the difference.")
]
Output = Annotated[
    Path | None,
    typer.Option("--output", metavar="FILE", help="Where a batch's answers go; by default stdout."),
]


Summary = Annotated[
    bool, typer.Option("--summary", help="Print the user's summary (POPI) instead of answering a query.")
]
Export = Annotated[
    Path | None,
    typer.Option("--export", metavar="FILE", help="Write the summary too: FILE.json or FILE.md."),
]
Import = Annotated[
    Path | None,
    typer.Option(
        "--import",
        metavar="FILE",
        help="A summary from a file, exported or edited by hand, in the place of the inferred one: a query "
        "is answered with it; --summary shows what both do to the user's held-out pairs.",
    ),
]
Update = Annotated[
    Path | None,
    typer.Option(
        "--update",
        metavar="FILE",
        help="New signals (JSON, JSONL, CSV or Parquet): --summary infers the summary anew from the old one "
        "and these, without reading older signals.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    command(app, "infer")(infer)


def infer(
    query: Text = None,
    batch: Batch = None,
    run: Run = None,
    base: Base = None,
    user: User = None,
    profile: ProfileFile = None,
    column: Columns = None,
    task: Task = None,
    data: RunData = None,
    split: Split = "dev",
    trace: Trace = False,
    summary: Summary = False,
    export: Export = None,
    import_: Import = None,
    update: Update = None,
    output: Output = None,
    resume: Resume = False,
) -> Result:
    """Answer one query, or a batch, in one user's way.

    The history is a user's of the data (--user), or a file of your own (--profile); without one, the
    answer is the generic one.
    """
    from personakit.cli.histories import Histories
    from personakit.cli.preference_histories import PreferenceHistories
    from personakit.cli.preferences import wants_preferences
    from personakit.cli.queries import INSTRUCTION, task_of_run
    from personakit.methods import newest_run, read_run

    if user is not None and profile is not None:
        raise UserError(
            f"--user {user} and --profile {profile} both name a history, expected one of them",
            hint="leave one out",
        )
    if not summary:
        _without_summary(export, update)
    opened = read_run(run or newest_run("popi" if summary or import_ else None))
    if summary:
        return _summary(
            opened,
            SummaryRequest(
                opened.folder,
                data or opened.settings.data.path,
                split,
                user,
                profile,
                export,
                import_,
                update,
                trace,
            ),
            refused={"a query": query, "--batch": batch, "--base": base, "--output": output},
        )
    task = task_of_run(opened.folder, opened.method, task)
    if task == INSTRUCTION and (user is not None or profile is not None):
        raise UserError(
            f"{opened.folder} shows prompts from a pool of its own and reads no history, "
            f"expected no {'--user' if profile is None else '--profile'}",
            hint="leave it out, or name a run that reads histories with --run",
        )
    path = data or opened.settings.data.path
    histories = (
        PreferenceHistories(path, split, user=user, profile=profile)
        if opened.method == "popi" and wants_preferences(path, task)
        else Histories(path, split, user=user, profile=profile, columns=column)
    )
    if batch is not None:
        from personakit.cli.batch import answer_batch

        if query is not None:
            raise UserError(
                f"{query[:40]!r} and --batch {batch} both ask, expected one of them", hint="leave one out"
            )
        if import_ is not None:
            raise UserError(
                f"--import {import_} holds one user's summary, and --batch {batch} has many queries",
                hint="answer the queries of that user one by one",
            )
        return answer_batch(
            batch, histories, run=opened.folder, base=base, task=task, output=output, resume=resume
        )
    if output is not None or resume:
        option = "--resume" if resume else f"--output {output}"
        raise UserError(f"{option} goes with --batch, which was not given", hint="redirect with > instead")
    if query is None:
        asked, history = histories.sample(task)
    else:
        asked, history = histories.ask(sys.stdin.read() if query == "-" else query, task)
    answer = _answer(asked, history, opened.folder, base, import_)
    return Result(
        document_of(asked, history, answer), lambda out: _show(out, asked, history, answer, trace=trace)
    )


def document_of(query: Query, profile: Profile, answer: Answer) -> dict[str, Any]:
    """An answer as `--json` and a batch's lines have it."""
    return {
        "id": query.id,
        "task": query.task,
        "user": query.user_id,
        "query": query.text,
        "answer": answer.text,
        "generic": answer.generic,
        "profile_items": len(profile.items),
        "context": {
            "items": [{"id": item.id, **item.fields} for item in answer.context.items],
            "summary": answer.context.summary,
            "prompts": list(answer.context.prompts),
        },
        "trace": dict(answer.trace),
        "tokens": answer.tokens,
        "context_tokens": answer.context_tokens,
        "seconds": answer.seconds,
        "error": answer.error,
        "degraded": answer.degraded,
        "refused": answer.refused,
    }


def _without_summary(export: Path | None, update: Path | None) -> None:
    """Refuse what only goes with --summary."""
    for option, value in (("--export", export), ("--update", update)):
        if value is not None:
            raise UserError(
                f"{option} {value} goes with --summary, which was not given", hint="add --summary"
            )


def _summary(run: FinishedRun, request: SummaryRequest, *, refused: dict[str, object]) -> Result:
    from personakit.cli.summaries import summarise

    for name, value in refused.items():
        if value is not None:
            raise UserError(
                f"--summary and {name} were both given: a summary is of a user, not of a query",
                hint="leave one out; a query is answered with a summary from a file by --import",
            )
    if run.method != "popi":
        raise UserError(
            f"{run.folder}: a run of {run.method}, which has no summaries", hint="name a run of `train popi`"
        )
    return summarise(request)


def _answer(
    query: Query, profile: Profile, run: Path, base: str | None, summary: Path | None = None
) -> Answer:
    from personakit.cli.queries import INSTRUCTION
    from personakit.methods import open_run, open_with_summary, read_run

    if summary is not None:
        from personakit.popi.summary_files import read_summary

        [answer] = open_with_summary(read_run(run), read_summary(summary), base=base).respond(
            [query], [profile]
        )
    else:
        if not profile.items and query.task != INSTRUCTION:
            note("no history: the answer is the generic one (--user or --profile names a history)")
        [answer] = open_run(run, base=base).respond([query], [profile])
    if answer.error is not None:
        raise RunError(f"no answer: {answer.error}", hint="--debug and the run's log may say more")
    if answer.degraded is not None:
        note(f"degraded: {answer.degraded}")
    if answer.refused is not None:
        note(f"the model refused: {answer.refused}")
    return answer


def _show(out: Console, query: Query, profile: Profile, answer: Answer, *, trace: bool) -> None:
    if not trace:
        out.print(harmless(answer.text))
        return
    from personakit.cli.difference import coloured

    out.print(f"query      {harmless(query.text)}")
    out.print(f"user       {harmless(query.user_id or 'you')}, {len(profile.items)} items of history")
    for number, item in enumerate(answer.context.items, start=1):
        out.print(f"retrieved  {number}. {harmless(shortened(' · '.join(item.fields.values())))}")
    for number, prompt in enumerate(answer.context.prompts, start=1):
        out.print(f"shown      {number}. {harmless(shortened(prompt))}")
    for name, text in answer.trace.items():
        out.print(f"{name:<10} {harmless(text)}")
    if answer.generic is not None:
        out.print(f"generic    {harmless(answer.generic)}")
    out.print(f"answer     {harmless(answer.text)}", style="bold")
    if answer.generic is not None:
        out.print("difference ", coloured(answer.generic, answer.text), sep="", end="\n")
    out.print(
        f"price      {answer.tokens} tokens over all calls, {answer.context_tokens} of them context, "
        f"{answer.seconds:.2f} s"
    )
