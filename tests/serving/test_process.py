"""The service as a process: its end, and what is left after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from models.server import Reply, Server, replied

from personakit.serving.store import open_store

SCRIPT = """
import sys
import torch
from personakit.serving.answering import Answering
from personakit.serving.batching import Batcher
from personakit.serving.http_base import HttpBase
from personakit.serving.metrics import Metrics
from personakit.serving.service import Service
from personakit.serving.start import listen, serve
from personakit.serving.store import open_store

store = open_store(sys.argv[1])
store.tenant(create=True)
listening = listen("127.0.0.1", 0)
print(listening.getsockname()[1], flush=True)
batcher = Batcher()


class Slow:  # a local model that writes for minutes
    name = "slow"

    async def draft(self, chat):
        return await batcher.run("slow", self.write, chat)

    def write(self, chats):
        print("writes", flush=True)
        while True:
            torch.rand(200, 200) @ torch.rand(200, 200)

    async def close(self):
        pass


base = HttpBase("stub") if len(sys.argv) == 2 else Slow()
grace = {} if len(sys.argv) == 2 else {"grace_seconds": int(sys.argv[2])}
service = Service(store, Answering(base, {}, batcher, 5.0), Metrics(), open_to_all=True)
serve(service, listening, **grace)
"""

Start = Callable[..., tuple["subprocess.Popen[str]", httpx2.Client]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a service without runs over the base at an address, or over a slow local one with a grace.

    Return the process and a client.
    """
    running: list[subprocess.Popen[str]] = []

    def begin(base: str, *grace: str) -> tuple[subprocess.Popen[str], httpx2.Client]:
        search = os.pathsep.join(sys.path)
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path / "profiles"), *grace],
            env={**os.environ, "PYTHONPATH": search, "OPENAI_BASE_URL": base, "OPENAI_API_KEY": "x"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        running.append(process)
        assert process.stdout is not None
        port = int(process.stdout.readline())
        return process, httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)

    yield begin
    for process in running:
        process.kill()
        process.wait()


def test_a_killed_service_has_kept_every_item_that_it_acknowledged(start: Start, tmp_path: Path) -> None:
    process, client = start("http://127.0.0.1:9/v1")
    acknowledged: list[str] = []
    enough = threading.Event()

    def append(writer: int) -> None:
        for number in range(10_000):
            text = f"{writer}.{number}"
            try:
                reply = client.post("/v1/users/ada/items", json={"items": [{"text": text}]})
            except httpx2.HTTPError:
                return
            assert reply.status_code == 200, reply.text
            acknowledged.append(text)
            if len(acknowledged) >= 30:
                enough.set()

    threads = [threading.Thread(target=append, args=(writer,)) for writer in range(3)]
    for thread in threads:
        thread.start()
    assert enough.wait(60)
    process.send_signal(signal.SIGKILL)
    for thread in threads:
        thread.join()
    kept = {item.fields["text"] for item in open_store(str(tmp_path / "profiles")).tenant().items("ada")}
    assert kept >= set(acknowledged)


def test_a_service_that_is_told_to_end_answers_what_it_has_begun(start: Start) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def slow(number: int, body: dict[str, Any]) -> Reply:
        asked.set()
        go_on.wait(60)
        return replied("Done.")

    server = Server(slow)
    process, client = start(server.url)
    body = {"model": "stub", "messages": [{"role": "user", "content": "Hi."}]}
    replies: list[httpx2.Response] = []
    thread = threading.Thread(target=lambda: replies.append(client.post("/v1/chat/completions", json=body)))
    thread.start()
    assert asked.wait(60)
    process.send_signal(signal.SIGTERM)
    go_on.set()
    thread.join()
    assert replies[0].json()["choices"][0]["message"]["content"] == "Done."
    process.wait(60)
    server.stop()


def test_requests_that_outlast_the_grace_are_503_and_the_process_ends_cleanly(start: Start) -> None:
    process, client = start("http://127.0.0.1:9/v1", "1")
    body = {"model": "slow", "messages": [{"role": "user", "content": "Hi."}]}
    replies: list[httpx2.Response] = []
    thread = threading.Thread(target=lambda: replies.append(client.post("/v1/chat/completions", json=body)))
    thread.start()
    assert process.stdout is not None
    assert process.stdout.readline() == "writes\n"
    process.send_signal(signal.SIGINT)
    thread.join()
    assert (replies[0].status_code, replies[0].json()["error"]["type"]) == (503, "server_error")
    assert process.wait(60) == 0
