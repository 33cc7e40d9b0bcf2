"""`python -m tests [--only sqlite|postgresql] [pytest's arguments]`

The suite on SQLite and on PostgreSQL at once, each in a few processes (`-n0`: in one). What
does not depend on the database runs once, beside SQLite. The exit status is 0 only when tests
ran and all passed; the last line says how many.
"""

import argparse
import os
import signal
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from tests.harness.postgres import PostgresNotFound, find_postgres
from tests.harness.processes import ProcessFailed
from tests.harness.runs import Result, Run

VENDORS = ("sqlite", "postgresql")
# With these somebody sits at the terminal: one database after the other, in one process.
_ATTACHED = {"--pdb", "--trace", "-s", "--capture=no", "-h", "--help", "-V", "--version"}
_STOP_EARLY = ("-x", "--exitfirst", "--maxfail")
# By pytest's exit status.
_OUTCOMES = ("passed", "FAILED", "interrupted", "internal error", "wrong usage", "NO TEST RAN")
_PASSED, _FAILED, _INTERRUPTED, _, _, _NOTHING = range(len(_OUTCOMES))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests", add_help=False)
    parser.add_argument("--only", choices=VENDORS)
    options, arguments = parser.parse_known_args()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tests-")))
        runs, missing = [], []
        for number, vendor in enumerate((options.only,) if options.only else VENDORS):
            try:
                url = _database_url(vendor, directory, stack)
            except (PostgresNotFound, ProcessFailed) as error:
                missing.append(f"Tests on {vendor}: {error}")
                print(missing[-1], flush=True)
                continue
            own = _spread(arguments) + ["--elsewhere"] * (number > 0)
            runs.append(Run(vendor, url, own + arguments, directory))
        if _ATTACHED.intersection(arguments):
            _one_by_one(runs)
        else:
            _at_once(runs, stop_early=any(each.startswith(_STOP_EARLY) for each in arguments))
        return _conclude(runs, missing)


def _database_url(vendor: str, directory: Path, stack: ExitStack) -> str:
    if vendor == "sqlite":
        return f"sqlite:///{directory / 'db.sqlite3'}"
    return stack.enter_context(find_postgres()).url


def _spread(arguments: list[str]) -> list[str]:
    """Over how many processes; the caller's own `-n`, which comes later, wins."""
    if _ATTACHED.intersection(arguments) or "no:xdist" in " ".join(arguments):
        return []
    # Tests wait more than they compute.
    processes = min(len(os.sched_getaffinity(0)) + 1, 6)
    files = {each.partition("::")[0] for each in arguments if ".py" in each}
    if files:
        processes = min(processes, len(files))
    processes = processes if processes > 1 else 0
    # In the order that tests/conftest.py has put them in.
    return ["-n", str(processes), "--dist", "loadfile", "--no-loadscope-reorder"]


def _one_by_one(runs: list[Run]) -> None:
    # Ctrl-C reaches pytest by itself, from the terminal.
    before = signal.signal(signal.SIGINT, lambda signum, frame: None)
    try:
        for run in runs:
            run.start(attached=True)
            if run.wait() == _INTERRUPTED:
                break
    finally:
        signal.signal(signal.SIGINT, before)


def _at_once(runs: list[Run], *, stop_early: bool) -> None:
    """A first signal ends all in order, a second one kills."""
    signals: list[int] = []

    def stop(signum: int, frame: FrameType | None) -> None:
        signals.append(signum)
        for run in runs:
            run.interrupt(signal.SIGINT if len(signals) == 1 else signal.SIGKILL)

    def ended(run: Run) -> None:
        if stop_early and run.status == _FAILED:
            for other in runs:
                other.interrupt(signal.SIGINT)

    before = {name: signal.signal(name, stop) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        for run in runs:
            run.start()
        readers = [threading.Thread(target=run.read, args=(ended,)) for run in runs]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _conclude(runs: list[Run], missing: list[str]) -> int:
    """Reports of runs that failed come after the others, and all that failed after those."""
    for run in sorted(runs, key=lambda run: run.status != _PASSED):
        if run.report:
            print(f"\nReport on {run.vendor}", *run.report, sep="\n")
    results = {run.vendor: run.result or Result() for run in runs}
    passed = sum(result.passed for result in results.values())
    failed = sum(result.failed for result in results.values())
    lines, worst = list(missing), _FAILED if missing else _PASSED
    for run in runs:
        result, status = results[run.vendor], _INTERRUPTED if run.status is None else run.status
        lines += [f"FAILED on {run.vendor}: {name}" for name in result.failures]
        if status == _NOTHING and result.elsewhere and passed:
            # All that was asked for is what one database is enough for.
            status = _PASSED
        outcome = _OUTCOMES[status] if status in range(len(_OUTCOMES)) else "ended"
        lines.append(f"Tests on {run.vendor}: {outcome} (exit status {run.status})")
        if status != _PASSED and not result.failed:
            # It failed by itself, and none of its tests says so.
            failed += 1
        worst = worst or status
    failed += len(missing)
    counts = [f"{name} {result.passed - result.once}" for name, result in results.items()]
    once = sum(result.once for result in results.values())
    print("", *lines, ", ".join([*counts, f"once {once}"]), sep="\n")
    print(f"{passed} passed, {failed} failed", flush=True)
    return worst


if __name__ == "__main__":
    sys.exit(main())
