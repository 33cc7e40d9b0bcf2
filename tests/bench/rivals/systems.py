"""Ours and its peers, as servers to be measured."""

import os
import re
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import httpx
import psutil

from tests.bench.peers import UNLIMITED
from tests.bench.rivals.environments import HERE, python_of
from tests.bench.rivals.programs import Listeners, Publisher
from tests.harness.databases import Database
from tests.harness.environment import environment
from tests.harness.ports import free_port
from tests.harness.processes import ManagedProcess
from tests.harness.redis import RedisServer
from tests.harness.waiting import wait_until

NCHAN_INSTALL = "apt-get install -y nginx-light libnginx-mod-nchan"


def command(python: str, server: str, port: int, application: str) -> list[str]:
    """`server`: "daphne", "uvicorn" (with httptools) or "uvicorn uvloop"."""
    if server == "daphne":
        options = ["-b", "127.0.0.1", "-p", str(port), "--verbosity", "0"]
        return [python, "-m", "daphne", *options, application]
    name, _, loop = server.partition(" ")
    options = ["--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
    options += ["--loop", loop or "asyncio", "--http", "httptools"]
    return [python, "-m", name, *options, "--timeout-graceful-shutdown", "5", application]


class System(ABC):
    """One server process, started by `running()`."""

    name: str
    # What a stream's body has in it as soon as it is subscribed.
    ready = ": ready"
    # Asked for until the server answers; what it answers does not matter.
    probe = "/"
    durable = False

    def __init__(self, server: str, redis: RedisServer) -> None:
        self.server = server
        self.redis = redis
        self.port = free_port()

    @contextmanager
    def running(self) -> Iterator[Self]:
        with tempfile.TemporaryDirectory(prefix="tests-rival-") as directory:
            self.directory = Path(directory)
            self.process = ManagedProcess(
                self.argv(), log=self.directory / "server.log", env=self.env()
            )
            self.process.start()
            try:
                wait_until(self._answers, timeout=40, what=f"{self.name} to answer")
                yield self
            except BaseException:
                print(self.process.log_tail(), flush=True)
                raise
            finally:
                # A server that waits for its streams has been measured all the same.
                self.process.kill()

    def _answers(self) -> bool:
        self.process.require_running()
        with suppress(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{self.port}{self.probe}", trust_env=False)
            return True
        return False

    @abstractmethod
    def argv(self) -> list[str]: ...

    @abstractmethod
    def env(self) -> dict[str, str]: ...

    @abstractmethod
    def publisher(self) -> Publisher: ...

    def requests(self, count: int) -> list[Mapping[str, Any]]:
        """One for each stream."""
        return [{"path": "/events"}] * count

    def targets(self) -> list[str]:
        return ["events"]

    def processes(self) -> list[psutil.Process]:
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def cpu_seconds(self) -> float:
        return sum(cpu_seconds(process) for process in self.processes())

    def rss(self) -> int:
        return sum(process.memory_info().rss for process in self.processes())

    def open(self, listeners: Listeners, count: int) -> None:
        listeners.open(self.port, self.requests(count), ready=self.ready)


def cpu_seconds(process: psutil.Process) -> float:
    """User and system, of all its threads, to the nanosecond where the kernel tells."""
    total = 0
    with suppress(OSError):
        for task in Path(f"/proc/{process.pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9
    times = process.cpu_times()
    return times.user + times.system


class Support(System):
    """Ours. Streams of one target, or of as many targets as streams."""

    name = "ours"
    ready = '"connected"'
    probe = "/api/livez"

    def __init__(
        self,
        server: str,
        redis: RedisServer,
        database: Database,
        *,
        durable: bool = False,
        **env: str,
    ) -> None:
        super().__init__(server, redis)
        self.database = database
        self.durable = durable
        self.name = f"ours, {'durable' if durable else 'ephemeral'}"
        self._more = env
        self.sessions: list[tuple[str, str]] = []

    def argv(self) -> list[str]:
        return command(python_of("support"), self.server, self.port, "config.asgi:application")

    def env(self) -> dict[str, str]:
        own = {
            "SERVICE": "all",
            "USE_REDIS_SSE": "true",
            "REDIS_URL": self.redis.url,
            "SSE_RETENTION_EVENTS": "10000000",
            "SSE_MAX_STREAM_SECONDS": "86400",
        }
        return self.database.environment(**(UNLIMITED | own | self._more))

    def publisher(self) -> Publisher:
        return Publisher(python_of("support"), "support", self.env())

    def make_sessions(self, publisher: Publisher, count: int) -> None:
        self.sessions += [tuple(made) for made in publisher.do("sessions", count=count)]

    def requests(self, count: int) -> list[Mapping[str, Any]]:
        return [self.request(number % len(self.sessions)) for number in range(count)]

    def request(self, number: int, after: str = "") -> Mapping[str, Any]:
        name, token = self.sessions[number]
        headers = {"Authorization": f"Bearer {token}"}
        if after:
            headers["Last-Event-ID"] = after
        return {"path": f"/api/sessions/{name}/events", "headers": headers}

    def targets(self) -> list[str]:
        return [name for name, _ in self.sessions]


class SseAlone(Support):
    """The app `sse` in a project of its own, without the products' work beside it."""

    def __init__(self, server: str, redis: RedisServer, database: Database) -> None:
        super().__init__(server, redis, database)
        self.name = "sse alone, ephemeral"

    def argv(self) -> list[str]:
        application = "tests.bench.rivals.apps.sse_app:application"
        return command(python_of("support"), self.server, self.port, application)

    def make_sessions(self, publisher: Publisher, count: int) -> None:
        """There are none: all read one channel."""

    def requests(self, count: int) -> list[Mapping[str, Any]]:
        return [{"path": "/events/"}] * count

    def targets(self) -> list[str]:
        return ["events"]


class Rival(System):
    """One of the applications in tests/bench/rivals/apps, in an environment of its own."""

    system: str
    application: str

    def argv(self) -> list[str]:
        return command(python_of(self.system), self.server, self.port, self.application)

    def env(self) -> dict[str, str]:
        kept = environment(REDIS_URL=self.redis.url)
        # The peers have settings of their own.
        del kept["DJANGO_SETTINGS_MODULE"]
        return kept

    def publisher(self) -> Publisher:
        return Publisher(python_of(self.system), self.system, self.env())


class DjangoEventstream(Rival):
    name = "django-eventstream 5.3"
    system = "django_eventstream"
    application = "tests.bench.rivals.apps.django_eventstream_app:application"
    ready = "stream-open"


class FastApi(Rival):
    """`max_connections` None: as redis-py has it, which is too few."""

    name = "FastAPI, a pubsub each"
    system = "fastapi"
    application = "tests.bench.rivals.apps.fastapi_app:app"

    def __init__(
        self, server: str, redis: RedisServer, *, max_connections: int | None = 10_000
    ) -> None:
        super().__init__(server, redis)
        self._max_connections = max_connections

    def env(self) -> dict[str, str]:
        lifted = self._max_connections
        return super().env() | ({"MAX_CONNECTIONS": str(lifted)} if lifted else {})


class LayerChannels(Rival):
    name = "Django view, a layer channel each"
    system = "layer_channels"
    application = "tests.bench.rivals.apps.layer_channels:application"


class Nchan(System):
    name = "nchan"
    ready = ""

    def __init__(self, redis: RedisServer) -> None:
        super().__init__("nginx", redis)

    def argv(self) -> list[str]:
        configuration = self.directory / "nginx.conf"
        configuration.write_text(
            (HERE / "apps" / "nchan.conf")
            .read_text(encoding="utf-8")
            .format(
                directory=self.directory,
                port=self.port,
                modules=_nchan_modules(),
                user="user root;" if os.geteuid() == 0 else "",
            )
        )
        return [_nginx(), "-c", str(configuration), "-e", str(self.directory / "error.log")]

    def env(self) -> dict[str, str]:
        return environment(PUBLISH_URL=f"http://127.0.0.1:{self.port}/publish")

    def publisher(self) -> Publisher:
        # It needs nothing but Python's own library.
        return Publisher(python_of("support"), "nchan", self.env())


def _nginx() -> str:
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise SystemExit(f"No nginx. Install it, as root, with: {NCHAN_INSTALL}")
    return found


def _nchan_modules() -> Path:
    told = subprocess.run([_nginx(), "-V"], capture_output=True, text=True, check=True).stderr
    configured = re.search(r"--modules-path=(\S+)", told)
    directory = Path(configured[1] if configured else "/usr/lib/nginx/modules")
    if not (directory / "ngx_nchan_module.so").exists():
        raise SystemExit(f"nginx has no nchan. Install it, as root, with: {NCHAN_INSTALL}")
    return directory
