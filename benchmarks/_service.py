"""Shared by the benchmarks of the service: a stub base model, a service with a stub rewriter, and clients.

    python benchmarks/_service.py base PORT SECONDS       # answers chat completions after SECONDS
    python benchmarks/_service.py service PORT BASE_PORT STORE

Each is a process of its own. A user's items carry the user's name; the stub rewriter answers with the names
in its prompt, so that every answer shows whose texts it was written from.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

RUN, BASE = "stub", "stub-base"
_NAME = re.compile(r"user-\d+")
_WORDS = (
    "marsh heron late train coffee again hurrah terribly sorry cheers meeting Tuesday please weather lovely",
    "rain bicycle garden kettle biscuit window letter harbour pigeon ladder orchard Sunday broken finally",
)


def user_name(number: int) -> str:
    """Return the name of a user."""
    return f"user-{number:07}"


def items_of(number: int, count: int) -> list[tuple[dict[str, str], None]]:
    """Return a user's items: messages of about 100 characters with the user's name in each."""
    texts, known = [], " ".join(_WORDS).split()
    for item in range(count):
        words = [known[(number * 7 + item * 13 + place * place) % len(known)] for place in range(14)]
        texts.append(f"{user_name(number)} {' '.join(words)}.")
    return [({"text": text}, None) for text in texts]


def free_port() -> int:
    """Return a port of loopback that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def start(*arguments: object, **environment: str) -> subprocess.Popen[bytes]:
    """Start a process of this file, and return when it listens on its port."""
    process = subprocess.Popen(
        [sys.executable, __file__, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stderr=subprocess.DEVNULL,
    )
    for _ in range(1200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(str(arguments[1])))):
            return process
        if process.poll() is not None:
            break
        time.sleep(0.1)
    process.kill()
    raise SystemExit(f"{' '.join(map(str, arguments))}: did not start")


def stop(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM) -> None:
    """End a process and wait for it."""
    process.send_signal(how)
    process.wait(60)


@contextlib.contextmanager
def running(*arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process of this file while the block runs."""
    process = start(*arguments)
    try:
        yield process
    finally:
        stop(process)


def cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """Return the CPU time that a process has used."""
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Client:
    """A connection of HTTP/1.1 that is kept: as little as possible, so that it takes little time itself."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        """Return status and document of a reply; raises `OSError` if the connection breaks."""
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            reader, writer = self._streams
            writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
            replied = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = int(replied.partition("content-length:")[2].split()[0])
            document = json.loads(await reader.readexactly(length))
        except (OSError, EOFError) as error:
            self.close()
            raise ConnectionError(*error.args) from error
        if "connection: close" in replied:
            self.close()
        return int(replied.split()[1]), document

    async def chat(self, model: str, user: str, text: str) -> tuple[int, Any]:
        """Ask for a chat completion."""
        messages = [{"role": "user", "content": text}]
        return await self.post("/v1/chat/completions", {"model": model, "user": user, "messages": messages})

    def close(self) -> None:
        """Close the connection; the next request opens another one."""
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None


def names_in(document: Any) -> set[str]:
    """Return the users whose texts an answer was written from."""
    return set(_NAME.findall(document["choices"][0]["message"]["content"]))


async def base_app(seconds: float, scope: Any, receive: Any, send: Any) -> None:
    """Answer a chat completion after `seconds` (ASGI)."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await asyncio.sleep(seconds)
    message = {"role": "assistant", "content": "The train is late, so the meeting begins later."}
    usage = {"prompt_tokens": 12, "completion_tokens": 10, "total_tokens": 22}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    content = json.dumps({"id": "stub", "model": BASE, "choices": [choice], "usage": usage}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


class StubModel:
    """A rewriter that takes no time: it answers with the names in its prompt. Tokens are words."""

    def generate(self, prompts: Sequence[str], **options: Any) -> list[list[str]]:
        """Answer each prompt."""
        return [[" ".join(_NAME.findall(prompt)) or "nobody"] for prompt in prompts]

    def count_tokens(self, text: str) -> int:
        """Return the number of words."""
        return len(text.split())


def serve_base(port: int, seconds: float) -> None:
    """Run the stub base model."""
    from functools import partial

    import uvicorn

    app = partial(base_app, seconds)
    uvicorn.run(app, port=port, interface="asgi3", log_level="critical", lifespan="off", backlog=512)


def serve_service(port: int, base_port: int, store: str) -> None:
    """Run a service as `personakit serve` does, with the stub rewriter on BM25."""
    from personakit.retrieval import open_retriever
    from personakit.rpo.rewriter import Rewriter
    from personakit.serving.answering import Answering
    from personakit.serving.batching import Batcher
    from personakit.serving.http_base import HttpBase
    from personakit.serving.metrics import Metrics
    from personakit.serving.rewriters import RewritingRun
    from personakit.serving.service import Service
    from personakit.serving.start import listen, serve
    from personakit.serving.store import open_store

    os.environ |= {"OPENAI_BASE_URL": f"http://127.0.0.1:{base_port}/v1", "OPENAI_API_KEY": "unused"}
    model: Any = StubModel()
    rewriter = Rewriter(None, model, open_retriever("bm25", 6), traced=False, draft="input")
    profiles = open_store(store)
    profiles.tenant(create=True)
    runs = {RUN: RewritingRun(RUN, rewriter, "LaMP_7", given_text=True)}
    answering = Answering(HttpBase(BASE, seconds=10), runs, Batcher(), 10)
    serve(Service(profiles, answering, Metrics(), open_to_all=True), listen("127.0.0.1", port))


if __name__ == "__main__":
    if sys.argv[1] == "base":
        serve_base(int(sys.argv[2]), float(sys.argv[3]))
    else:
        serve_service(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
