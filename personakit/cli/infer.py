"""`personakit infer`: answers one query for one user, or a file of queries."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from personakit.cli.command import command
from personakit.cli.errors import resumable
from personakit.cli.infer_options import InferOptions
from personakit.cli.options import parse_columns
from personakit.cli.output import Result, escaped, note, note_read, note_skipped, shortened
from personakit.cli.streams import given_text
from personakit.errors import RunError, UserError

if TYPE_CHECKING:
    from rich.console import Console

    from personakit.cli.learning import Answered, Learn
    from personakit.contracts import Personalizer
    from personakit.data.batch import BatchRow
    from personakit.data.lookup import ProfileLookup
    from personakit.methods import FinishedRun
    from personakit.records import Answer, Profile, Query


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    command(app, "infer", InferOptions)(infer)


def infer(options: InferOptions) -> Result:
    """Answer a query, or a file of queries, for one user.

    The user's history comes from the data (--user) or a file (--profile); without one, the answer is not
    personalized. Without a trained run, the built-in rewriter (voice) writes the text in the user's style.
    """
    from personakit.data.batch import BatchRow
    from personakit.data.lookup import ProfileLookup, data_kind
    from personakit.data.queries import INSTRUCTION
    from personakit.methods import METHODS, read_run, with_max_new_tokens
    from personakit.methods.runs import check_light
    from personakit.popi.method import METHOD as POPI

    _check(options)
    summaries = options.summary or options.import_ is not None
    run = read_run(options.run or _default_run(summaries=summaries))
    run = replace(run, settings=with_max_new_tokens(run.settings, options.max_new_tokens))
    check_light(run, options.max_edit, options.check_content)
    if summaries:
        POPI.require(run)
    suites, task = METHODS[run.method].suites(run.settings), options.task
    if task is None and suites[0] == INSTRUCTION:
        task = INSTRUCTION
        if options.user is not None or options.profile is not None:
            raise UserError(
                f"{run.folder} selects prompts from a pool and reads no history, "
                f"expected no {'--user' if options.profile is None else '--profile'}",
                hint="leave it out, or name a run that reads histories with --run",
            )
    data = options.data or run.data_path
    lookup = ProfileLookup(
        data,
        options.split,
        options.user,
        options.profile,
        parse_columns(options.column),
        preferences=not options.summary and "preference" in suites and data_kind(data, task) == "preferences",
        on_skip=note_skipped,
        on_read=note_read,
    )
    if options.summary:
        from personakit.cli.summaries import summary

        return summary(run, lookup, options)
    if options.batch is not None:
        return _answer_batch(run, lookup, task, options)
    final = None if options.learn is None else given_text(options.learn, "--learn")
    if options.query is None:
        query, profile = lookup.sample(task)
        whose = f", user {query.user_id}" if query.user_id else ""
        note(f"no query was given, one of the data is answered{whose}: {shortened(query.search_text)}")
    else:
        query, profile = lookup.find(_stdin() if options.query == "-" else options.query, task)
    if not profile.items and task != INSTRUCTION and options.import_ is None:
        note("no history: the answer is not personalized (give one with --user or --profile)")
    learn = _learner([BatchRow(query, profile, final=final)], options, "--learn")
    options = _without_unused_base(run, options, query)
    return _answer(_open(run, options), query, profile, learn, trace=options.trace)


def _default_run(*, summaries: bool) -> Path:
    """Return the newest run. If there is none, the built-in rewriter answers, but it writes no summaries."""
    from personakit.methods import newest_run, newest_run_or_voice
    from personakit.models import voice
    from personakit.popi.method import METHOD as POPI

    folder = newest_run(POPI.name) if summaries else newest_run_or_voice()
    if folder == voice.FOLDER:
        note("there is no finished run in runs/: the built-in rewriter is used (--run voice)")
    return folder


def _stdin() -> str:
    from personakit.data.standard_input import decode_text, read_stdin

    return decode_text(read_stdin("a query"), "stdin")


def _check(options: InferOptions) -> None:
    """Raise `UserError` for options that exclude each other."""
    given = {
        "a query": options.query,
        "--batch": options.batch,
        "--base": options.base,
        "--output": options.output,
        "--learn": options.learn,
        "--export": options.export,
        "--import": options.import_,
        "--update": options.update,
    }
    if options.user is not None and options.profile is not None:
        raise UserError(
            f"--user {options.user} and --profile {options.profile} both name a history, expected one",
            hint="leave one out",
        )
    refused = (
        ("a query", "--batch", "--base", "--output", "--learn")
        if options.summary
        else ("--export", "--update")
    )
    for name in (name for name in refused if given[name] is not None):
        if options.summary:
            raise UserError(
                f"--summary and {name} were both given: a summary is of a user, not of a query",
                hint="leave one out; --import answers a query with a summary from a file",
            )
        raise UserError(
            f"{name} {given[name]} goes with --summary, which was not given", hint="add --summary"
        )
    if options.batch is not None and options.query is not None:
        raise UserError(
            f"{options.query[:40]!r} and --batch {options.batch} are both queries, expected one of them",
            hint="leave one out",
        )
    if options.learn is not None and (options.batch is not None or options.query is None):
        raise UserError(
            "--learn goes with a query, expected the text that was answered",
            hint='the lines of a batch have a field "final" instead',
        )
    if options.learn == options.query == "-":
        raise UserError("the query and --learn are both -, expected one", hint="give the other as a file")
    if options.batch is not None and options.import_ is not None:
        raise UserError(
            f"--import {options.import_} holds one user's summary, --batch {options.batch} has many queries",
            hint="answer the queries of that user one by one",
        )
    if options.batch is None and (options.output is not None or options.resume):
        option = "--resume" if options.resume else f"--output {options.output}"
        raise UserError(f"{option} goes with --batch, which was not given", hint="redirect with > instead")
    if options.resume and options.output is None:
        raise UserError("--resume needs --output FILE", hint="give the file to continue")


def _open(run: FinishedRun, options: InferOptions) -> Personalizer:
    from personakit.methods import open_run, open_with_summary

    if options.import_ is None:
        return open_run(
            run, base=options.base, max_edit=options.max_edit, check_content=options.check_content
        )
    from personakit.popi.summary_files import read_summary

    return open_with_summary(run, read_summary(options.import_), base=options.base)


def _without_unused_base(run: FinishedRun, options: InferOptions, query: Query) -> InferOptions:
    """Return the options without a base model that would be opened for nothing, with a note."""
    from personakit.rpo.choices import uses_given_text
    from personakit.tasks import get_task

    draft = getattr(run.settings, "draft", None)
    if options.base is not None and draft is not None and uses_given_text(draft, get_task(query.task)):
        note(f"the given text itself is rewritten: --base {options.base} is not used")
        return replace(options, base=None)
    return options


def _answer_batch(run: FinishedRun, lookup: ProfileLookup, task: str | None, options: InferOptions) -> Result:
    from personakit.data.batch import read_batch
    from personakit.methods.batch import answer_batch, answer_line, begin_output, write_answers

    assert options.batch is not None
    batch, output = read_batch(options.batch, lookup, task), options.output
    learn = _learner(batch, options, '"final"')
    for row in batch:
        if row.problem is not None:
            note(f"no answer: {row.problem}")
    if output is None:
        answers = list(answer_batch(_open(run, options), batch))
        learn([_answered(each) for each in answers])
        return Result(answers, lambda out: out.print("".join(map(answer_line, answers)), end=""))
    done = begin_output(output, batch, resume=options.resume)
    with resumable(f"personakit infer --batch {options.batch} --output {output} --resume"):
        failed = write_answers(_open(run, options), batch, output, done=done)
    if any(row.final is not None for row in batch):
        with output.open("rb") as lines:
            learn([_answered(json.loads(line)) for line in lines])
    if failed:
        note(f'{failed} of {len(batch)} queries have no answer: "error" in their lines gives the reason')
    document = {"written": str(output), "queries": len(batch), "resumed_after": done, "errors": failed}
    return Result(document, lambda out: out.print(str(output)))


def _learner(rows: Sequence[BatchRow], options: InferOptions, option: str) -> Learn:
    from personakit.cli.learning import learner

    return learner(rows, options.profile, parse_columns(options.column), option=option)


def _answered(document: Mapping[str, Any]) -> Answered:
    from personakit.cli.learning import Answered

    text = None if document["error"] is not None else str(document["answer"])
    return Answered(text, document["degraded"] is not None)


def _answer(
    personalizer: Personalizer, query: Query, profile: Profile, learn: Learn, *, trace: bool
) -> Result:
    from personakit.methods.batch import answer_document
    from personakit.rpo.light_edits import LEFT_OUT, REWRITE

    [answer] = personalizer.respond([query], [profile])
    if answer.error is not None:
        raise RunError(f"no answer: {answer.error}", hint="--debug and the run's log may say more")
    shown = "" if trace or REWRITE not in answer.trace else " (--trace shows the rewrite)"
    if answer.degraded is not None:
        note(f"degraded: {answer.degraded}{shown}")
    if LEFT_OUT in answer.trace:
        note(f"some edits are left out: {answer.trace[LEFT_OUT]}{shown}")
    if answer.refused is not None:
        note(f"the model refused: {answer.refused}")
    if answer.prompt_cut:
        note(f"{answer.prompt_cut} prompt tokens were cut: the prompt exceeds the model's context window")
    if answer.cut:
        note("the answer is cut by the token limit")
    document = answer_document(query, profile, answer)
    learn([_answered(document)])
    return Result(document, lambda out: _show(out, query, profile, answer, trace=trace))


def _show(out: Console, query: Query, profile: Profile, answer: Answer, *, trace: bool) -> None:
    if not trace:
        out.print(escaped(answer.text))
        return
    from personakit.cli.difference import word_diff

    out.print(f"query      {escaped(query.text)}")
    out.print(f"user       {escaped(query.user_id or 'you')}, {len(profile.items)} items of history")
    for number, item in enumerate(answer.context.items, start=1):
        out.print(f"retrieved  {number}. {escaped(shortened(' · '.join(item.fields.values())))}")
    for number, prompt in enumerate(answer.context.prompts, start=1):
        out.print(f"prompt     {number}. {escaped(shortened(prompt))}")
    for name, text in answer.trace.items():
        out.print(f"{name:<10} {escaped(text)}")
    if answer.generic is not None:
        out.print(f"generic    {escaped(answer.generic)}")
    out.print(f"answer     {escaped(answer.text)}", style="bold")
    if answer.generic is not None:
        out.print("difference ", word_diff(answer.generic, answer.text), sep="", end="\n")
    out.print(
        f"cost       {answer.tokens} tokens over all calls, {answer.context_tokens} of them context, "
        f"{answer.seconds:.2f} s"
    )
