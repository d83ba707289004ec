"""What the service adds to a request: its latency beyond the base model's, by the number of users.

    python benchmarks/serving.py [--users 1000,10000,100000] [--items 20] [--clients 50] [--requests 3000]
        [--store FOLDER | --store postgresql+psycopg://USER@HOST/NAME] [--write]

A stub base model answers after 500 ms. Clients, each on a connection of its own, first ask it directly, then
ask the service, which asks it and rewrites the draft from the user's items: it finds the user, decrypts the
items, chooses among them (BM25) and writes the prompt. The rewriter is a stub without model time. Every
answer must carry the user's own name only. "Beyond" is the difference of a percentile with and without the
service.

The store is built once, in bulk; a larger one keeps the users of a smaller one, and a build that was
interrupted goes on. Users are drawn at random. The table is printed, and with --write added to
benchmarks/results/serving.md.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from _service import (
    BASE,
    RUN,
    Client,
    cpu_seconds,
    free_port,
    items_of,
    names_in,
    running,
    user_name,
)
from sqlalchemy import text

from personakit.files import write_text
from personakit.serving.store import open_store
from personakit.serving.store.database import open_databases

_RESULTS = Path(__file__).parent / "results" / "serving.md"
_COLUMNS = (
    "users",
    "items",
    "bytes a user",
    "seconds to load users",
    "direct p50",
    "direct p99",
    "service p50",
    "service p99",
    "beyond p50",
    "beyond p99",
    "requests a second",
    "CPU ms a request",
)


def main() -> None:
    """Build the stores, measure, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--users", default="1000,10000,100000", help="numbers of users, ascending")
    parser.add_argument("--items", type=int, default=20, help="items of a user")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--requests", type=int, default=3000, help="requests of each measurement")
    parser.add_argument("--seconds", type=float, default=0.5, help="the base model's time")
    parser.add_argument("--store", default=str(Path(tempfile.gettempdir()) / "personakit-serving"))
    parser.add_argument("--write", action="store_true", help="write the results' file")
    options = parser.parse_args()
    rows = [measure(int(users), options) for users in options.users.split(",")]
    lines = [" | ".join(_COLUMNS), " | ".join("---" for _ in _COLUMNS), *(" | ".join(row) for row in rows)]
    table = "\n".join(f"| {line} |" for line in lines)
    kind = "PostgreSQL" if "://" in options.store else "SQLite"
    about = (
        f"{kind}; {options.clients} clients, {options.requests} requests; the base model answers after "
        f"{1000 * options.seconds:.0f} ms; times in ms; {platform.processor() or platform.machine()}, Python "
        f"{platform.python_version()}."
    )
    print(f"\n{table}\n\n{about}")
    if options.write:
        before = _RESULTS.read_text(encoding="utf-8") + "\n" if _RESULTS.exists() else ""
        write_text(_RESULTS, f"{before}{table}\n\n{about}\n")


def measure(users: int, options: argparse.Namespace) -> list[str]:
    """Return the row of a number of users."""
    begun = time.perf_counter()
    made = (
        open_store(options.store)
        .tenant(create=True)
        .load((user_name(number), items_of(number, options.items)) for number in range(users))
    )
    loading = time.perf_counter() - begun
    base_port, port = free_port(), free_port()
    with (
        running("base", base_port, options.seconds),
        running("service", port, base_port, options.store) as process,
    ):
        asyncio.run(ask_all(port, RUN, users, options.clients, options.clients))  # connections are opened
        direct = asyncio.run(ask_all(base_port, BASE, users, options.clients, options.requests))
        before, started = cpu_seconds(process), time.perf_counter()
        served = asyncio.run(ask_all(port, RUN, users, options.clients, options.requests))
        seconds, cpu = time.perf_counter() - started, cpu_seconds(process) - before
    beyond = [there - here for there, here in zip(percentiles(served), percentiles(direct), strict=True)]
    row = [
        f"{users:,}",
        f"{users * options.items:,}",
        f"{size_of(options.store) / users:,.0f}",
        f"{loading:.0f} for {made:,}",
        *(f"{value:.1f}" for value in (*percentiles(direct), *percentiles(served), *beyond)),
        f"{options.requests / seconds:.1f}",
        f"{1000 * cpu / options.requests:.2f}",
    ]
    print(", ".join(f"{name} {value}" for name, value in zip(_COLUMNS, row, strict=True)), file=sys.stderr)
    return row


async def ask_all(port: int, model: str, users: int, clients: int, requests: int) -> list[float]:
    """Return the milliseconds of each request."""
    draw = random.Random(0)
    wanted = [draw.randrange(users) for _ in range(requests)]
    waits: list[float] = []

    async def ask() -> None:
        client = Client(port)
        while wanted:
            user = user_name(wanted.pop())
            started = time.perf_counter()
            status, document = await client.chat(model, user, "Tell the team that the train is late.")
            waits.append(1000 * (time.perf_counter() - started))
            if status != 200 or names_in(document) != (set() if model == BASE else {user}):
                raise SystemExit(f"status {status}, {document}: expected an answer from the texts of {user}")
        client.close()

    await asyncio.gather(*(ask() for _ in range(clients)))
    return waits


def percentiles(waits: Sequence[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile."""
    cuts = statistics.quantiles(waits, n=100, method="inclusive")
    return cuts[49], cuts[98]


def size_of(store: str) -> int:
    """Return the bytes of a store: of its files, or of its database."""
    if "://" not in store:
        return sum(path.stat().st_size for path in Path(store).iterdir())
    database, *_ = open_databases(store)
    with database.reading() as connection:
        return int(connection.scalar(text("SELECT pg_database_size(current_database())")) or 0)


if __name__ == "__main__":
    main()
