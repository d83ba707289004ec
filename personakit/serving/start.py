"""Opens all parts of the service and runs it: what `personakit serve` does."""

from __future__ import annotations

import atexit
import contextlib
import errno
import gc
import os
import shlex
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from personakit.errors import UserError
from personakit.models import voice
from personakit.models.open import is_endpoint
from personakit.models.proxies import is_loopback_host
from personakit.models.smollm2 import NAME as SMOLLM2
from personakit.serving import (
    BASE_SECONDS,
    CONCURRENCY,
    FOLDER,
    HOST,
    MAX_BODY_BYTES,
    MAX_ITEMS,
    MAX_TOKENS,
    REWRITE_SECONDS,
)
from personakit.serving.answering import Answering
from personakit.serving.base import BaseModelClient
from personakit.serving.batching import Batcher
from personakit.serving.http_base import HttpBase
from personakit.serving.local_base import LocalBase
from personakit.serving.metrics import Metrics
from personakit.serving.runs import open_runs
from personakit.serving.service import Service
from personakit.serving.store import KeyLimits, has_store, open_store, shown

_GRACE_SECONDS = 25  # for the requests in flight at SIGTERM or Ctrl-C
#: The longest that the event loop waits for a thread that computes. Python's 5 ms would show in the slowest
#: percentile of answers. Our choice.
_SWITCH_SECONDS = 0.0005


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """How to serve."""

    runs: Sequence[Path] = (Path(voice.NAME),)
    base: str = SMOLLM2
    host: str = HOST
    port: int = 0
    store: str = FOLDER
    base_seconds: float = BASE_SECONDS
    rewrite_seconds: float = REWRITE_SECONDS
    limits: KeyLimits = field(default_factory=lambda: KeyLimits(concurrent_requests=CONCURRENCY))
    max_body_bytes: int = MAX_BODY_BYTES
    max_tokens: int = MAX_TOKENS
    max_items: int = MAX_ITEMS
    check_content: bool = True


def open_service(settings: ServeSettings) -> Service:
    """Open the store, the base model and the runs.

    What takes long comes after what may be refused, and a new store last. Raises `UserError` if a part cannot
    be opened, if the address cannot be listened on, or if the service could be reached from other machines
    and there is no key.
    """
    place, loopback = settings.store, is_loopback_host(settings.host)
    open_profiles = partial(open_store, place, max_items=settings.max_items)
    store = open_profiles() if has_store(place) else None
    has_keys = store is not None and store.has_keys()
    if not has_keys and not loopback:
        option = "" if place == FOLDER else f" --store {shlex.quote(shown(place))}"
        raise UserError(
            f"--host {settings.host} can be reached from other machines, and {shown(place)} has no key",
            hint=f"personakit users create-key{option} makes one; or use --host 127.0.0.1",
        )
    listen(settings.host, settings.port).close()
    seconds = settings.base_seconds
    elsewhere = (
        HttpBase(settings.base.removeprefix("openai:"), seconds=seconds)
        if is_endpoint(settings.base)
        else None
    )
    metrics = Metrics()
    batcher = Batcher(on_batch=metrics.batch_sizes.observe)
    local = partial(LocalBase, batcher=batcher, seconds=seconds, max_tokens=settings.max_tokens)
    runs, model = open_runs(
        settings.runs, settings.base, batcher, local, check_content=settings.check_content
    )
    base: BaseModelClient | None = elsewhere if model is None else local(settings.base, model)
    assert base is not None
    store = store or open_profiles()
    store.tenant(create=True)
    return Service(
        store,
        Answering(base, runs, batcher, settings.rewrite_seconds),
        metrics,
        open_to_all=loopback and not has_keys,
        limits=settings.limits,
        max_body_bytes=settings.max_body_bytes,
    )


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; raises `UserError` if the address cannot be used."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((str(address[0]), port), family=family, backlog=512)
    except OSError as error:
        foreign = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
        raise UserError(
            f"--host {host} --port {port} cannot be listened on: {error.strerror or error}",
            hint="give an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all of its addresses"
            if foreign
            else "another program may use the port: choose another one with --port",
        ) from error


def serve(service: Service, listening: socket.socket, *, grace_seconds: int = _GRACE_SECONDS) -> None:
    """Answer requests until SIGTERM or Ctrl-C.

    Those that run then have `grace_seconds` to be completed; the others are 503.
    """
    import uvicorn

    from personakit.serving.app import create_app
    from personakit.serving.logs import log_to_stderr

    log_to_stderr()
    config = uvicorn.Config(
        create_app(service), log_config=None, access_log=False, timeout_graceful_shutdown=grace_seconds
    )
    gc.collect()
    gc.freeze()  # garbage collection would pause all requests to look through the libraries' objects
    sys.setswitchinterval(_SWITCH_SECONDS)
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how a service ends
        uvicorn.Server(config).run(sockets=[listening])
    if service.answering.batcher.alive:
        # A model still writes on another thread, whose C++ would abort the process while Python ends.
        atexit.register(os._exit, 0)
