"""A local chat server with configurable replies: late, busy, interrupted, dead."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, dict[str, str], bytes]
CUT: Reply = (0, {}, b"")
"""The connection is cut in place of a reply."""


class Server:
    """Answers as `script(number of the request, its body)` says, and remembers what it was asked."""

    def __init__(self, script: Callable[[int, dict[str, Any]], Reply]) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.paths: list[str] = []
        self.answered: Counter[str] = Counter()
        """How often each prompt was answered."""
        self.most_at_once = self._now = 0
        self.script = script
        lock, server = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    server._now += 1
                    server.most_at_once = max(server.most_at_once, server._now)
                    server.bodies.append(body)
                    server.keys.append(self.headers.get("Authorization"))
                    server.paths.append(self.path)
                    number = len(server.bodies)
                status, headers, content = server.script(number, body)
                with lock:
                    server._now -= 1
                    server.answered[body["messages"][0]["content"]] += status == 200
                if not status:
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()


def said(text: str) -> Reply:
    return 200, {}, json.dumps({"choices": [{"message": {"content": text}}]}).encode()


def replied(content: Any = None, finish_reason: str = "stop", **message: Any) -> Reply:
    """Return a choice with `content`, which may be missing, and other fields of a message."""
    made = {"message": {"role": "assistant", "content": content, **message}, "finish_reason": finish_reason}
    return 200, {}, json.dumps({"choices": [made]}).encode()


def refused(status: int, message: str, **fields: Any) -> Reply:
    """Return an error in OpenAI's form."""
    return status, {}, json.dumps({"error": {"message": message, **fields}}).encode()


def echo(number: int, body: dict[str, Any]) -> Reply:
    return said(f"{body['messages'][0]['content']}:{body['seed']}")
