"""The options of `personakit infer`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from personakit.cli.options import Base, Columns, Resume, Run, RunData, Split, checked_share

Text = Annotated[
    str | None,
    typer.Argument(
        metavar="QUERY",
        help="The query: plain text or a complete LaMP input; - reads it from stdin. By default a query "
        "from the data.",
    ),
]
Task = Annotated[str | None, typer.Option("--task", help="The query's task, such as LaMP_7.")]
User = Annotated[str | None, typer.Option("--user", metavar="ID", help="A user of the data.")]
ProfileFile = Annotated[
    Path | None,
    typer.Option(
        "--profile", metavar="FILE", help="A file with the user's history: CSV, JSON, JSONL or Parquet."
    ),
]
Batch = Annotated[
    Path | None,
    typer.Option(
        "--batch",
        metavar="FILE",
        help='JSONL with {"id", "query"} and, if any, "user" or "profile", and "final" (as --learn).',
    ),
]
Trace = Annotated[
    bool,
    typer.Option(
        "--trace", help="Show the retrieved items, the trace, and the difference to the generic answer."
    ),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", metavar="FILE", help="The file for a batch's answers; by default stdout."),
]
MaxNewTokens = Annotated[
    int | None,
    typer.Option(
        "--max-new-tokens",
        metavar="N",
        min=1,
        help="Maximum tokens of the base model's answer that is rewritten (RPO); by default the run's, or "
        "what the task needs. A model that reasons needs more.",
    ),
]
Summary = Annotated[
    bool, typer.Option("--summary", help="Print the user's summary (POPI) instead of answering a query.")
]
Export = Annotated[
    Path | None,
    typer.Option("--export", metavar="FILE", help="Also write the summary to FILE.json or FILE.md."),
]
Import = Annotated[
    Path | None,
    typer.Option(
        "--import",
        metavar="FILE",
        help="A summary from a file, exported or edited by hand, instead of the inferred one: a query is "
        "answered with it; --summary compares the two on the user's held-out pairs.",
    ),
]
Update = Annotated[
    Path | None,
    typer.Option(
        "--update",
        metavar="FILE",
        help="New signals (JSON, JSONL, CSV or Parquet): --summary infers the summary from the old one and "
        "these, without reading older signals.",
    ),
]


MaxEdit = Annotated[
    float | None,
    typer.Option(
        "--max-edit",
        metavar="SHARE",
        callback=checked_share,
        help="Light edits (RPO): change at most this share (0 to 1) of the draft's words, such as 0.2.",
    ),
]
CheckContent = Annotated[
    bool | None,
    typer.Option(
        "--check-content/--no-check-content",
        help="Whether edits that lose or invent numbers, names, dates or links are undone "
        "(RPO); by default where the draft is your text, or with --max-edit.",
        show_default=False,
    ),
]


Learn = Annotated[
    str | None,
    typer.Option(
        "--learn",
        metavar="FINAL",
        help="What you made of the answer (a text, a file, or - for stdin): it is added to the profile file, "
        "with the answer as its draft.",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class InferOptions:
    """The options of one call."""

    query: Text = None
    batch: Batch = None
    run: Run = None
    base: Base = None
    user: User = None
    profile: ProfileFile = None
    column: Columns = None
    task: Task = None
    data: RunData = None
    split: Split = "dev"
    max_new_tokens: MaxNewTokens = None
    max_edit: MaxEdit = None
    check_content: CheckContent = None
    learn: Learn = None
    trace: Trace = False
    summary: Summary = False
    export: Export = None
    import_: Import = None
    update: Update = None
    output: Output = None
    resume: Resume = False
