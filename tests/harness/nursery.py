"""Python programs of the project, forked from a process that has the libraries loaded.

Each is a process of its own, with its own environment, settings, log and death; it only need
not load Django and Twisted again, three quarters of a second of computing. Outside a test
session, and for whoever measures memory, programs are started by themselves.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness.environment import ROOT

_FORKING = Path(__file__).with_name("forking.py")
_TETHER = ROOT / "deploy" / "tether.py"


class Forked:
    """As much of subprocess.Popen as the harness uses."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._answers = connection.makefile("rb")
        self.returncode: int | None = None
        first = self._answers.readline()
        if not first:
            raise RuntimeError("the process that forks the others is gone")
        self.pid = int(first)

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            # Nothing: the forking process was killed, and this one with it.
            self.returncode = int(self._answers.readline() or -signal.SIGKILL)
            self._answers.close()
            self._connection.close()
        return self.returncode

    def send_signal(self, signum: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signum)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Nursery:
    """Ends with all that it forked, when it is left and with the thread that entered it."""

    current: "Nursery | None" = None

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._directory = tempfile.TemporaryDirectory(prefix="tests-nursery-")
        self._path = str(Path(self._directory.name) / "socket")

    @property
    def usable(self) -> bool:
        """It starts at first use, which has to be in the main thread."""
        return self._process is not None or (
            threading.current_thread() is threading.main_thread()
        )

    def fork(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        stdout: Path,
        stderr: Path | None = None,
        orphan_signal: signal.Signals = signal.SIGKILL,
    ) -> Forked:
        """`argv`: what follows `python`. Output is appended to the files."""
        if self._process is None:
            self._start()
        program = {
            "argv": list(argv),
            "env": dict(env),
            "cwd": str(cwd),
            "stdout": str(stdout),
            "stderr": str(stderr or stdout),
            "orphan_signal": int(orphan_signal),
        }
        connection = self._connect()
        connection.sendall(json.dumps(program).encode() + b"\n")
        return Forked(connection)

    def _start(self) -> None:
        tether = [sys.executable, "-I", "-S", str(_TETHER), str(os.getpid())]
        tether += [str(int(signal.SIGKILL)), "-"]
        # Whoever reads settings too early shall fail.
        env = {name: each for name, each in os.environ.items() if not name.startswith("DJANGO")}
        self._process = subprocess.Popen(
            [*tether, sys.executable, "-I", str(_FORKING), self._path],
            stdin=subprocess.DEVNULL,
            env=env,
            start_new_session=True,
        )

    def _connect(self) -> socket.socket:
        """Once it has loaded all, it listens."""
        for _ in range(3000):
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(self._path)
            except (FileNotFoundError, ConnectionRefusedError):
                connection.close()
            else:
                return connection
            assert self._process is not None
            with suppress(subprocess.TimeoutExpired):
                status = self._process.wait(0.02)
                raise RuntimeError(f"the process that forks the others ended: {status}")
        raise RuntimeError("the process that forks the others does not answer")

    def __enter__(self) -> Self:
        Nursery.current = self
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        Nursery.current = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._directory.cleanup()


def run_python(
    argv: Sequence[str], *, env: Mapping[str, str], timeout: float
) -> tuple[int, str, str]:
    """Exit status, standard output, standard error of `python ARGV` in the project's root."""
    nursery = Nursery.current
    if nursery is None or not nursery.usable:
        done = subprocess.run(
            [sys.executable, *argv],
            cwd=ROOT,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr
    with tempfile.TemporaryDirectory(prefix="tests-output-") as directory:
        output, errors = Path(directory) / "output", Path(directory) / "errors"
        process = nursery.fork(argv, env=env, cwd=ROOT, stdout=output, stderr=errors)
        try:
            status = process.wait(timeout)
        finally:
            process.kill()
        return status, output.read_text(encoding="utf-8"), errors.read_text(encoding="utf-8")
