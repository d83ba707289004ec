"""`personakit export`: takes a profile or a run elsewhere: a system prompt, a PEFT adapter, a GGUF LoRA."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from personakit.cli.command import command, group
from personakit.cli.options import Columns, parse_columns
from personakit.cli.output import Result, escaped, note, note_read
from personakit.errors import UserError

app = group("export", "Export a profile or a run for other tools.")

Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or voice.")]


def register(root: typer.Typer) -> None:
    """Add the group to `root`."""
    root.add_typer(app)


@command(app, "prompt")
def prompt(
    profile: Annotated[
        Path, typer.Argument(metavar="PROFILE", help="A profile: CSV, JSON, JSONL or Parquet.")
    ],
    tokens: Annotated[
        int, typer.Option("--tokens", metavar="N", min=1, help="The most tokens of the prompt.")
    ] = 800,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="MODEL", help="Whose tokens are counted; by default one per four bytes."
        ),
    ] = None,
    summary: Annotated[
        Path | None,
        typer.Option(
            "--summary",
            metavar="FILE",
            help="A summary that `infer --summary --export` wrote, instead of the counted points.",
        ),
    ] = None,
    user: Annotated[
        str | None, typer.Option("--user", metavar="ID", help="The writer, where the file has several.")
    ] = None,
    column: Columns = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="A new file for the prompt; by default stdout."),
    ] = None,
) -> Result:
    """Write a system prompt for tools that take text only.

    How the writer writes, counted in the profile, then the best few examples: edited answers, then texts of
    usual length, the newest first.
    """
    from personakit.data.own.pairs import profile_texts
    from personakit.data.own.profile import as_items
    from personakit.data.own.selection import select
    from personakit.data.own.system_prompt import system_prompt
    from personakit.data.skips import SkipCounts, counted
    from personakit.files import write_text

    if output is not None and output.exists():
        raise UserError(f"{output}: exists already, expected a new file", hint="choose another name")
    counts = SkipCounts()
    texts = profile_texts(profile, user, counts, parse_columns(column))
    users = list(dict.fromkeys(text.writer.id for text in texts))
    if len(users) > 1:
        raise UserError(
            f"{profile} has {len(users)} users, expected one", hint=f"--user names one, such as {users[0]}"
        )
    records = select(texts, counts)
    note_read(profile, counts.report)
    if not records:
        raise UserError(f"{profile} has no usable text", hint="add longer texts")
    written = None
    if summary is not None:
        from personakit.popi.summary_files import read_summary

        written = read_summary(summary).summary
    made = system_prompt(
        as_items(records, records), tokens=tokens, count_tokens=_counter(model), summary=written
    )
    shown = f"{counted(made.points, 'points')}, {made.examples} of {counted(len(records), 'texts')}"
    note(f"{made.tokens} of {tokens} tokens: {shown}")
    if output is not None:
        write_text(output, made.text + "\n")
    shown = made.text if output is None else str(output)
    return Result(asdict(made), lambda out: out.print(escaped(shown)))


def _counter(model: str | None) -> Callable[[str], int]:
    if model is not None:
        from personakit.models.cost import token_counter

        return token_counter(model)
    return lambda text: -(-len(text.encode()) // 4)


@command(app, "adapter")
def adapter(
    run: Run,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder.")],
) -> Result:
    """Copy a run's LoRA adapter, with a card, into a folder that PEFT loads."""
    from personakit.methods.exporting import export_adapter

    export_adapter(run, folder)
    return Result({"adapter": str(folder)}, lambda out: out.print(escaped(str(folder))))


@command(app, "gguf")
def gguf(
    run: Run,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new GGUF file.")],
    llama_cpp: Annotated[
        Path | None,
        typer.Option(
            "--llama-cpp",
            metavar="DIR",
            help="The folder of llama.cpp, with convert_lora_to_gguf.py; by default that on the PATH.",
        ),
    ] = None,
) -> Result:
    """Convert a run's LoRA adapter to GGUF with llama.cpp's own converter, for `llama-cli --lora`."""
    from personakit.methods.exporting import export_gguf

    export_gguf(run, file, llama_cpp)
    return Result({"gguf": str(file)}, lambda out: out.print(escaped(str(file))))
