"""One pytest over the suite, on one database; several of them may run at once."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.harness.environment import ROOT
from tests.harness.processes import TETHER

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
# What pytest prints when all tests have run, beginning with its first report.
_REPORT = re.compile(r"=+ (?!test session starts).+ =+")
_printing = threading.Lock()


@dataclass(frozen=True)
class Result:
    """What pytest counted; written at its end by tests/conftest.py."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    # Passed here, on behalf of every database.
    once: int = 0
    # Left to the run that has what does not depend on the database.
    elsewhere: int = 0
    failures: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> "Result | None":
        """None where pytest did not get so far."""
        if not path.exists():
            return None
        return cls(**json.loads(path.read_text(encoding="utf-8")))


class Run:
    def __init__(self, vendor: str, database_url: str, arguments: list[str], out: Path) -> None:
        self.vendor = vendor
        self.arguments = arguments
        self.status: int | None = None
        # What pytest reported after its last test, for when nothing else is printed.
        self.report: list[str] = []
        self._result_file = out / f"{vendor}.json"
        self._process: subprocess.Popen[bytes] | None = None
        self._env = {
            **os.environ,
            "DATABASE_URL": database_url,
            "TESTS_RESULT": str(self._result_file),
            # Else each of some hundred processes would compile the same modules.
            "PYTHONDONTWRITEBYTECODE": "",
            # Two runs write no common file.
            "COVERAGE_FILE": os.environ.get("COVERAGE_FILE", f"{ROOT}/.coverage.{vendor}"),
        }

    @property
    def result(self) -> Result | None:
        return Result.read(self._result_file)

    def start(self, *, attached: bool = False) -> None:
        """From the main thread, with whose end it ends. `attached`: to this terminal."""
        command = [sys.executable, "-m", "pytest", *self.arguments]
        if attached:
            self._process = subprocess.Popen(command, cwd=ROOT, env=self._env)
            return
        if sys.stdout.isatty():
            command.append("--color=yes")
        width = shutil.get_terminal_size().columns - len(self._prefix)
        tether = [sys.executable, "-I", "-S", str(TETHER), str(os.getpid())]
        self._process = subprocess.Popen(
            [*tether, str(int(signal.SIGINT)), "-", *command],
            cwd=ROOT,
            env={**self._env, "COLUMNS": str(max(width, 40))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # A Ctrl-C at the terminal is handed on by us, once.
            start_new_session=True,
        )

    def wait(self) -> int:
        assert self._process is not None
        self.status = self._process.wait()
        return self.status

    def interrupt(self, signum: signal.Signals) -> None:
        """pytest and its workers; they end the peers that they started."""
        if self._process is not None and self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signum)

    def read(self, then: Callable[["Run"], None]) -> None:
        """Print its progress, keep its report, until it ends."""
        assert self._process is not None
        assert self._process.stdout is not None
        for raw in self._process.stdout:
            line = raw.decode(errors="replace").rstrip("\n")
            if self.report or _REPORT.fullmatch(_ANSI.sub("", line)):
                self.report.append(line)
            else:
                with _printing:
                    print(self._prefix + line, flush=True)
        self._process.stdout.close()
        self.wait()
        then(self)

    @property
    def _prefix(self) -> str:
        return f"{self.vendor:10} | "
