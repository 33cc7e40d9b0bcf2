"""`python -m tests [--only sqlite|postgresql] [pytest's arguments]`

The whole suite on SQLite, then the whole suite on PostgreSQL, also when the first one failed.
The exit status is 0 only when tests ran, and passed, on both.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from tests.harness.environment import ROOT
from tests.harness.postgres import PostgresNotFound, find_postgres
from tests.harness.processes import ProcessFailed

VENDORS = ("sqlite", "postgresql")
# By pytest's exit status.
_OUTCOMES = ("passed", "FAILED", "interrupted", "internal error", "wrong usage", "NO TEST RAN")
_INTERRUPTED = _OUTCOMES.index("interrupted")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests", add_help=False)
    parser.add_argument("--only", choices=VENDORS)
    options, pytest_arguments = parser.parse_known_args()
    lines, worst = [], 0
    for vendor in (options.only,) if options.only else VENDORS:
        print(f"\nTests on {vendor}", flush=True)
        started = time.monotonic()
        status = run(vendor, pytest_arguments)
        seconds = time.monotonic() - started
        outcome = _OUTCOMES[status] if status in range(len(_OUTCOMES)) else "ended"
        lines.append(f"Tests on {vendor}: {outcome} (exit status {status}, {seconds:.0f} s)")
        worst = worst or status
        if status == _INTERRUPTED:
            break
    print("\n" + "\n".join(lines), flush=True)
    return worst


def run(vendor: str, arguments: list[str]) -> int:
    """pytest's exit status."""
    if vendor == "sqlite":
        with tempfile.TemporaryDirectory(prefix="tests-sqlite-") as directory:
            return pytest(f"sqlite:///{Path(directory) / 'db.sqlite3'}", arguments)
    try:
        with find_postgres() as server:
            return pytest(server.url, arguments)
    except (PostgresNotFound, ProcessFailed) as error:
        print(error, flush=True)
        return 1


def pytest(database_url: str, arguments: list[str]) -> int:
    """In a process of its own: settings are read once per process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": database_url},
    )

    def forward(signum: int, frame: FrameType | None) -> None:
        # Ctrl-C reaches pytest by itself, from the terminal; it then ends its peers in order.
        if signum == signal.SIGTERM:
            process.send_signal(signal.SIGINT)

    before = {name: signal.signal(name, forward) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        return process.wait()
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


if __name__ == "__main__":
    sys.exit(main())
