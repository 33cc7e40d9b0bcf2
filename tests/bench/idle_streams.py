"""What an open, idle stream costs a daphne process: threads, memory, database connections.

`python -m tests.bench.idle_streams [--streams 1000] [--sessions N] [--vendor sqlite]`
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.bench.peers import UNLIMITED, VENDORS, databases, print_table, raise_file_limit
from tests.harness.client import Customer
from tests.harness.databases import Databases, PostgresDatabases
from tests.harness.environment import ROOT
from tests.harness.redis import RedisServer
from tests.harness.services import Service, Services

# The bars of the issue that asked for this.
MOST_THREADS = 2
MOST_KB_EACH = 25.0
MOST_DATABASE_CONNECTIONS = 0


@dataclass(frozen=True)
class Cost:
    threads: int
    uss: int
    rss: int
    database_connections: int


def cost(service: Service, source: Databases) -> Cost:
    process = psutil.Process(service.pid)
    memory = process.memory_full_info()
    if isinstance(source, PostgresDatabases):
        connections = source.server.connection_count(service.database.url)
    else:
        path = service.database.url.removeprefix("sqlite:///")
        connections = sum(file.path == path for file in process.open_files())
    return Cost(process.num_threads(), memory.uss, memory.rss, connections)


def lowest(service: Service, source: Databases) -> Cost:
    """Over two seconds: the process looks into the database now and then, streams or not."""
    samples = []
    for _ in range(10):
        samples.append(cost(service, source))
        time.sleep(0.2)
    return min(samples, key=lambda sample: sample.database_connections)


def stream_path(service: Service) -> str:
    """Of a new session's stream."""
    with Customer(service) as customer:
        return f"/api{customer.path('/events')}?token={customer.token}"


@contextmanager
def opened(service: Service, paths: list[str]) -> Iterator[None]:
    """These streams are open, held by a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.open_streams", str(service.port)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as client:
        if client.stdin is None or client.stdout is None:
            raise RuntimeError("the client has no pipes")
        client.stdin.write("\n".join(paths) + "\n\n")
        client.stdin.flush()
        if client.stdout.readline() != "open\n":
            raise RuntimeError(f"streams did not open\n{service.log_tail()}")
        yield
        client.stdin.close()
        if client.wait(30):
            raise RuntimeError("the server closed idle streams")


def measure(vendor: str, streams: int, sessions: int, hold: float) -> list[object]:
    with (
        tempfile.TemporaryDirectory(prefix="tests-bench-") as directory,
        databases(vendor) as source,
        RedisServer() as redis,
        source.fresh() as database,
        Services(database, Path(directory)) as services,
    ):
        service = services.start("all", redis=redis, **UNLIMITED)
        with ThreadPoolExecutor(4) as pool:
            paths = list(pool.map(lambda _: stream_path(service), range(sessions)))
        # What the first stream loads is not the price of a stream.
        with opened(service, paths[:1] * 20):
            time.sleep(1)
        time.sleep(1)
        before = lowest(service, source)
        started = time.monotonic()
        with opened(service, [paths[number % sessions] for number in range(streams)]):
            seconds = time.monotonic() - started
            time.sleep(hold)
            after = lowest(service, source)
    threads = after.threads - before.threads
    # Not USS: it also grows by megabytes of libraries when another process that had them mapped
    # ends, which turns pages that were resident all along from shared to private.
    each = (after.rss - before.rss) / streams / 1024
    connections = after.database_connections - before.database_connections
    kept = (
        threads <= MOST_THREADS
        and each <= MOST_KB_EACH
        and connections <= MOST_DATABASE_CONNECTIONS
    )
    return [
        vendor,
        streams,
        sessions,
        f"{seconds:.1f} s",
        f"{before.threads} {threads:+d}",
        f"{before.database_connections} {connections:+d}",
        f"{each:.1f} KB",
        f"{(after.uss - before.uss) / streams / 1024:.1f} KB",
        "yes" if kept else "NO",
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.idle_streams")
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--sessions", type=int, help="default: one for each stream")
    parser.add_argument("--hold", type=float, default=5.0, help="idle seconds before measuring")
    parser.add_argument("--vendor", choices=VENDORS)
    options = parser.parse_args(arguments)
    raise_file_limit(options.streams + 1000)
    sessions = options.sessions or options.streams
    vendors = (options.vendor,) if options.vendor else VENDORS
    rows = [measure(vendor, options.streams, sessions, options.hold) for vendor in vendors]
    print(f"Idle streams on one daphne process ({options.hold:g} s after the last opened)")
    head = ["database", "streams", "sessions", "opened in", "threads", "db connections"]
    print_table([*head, "RSS each", "USS each", "within the bars"], rows)
    return 0 if all(row[-1] == "yes" for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
