"""One program that the harness starts, watches and ends, by its own pid."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from tests.harness.environment import ROOT
from tests.harness.nursery import Forked, Nursery

TETHER = ROOT / "deploy" / "tether.py"


class ProcessFailed(Exception):
    """The program ended, or did not answer in time; the message carries its log's tail."""


class ManagedProcess:
    """Output goes to `log`, appended to across restarts. `forked`: a Python module may come out
    of the nursery, where there is one.

    Start it from a thread that outlives it, such as the main one: the kernel ends the program
    when the thread that started it is gone, so that a killed test run leaves nothing behind.
    """

    # Those that tests/harness/reports.py may have to tell of.
    started: ClassVar[list["ManagedProcess"]] = []

    def __init__(
        self,
        argv: Sequence[str],
        *,
        log: Path,
        name: str = "",
        forked: bool = True,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
        user: str | None = None,
        orphan_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.argv = list(argv)
        self.log = log
        self.name = name or Path(self.argv[0]).name
        self.env = env
        self.cwd = cwd
        self._user = user
        self._orphan_signal = orphan_signal
        self._forked = forked and self.argv[:2] == [sys.executable, "-m"]
        self._process: subprocess.Popen[bytes] | Forked | None = None

    def __str__(self) -> str:
        return self.name

    @property
    def pid(self) -> int:
        return self._started.pid

    @property
    def _started(self) -> subprocess.Popen[bytes] | Forked:
        if self._process is None:
            raise RuntimeError(f"{self} was not started")
        return self._process

    def start(self) -> None:
        if self.running:
            raise RuntimeError(f"{self} is running already")
        if self not in self.started:
            self.started.append(self)
        nursery = Nursery.current
        if self._forked and nursery and nursery.usable:
            self._process = nursery.fork(
                self.argv[1:],
                env=os.environ if self.env is None else self.env,
                cwd=self.cwd,
                stdout=self.log,
                orphan_signal=self._orphan_signal,
            )
            return
        tether = [sys.executable, "-I", "-S", str(TETHER), str(os.getpid())]
        tether += [str(int(self._orphan_signal)), self._user or "-"]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [*tether, *self.argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=None if self.env is None else dict(self.env),
                cwd=self.cwd,
                # A Ctrl-C at the terminal is for pytest, which ends its peers in order.
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return None if self._process is None else self._process.poll()

    def send_signal(self, signum: signal.Signals) -> None:
        self._started.send_signal(signum)

    def wait(self, timeout: float) -> int:
        return self._started.wait(timeout)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self.running:
            self._started.kill()
            self._started.wait(10)

    def terminate(
        self, *, signum: signal.Signals = signal.SIGTERM, timeout: float = 15.0
    ) -> None:
        """Ask it to end. One that does not within `timeout` is killed, and ProcessFailed."""
        if not self.running:
            return
        self._started.send_signal(signum)
        try:
            self._started.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ProcessFailed(
                f"{self} did not end within {timeout:g} s of {signum.name}\n{self.log_tail()}"
            ) from None

    def require_running(self) -> None:
        if not self.running:
            raise ProcessFailed(f"{self} ended with {self.exit_status}\n{self.log_tail()}")

    def log_text(self) -> str:
        if not self.log.exists():
            return ""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def log_tail(self, lines: int = 40) -> str:
        tail = self.log_text().splitlines()[-lines:]
        return "\n".join([f"--- last lines of {self.log} ---", *tail])
