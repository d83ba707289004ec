"""What the service adds to a request: its latency beyond the base model's, by the number of users.

    python benchmarks/serving.py [--users 1000,10000,100000] [--items 20] [--clients 50] [--requests 3000]
        [--store FOLDER | --store postgresql+psycopg://USER@HOST/NAME] [--write]

A stub base model answers after 500 ms. Clients, each on a connection of its own, first ask it directly, then
ask the service, which asks it and rewrites the draft from the user's items: it finds the user, decrypts the
items, chooses among them (BM25) and writes the prompt. The rewriter is a stub without model time. Every
answer must carry the user's own name only. "Beyond" is the difference of a percentile with and without the
service.

The store is built in bulk; a larger one keeps the users of a smaller one, and a build that was interrupted
goes on. Its master key is that of `PERSONAKIT_MASTER_KEY`, else one that everybody knows. A database must be
there, and be empty. Users are drawn at random; with few users, some recur, and their indexes are cached.

The last row, of a million users, is extrapolated from the two largest numbers. The table is printed, and with
--write added to benchmarks/results/serving.md.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import math
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
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
_MILLION = 1_000_000
_COLUMNS = {  # and how numbers are written; times are in ms unless the name says otherwise
    "users": ",",
    "items": ",",
    "bytes a user": ",.0f",
    "users loaded": ",",
    "seconds to load them": ".0f",
    "direct p50": ".1f",
    "direct p99": ".1f",
    "service p50": ".1f",
    "service p99": ".1f",
    "beyond p50": ".1f",
    "beyond p99": ".1f",
    "requests a second": ".1f",
    "CPU ms a request": ".2f",
}


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
    os.environ.setdefault("PERSONAKIT_MASTER_KEY", base64.b64encode(bytes(32)).decode())
    rows = [measure(int(users), options) for users in options.users.split(",")]
    lines = [" | ".join(_COLUMNS), " | ".join("---" for _ in _COLUMNS), *map(line_of, rows)]
    about = (
        f"{'PostgreSQL' if '://' in options.store else 'SQLite'}; {options.clients} clients, "
        f"{options.requests} requests; the base model answers after {1000 * options.seconds:.0f} ms; "
        f"times in ms; {platform.processor() or platform.machine()}, Python {platform.python_version()}."
    )
    if len(rows) > 1 and rows[-1]["users"] < _MILLION:
        million = extrapolated(*rows[-2:])
        lines.append(line_of(million).replace(" |", ", extrapolated |", 1))
        about += (
            " The last row is extrapolated from the two before, not measured: latency by the logarithm of "
            f"the number of users, bytes in proportion: {million['bytes a user'] * _MILLION / 1e9:.1f} GB."
        )
    table = "\n".join(f"| {line} |" for line in lines)
    print(f"\n{table}\n\n{about}")
    if options.write:
        before = _RESULTS.read_text(encoding="utf-8") + "\n" if _RESULTS.exists() else ""
        write_text(_RESULTS, f"{before}{table}\n\n{about}\n")


def measure(users: int, options: argparse.Namespace) -> dict[str, float]:
    """Return the row of a number of users."""
    begun = time.perf_counter()
    made = (
        open_store(options.store)
        .tenant(create=True)
        .load((user_name(number), items_of(number, options.items)) for number in range(users))
    )
    loading = time.perf_counter() - begun
    size = size_of(options.store, users)
    base_port, port = free_port(), free_port()
    with (
        running("base", base_port, options.seconds),
        running("service", port, base_port, options.store) as process,
    ):
        asyncio.run(ask_all(port, RUN, users, options.clients, options))  # what is loaded late is loaded
        direct = asyncio.run(ask_all(base_port, BASE, users, options.requests, options))
        before, started = cpu_seconds(process), time.perf_counter()
        served = asyncio.run(ask_all(port, RUN, users, options.requests, options))
        seconds, cpu = time.perf_counter() - started, cpu_seconds(process) - before
    here, there = percentiles(direct), percentiles(served)
    beyond = [late - early for late, early in zip(there, here, strict=True)]
    values = (users, users * options.items, size / users, made, loading, *here, *there, *beyond)
    row = dict(
        zip(_COLUMNS, (*values, options.requests / seconds, 1000 * cpu / options.requests), strict=True)
    )
    print(", ".join(f"{name} {value:{_COLUMNS[name]}}" for name, value in row.items()), file=sys.stderr)
    return row


def line_of(row: Mapping[str, float]) -> str:
    """Return the cells of a row of the table."""
    return " | ".join(f"{row[name]:{form}}" if name in row else "" for name, form in _COLUMNS.items())


def extrapolated(smaller: Mapping[str, float], larger: Mapping[str, float]) -> dict[str, float]:
    """Return what a million users would need if it went on as between two numbers of users."""
    sizes = [row["users"] * row["bytes a user"] for row in (smaller, larger)]
    each = (sizes[1] - sizes[0]) / (larger["users"] - smaller["users"])
    further = math.log(_MILLION / larger["users"]) / math.log(larger["users"] / smaller["users"])
    return {
        "users": _MILLION,
        "items": round(larger["items"] / larger["users"] * _MILLION),
        "bytes a user": each,
        **{
            name: larger[name] + further * max(0.0, larger[name] - smaller[name])
            for name in ("beyond p50", "beyond p99")
        },
    }


async def ask_all(
    port: int, model: str, users: int, requests: int, options: argparse.Namespace
) -> list[float]:
    """Return the milliseconds of each request. Clients begin one after another, not all at once."""
    draw = random.Random(0)
    wanted = [draw.randrange(users) for _ in range(requests)]
    waits: list[float] = []

    async def ask(number: int) -> None:
        client = Client(port)
        await asyncio.sleep(options.seconds * number / options.clients)
        while wanted:
            user = user_name(wanted.pop())
            started = time.perf_counter()
            status, document = await client.chat(model, user, "Tell the team that the train is late.")
            waits.append(1000 * (time.perf_counter() - started))
            if status != 200 or names_in(document) != (set() if model == BASE else {user}):
                raise SystemExit(f"status {status}, {document}: expected an answer from the texts of {user}")
        client.close()

    await asyncio.gather(*map(ask, range(options.clients)))
    return waits


def percentiles(waits: Sequence[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile."""
    cuts = statistics.quantiles(waits, n=100, method="inclusive")
    return cuts[49], cuts[98]


def size_of(store: str, users: int) -> int:
    """Return the bytes of a store's tables and indexes, in a settled state; it must have so many users."""
    profiles, *_, folder = open_databases(store)
    with profiles.reading() as connection:
        there = connection.scalar(text("SELECT count(*) FROM users"))
    if there != users:
        raise SystemExit(f"{store} has {there} users, expected {users}: give another --store")
    with profiles.reading() as connection:
        settled = connection.execution_options(isolation_level="AUTOCOMMIT")
        if "://" not in store:
            settled.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            return sum(path.stat().st_size for path in folder.glob("*.sqlite"))
        settled.exec_driver_sql("VACUUM ANALYZE")  # else the server does it during the measurement
        tables = "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r'"
        return int(settled.scalar(text(f"{tables} AND relnamespace = 'public'::regnamespace")) or 0)


if __name__ == "__main__":
    main()
