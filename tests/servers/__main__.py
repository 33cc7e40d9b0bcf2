"""`python -m tests.servers [--server NAME …] [--vendor sqlite|postgresql …]`

What streams promise, on each ASGI server and each database, and under `manage.py runserver`.
Ends with 0 only if everything held, or is listed in known.py as what does not hold there.
"""

import argparse
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import get_args

from tests.bench.peers import VENDORS, databases, print_table
from tests.harness.client import ApiError
from tests.harness.databases import Database
from tests.harness.processes import ProcessFailed
from tests.harness.redis import RedisServer
from tests.harness.services import Server, TroubleInLog
from tests.harness.streams import StreamRefused
from tests.servers.development import reload
from tests.servers.known import KNOWN
from tests.servers.promises import Trial, Verdict, flow_and_stop, one_is_gone, some_do_not_read

TRIALS: dict[str, tuple[Trial, ...]] = {
    server: tuple(
        partial(trial, server) for trial in (flow_and_stop, some_do_not_read, one_is_gone)
    )
    for server in get_args(Server)
}
TRIALS["runserver"] = (reload,)
HEAD = ("server", "database", "promise", "found", "verdict")
# What ends a trial before its last verdict.
TROUBLES = (ProcessFailed, TroubleInLog, TimeoutError, ApiError, StreamRefused, OSError)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.servers")
    parser.add_argument("--server", nargs="+", choices=TRIALS, default=list(TRIALS))
    parser.add_argument("--vendor", nargs="+", choices=VENDORS, default=list(VENDORS))
    options = parser.parse_args()
    rows: list[tuple[str, ...]] = []
    for vendor in options.vendor:
        with databases(vendor) as source:
            for server in options.server:
                began = time.monotonic()
                found: list[Verdict] = []
                for trial in TRIALS[server]:
                    with source.demo() as database:
                        found += tried(trial, database)
                say(f"{server} on {vendor}: {time.monotonic() - began:.0f} s")
                rows += [(server, vendor, *row(server, each)) for each in found]
    print_table(HEAD, rows)
    # Of what is not promised there.
    for server, promise in KNOWN:
        if server in options.server:
            say(f"known: {server}: {promise}: {KNOWN[server, promise]}")
    return int(any(row[-1] == "FAILED" for row in rows))


def tried(trial: Trial, database: Database) -> list[Verdict]:
    """Its verdicts; where it broke off, the last one says so."""
    found: list[Verdict] = []
    with (
        tempfile.TemporaryDirectory(prefix="tests-servers-") as directory,
        RedisServer() as redis,
    ):
        try:
            found.extend(trial(database, redis, Path(directory)))
        except TROUBLES as trouble:
            say(str(trouble))
            found.append(Verdict("to the end", False, type(trouble).__name__))
    return found


def row(server: str, verdict: Verdict) -> tuple[str, str, str]:
    known = (server, verdict.promise) in KNOWN
    word = ("held, though known" if known else "held") if verdict.held else "FAILED"
    if known and not verdict.held:
        word = "known"
    return verdict.promise, verdict.found, word


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - what a command has to say


if __name__ == "__main__":
    sys.exit(main())
