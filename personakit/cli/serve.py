"""`personakit serve`: an OpenAI-compatible service that answers each user in their own way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from personakit.cli.command import command
from personakit.cli.options import MaxItems, Store
from personakit.cli.output import Result, note
from personakit.models import voice
from personakit.models.smollm2 import NAME as SMOLLM2
from personakit.serving import (
    BASE_SECONDS,
    CONCURRENCY,
    FOLDER,
    HOST,
    MAX_BODY_BYTES,
    MAX_ITEMS,
    MAX_TOKENS,
    PORT,
    REWRITE_SECONDS,
    require_packages,
)
from personakit.training.progress import life_signs


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    command(app, "serve", ServeOptions, life_signs_of_work=False)(serve)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """The options of one call."""

    run: Annotated[
        list[Path] | None,
        typer.Option(
            "--run", metavar="DIR", help="A run's folder, or voice; repeatable. By default voice alone."
        ),
    ] = None
    base: Annotated[
        str,
        typer.Option("--base", metavar="MODEL", help="The base model: openai:MODEL, smollm2, a folder, ..."),
    ] = SMOLLM2
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="The address to listen on.")] = HOST
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="The port; 0 takes a free one.")
    ] = PORT
    store: Store = FOLDER
    base_seconds: Annotated[
        float,
        typer.Option("--base-seconds", metavar="N", min=0.1, help="The longest wait for the base model."),
    ] = BASE_SECONDS
    rewrite_seconds: Annotated[
        float,
        typer.Option(
            "--rewrite-seconds",
            metavar="N",
            min=0.0,
            help="The longest wait for a rewrite; then the base model's answer is sent.",
        ),
    ] = REWRITE_SECONDS
    rate: Annotated[
        int | None,
        typer.Option("--rate", metavar="N", min=1, help="Requests a minute of keys without their own limit."),
    ] = None
    concurrency: Annotated[
        int,
        typer.Option("--concurrency", metavar="N", min=1, help="Requests at once of such keys."),
    ] = CONCURRENCY
    max_body_bytes: Annotated[
        int, typer.Option("--max-body-bytes", metavar="N", min=1, help="The largest request.")
    ] = MAX_BODY_BYTES
    max_tokens: Annotated[
        int,
        typer.Option("--max-tokens", metavar="N", min=1, help="The longest answer of a local base model."),
    ] = MAX_TOKENS
    max_items: MaxItems = MAX_ITEMS
    check_content: Annotated[
        bool,
        typer.Option(
            "--check-content/--no-check-content",
            help="Whether edits that lose or invent numbers, names, dates or links are undone (RPO).",
        ),
    ] = True


def serve(options: ServeOptions) -> Result:
    """Serve runs over a base model to any client of OpenAI's API.

    A request names a run (the built-in rewriter is voice) or the base model alone, and a user of the profile
    store, whose history says how the answer is written.
    """
    require_packages()
    from personakit.serving.start import ServeSettings, listen, open_service
    from personakit.serving.start import serve as run_service
    from personakit.serving.store import KeyLimits, keys_are_apart

    settings = ServeSettings(
        runs=options.run or [Path(voice.NAME)],
        base=options.base,
        host=options.host,
        port=options.port,
        store=options.store,
        base_seconds=options.base_seconds,
        rewrite_seconds=options.rewrite_seconds,
        limits=KeyLimits(options.rate, options.concurrency),
        max_body_bytes=options.max_body_bytes,
        max_tokens=options.max_tokens,
        max_items=options.max_items,
        check_content=options.check_content,
    )
    with life_signs("serve: loading the models"):
        service = open_service(settings)
    listening = listen(settings.host, settings.port)
    host, port = listening.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"
    note(f"serving {', '.join(service.answering.names())} at {address}")
    if service.open_to_all:
        note(
            "no key is needed: only this machine can reach the service, and the store has no key. "
            "Once it has one (personakit users create-key), every request needs a key"
        )
    if not keys_are_apart(settings.store):
        note(
            "the keys of users are in the database of their texts: its backups and archived logs keep both "
            "after forgetting. PERSONAKIT_KEYS names another database for the keys"
        )
    run_service(service, listening)
    return Result({"served": address}, lambda out: None)
