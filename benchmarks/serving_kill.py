"""Load on the service while its base model and the service are killed: what is answered, refused, lost.

    python benchmarks/serving_kill.py [--seconds 600] [--clients 50] [--users 500] [--store FOLDER or URL]

Clients ask for answers and append items. The base model is killed twice with SIGKILL and restarted three
seconds later, the service once. Every answer must come from texts of its user only, every refusal must be one
sentence, and every item that was acknowledged must be in the store afterwards. Connections may break only
while the service is down. The counts are printed; the exit status is 1 if a rule was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import math
import random
import signal
import sys
import tempfile
import time
from typing import Any

from _service import RUN, Client, free_port, items_of, names_in, start, stop, user_name

from personakit.serving.store import open_store

_DOWN = 3.0  # seconds between a kill and the restart


class Load:
    """Clients of one service, and what they have seen."""

    def __init__(self, port: int, users: int) -> None:
        self.counts: collections.Counter[str] = collections.Counter()
        self.refusals: collections.Counter[str] = collections.Counter()
        self.broken: list[str] = []
        self.acknowledged: dict[tuple[str, int], str] = {}
        self.down_until = 0.0
        self.ended = False
        self._port, self._users = port, users

    async def client(self, number: int) -> None:
        """Send requests until the end, one after another."""
        draw, client = random.Random(number), Client(self._port)
        while not self.ended:
            user = user_name(draw.randrange(self._users))
            appends = draw.random() < 0.2
            try:
                await (self._append(client, user, draw) if appends else self._ask(client, user))
            except ConnectionError as error:
                self.counts["connections broken while the service was down"] += 1
                if time.monotonic() > self.down_until:
                    self.broken.append(f"a connection broke: {error}")
                await asyncio.sleep(0.2)
        client.close()

    async def _ask(self, client: Client, user: str) -> None:
        status, document = await client.chat(RUN, user, "Tell the team that the train is late.")
        if status != 200:
            self._refused(status, document)
            return
        names, trace = names_in(document), document["personakit"]
        self.counts["answers, personalised" if trace["personalised"] else "answers, degraded"] += 1
        if names != ({user} if trace["personalised"] else set()):
            self.broken.append(f"{user} got an answer from texts of {names}")

    async def _append(self, client: Client, user: str, draw: random.Random) -> None:
        text = f"{user} {draw.getrandbits(64):016x}"
        status, document = await client.post(f"/v1/users/{user}/items", {"items": [{"text": text}]})
        if status != 200:
            self._refused(status, document)
            return
        self.counts["items acknowledged"] += 1
        self.acknowledged[user, document["numbers"][0]] = text

    def _refused(self, status: int, document: Any) -> None:
        message = str(document.get("error", {}).get("message", ""))
        self.counts["refusals"] += 1
        self.refusals[f"{status}: {message}"] += 1
        if status not in (429, 502, 503, 504) or not message or "\n" in message:
            self.broken.append(f"status {status} with {document}")


async def run(options: argparse.Namespace, store: str) -> Load:
    """Send requests for the whole time, and kill."""
    base_port, port = free_port(), free_port()
    base = start("base", base_port, options.base_seconds)
    service = start("service", port, base_port, store)
    load = Load(port, options.users)
    clients = [asyncio.create_task(load.client(number)) for number in range(options.clients)]
    for killed in ("base", "service", "base", "nothing"):
        await asyncio.sleep(options.seconds / 4)
        if killed == "base":
            stop(base, signal.SIGKILL)
            await asyncio.sleep(_DOWN)
            base = await asyncio.to_thread(start, "base", base_port, options.base_seconds)
        if killed == "service":
            load.down_until = math.inf
            stop(service, signal.SIGKILL)
            await asyncio.sleep(_DOWN)
            service = await asyncio.to_thread(start, "service", port, base_port, store)
            load.down_until = time.monotonic() + 1
    load.ended = True
    await asyncio.gather(*clients)
    stop(service)
    stop(base)
    return load


def main() -> None:
    """Load, kill, check, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600, help="without those of restarts")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--users", type=int, default=500)
    parser.add_argument("--base-seconds", type=float, default=0.5, help="the base model's time")
    parser.add_argument("--store", help="by default a new folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = options.store or folder
        users = open_store(store).tenant(create=True)
        users.load((user_name(number), items_of(number, 5)) for number in range(options.users))
        load = asyncio.run(run(options, store))
        stored = {
            (name, item.number): item.fields["text"]
            for name in map(user_name, range(options.users))
            for item in users.items(name)
        }
    lost = [key for key, text in load.acknowledged.items() if stored.get(key) != text]
    for what, count in sorted(load.counts.items()):
        print(f"{count:7,} {what}")
    print(f"{len(lost):7,} acknowledged items lost")
    print(f"{len(load.broken):7,} other rules broken")
    for message, count in load.refusals.most_common(10):
        print(f"  refused {count:,} times with {message}")
    for each in load.broken[:10]:
        print(f"  {each}")
    sys.exit(bool(lost or load.broken))


if __name__ == "__main__":
    main()
