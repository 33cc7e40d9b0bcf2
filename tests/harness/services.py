"""Real server processes of this project."""

import json
import re
import socket
import ssl
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.constants import VARIABLE as CONSTANTS
from tests.harness.databases import Database
from tests.harness.ports import free_port
from tests.harness.processes import ManagedProcess, ProcessFailed
from tests.harness.redis import RedisServer
from tests.harness.tls import NO_TLS, Certificate
from tests.harness.waiting import wait_until

Product = Literal["all", "ai_chatbot", "agent_workbench"]
Server = Literal["daphne", "uvicorn", "gunicorn", "hypercorn", "hypercorn-alone", "granian"]
PAIR: tuple[Product, Product] = ("ai_chatbot", "agent_workbench")

# What a healthy service never logs.
_TROUBLE = re.compile(
    r"Traceback \(most recent call last\)|was never awaited|Unhandled error in Deferred"
    r"|Task exception was never retrieved|Task was destroyed but it is pending"
)


class TroubleInLog(AssertionError):
    """A service logged a traceback, or the like, that its test did not expect."""


class Service:
    """One ASGI server process. Port, database and log stay the same across restarts."""

    def __init__(
        self,
        product: Product,
        *,
        database: Database,
        log: Path,
        redis: RedisServer | str | None = None,
        server: Server = "daphne",
        tls: Certificate | None = None,
        constants: Mapping[str, float] | None = None,
        port: int | None = None,
        **env: str,
    ) -> None:
        """`redis`: the server or a URL; None is the in-memory layer. `tls`: the server ends TLS
        itself. `constants`: {"ai_chatbot.turns.LEASE": 2}. `env`: more settings."""
        self.product: Product = product
        self.database = database
        self.port = port or free_port()
        self.tls = tls
        # Set it in a test that provokes one; the log is checked when the service is stopped.
        self.trouble_expected = False
        url = redis.url if isinstance(redis, RedisServer) else redis
        layer = {"USE_REDIS_SSE": "false"}
        if url is not None:
            layer = {"USE_REDIS_SSE": "true", "REDIS_URL": url}
        own = {"SERVICE": product, "PYTHONUNBUFFERED": "1"}
        if constants:
            own[CONSTANTS] = json.dumps(dict(constants))
        self._process = ManagedProcess(
            _command(server, self.port, tls),
            log=log,
            name=self.name,
            env=database.environment(**(own | layer | env)),
        )

    @property
    def name(self) -> str:
        return f"{self.product}:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def verify(self) -> ssl.SSLContext:
        """What httpx is to check the server's certificate by."""
        return self.tls.trusting if self.tls else NO_TLS

    def _get(self, url: str, timeout: float) -> httpx.Response:
        return httpx.get(url, timeout=timeout, trust_env=False, verify=self.verify)

    @property
    def api_url(self) -> str:
        """The customer API; in a process of the workbench alone, the workbench's."""
        return f"{self.base_url}/api"

    @property
    def workbench_url(self) -> str:
        return f"{self.base_url}/workbench-api"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.running

    def start(self) -> Self:
        self.launch()
        return self.wait_ready()

    def launch(self) -> None:
        """Start the process without waiting for it, so that several start at once."""
        self._process.start()

    def wait_ready(self, *, timeout: float = 40.0) -> Self:
        try:
            wait_until(self._answers, timeout=timeout, what=f"{self.name} to answer")
        except TimeoutError as error:
            raise ProcessFailed(f"{error}\n{self._process.log_tail()}") from error
        return self

    def _answers(self) -> bool:
        self._process.require_running()
        try:
            # Most looks are too early, and this is the cheap one.
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
            answer = self._get(f"{self.api_url}/readyz", 5)
        except (OSError, httpx.TransportError):
            # Refused until it listens.
            return False
        return answer.status_code == httpx.codes.OK

    def health(self) -> dict[str, object]:
        """What GET /api/health says, whatever its status code."""
        answer = self._get(f"{self.api_url}/health", 10)
        health: dict[str, object] = answer.json()
        return health

    def metric(self, name: str) -> float:
        """The number of this name, which has no labels, at GET /metrics."""
        answer = self._get(f"{self.base_url}/metrics", 10)
        samples = {
            sample.name: sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
            if not sample.labels
        }
        return samples[name]

    def wait_for_mode(self, mode: str, *, timeout: float = 20.0) -> None:
        """Until its health reports this `sse.mode`: redis, memory or degraded."""

        def reported() -> bool:
            sse = self.health().get("sse")
            return isinstance(sse, dict) and sse.get("mode") == mode

        wait_until(reported, timeout=timeout, what=f"{self.name} to be {mode}", interval=0.1)

    def terminate(self, *, timeout: float = 15.0) -> None:
        self._process.terminate(timeout=timeout)

    def kill(self) -> None:
        self._process.kill()

    def restart(self) -> Self:
        """SIGTERM, then again on the same port."""
        self.terminate()
        return self.start()

    def log_text(self) -> str:
        return self._process.log_text()

    def log_tail(self, lines: int = 40) -> str:
        return self._process.log_tail(lines)

    def wait_for_log(self, pattern: str, *, timeout: float = 30.0) -> re.Match[str]:
        """The first match of a regular expression in everything logged so far."""
        found = wait_until(
            lambda: re.search(pattern, self.log_text()),
            timeout=timeout,
            what=f"{pattern!r} in the log of {self.name}",
        )
        assert found is not None
        return found

    def check_log(self) -> None:
        """Raises TroubleInLog, with the lines around it."""
        text = self.log_text()
        trouble = None if self.trouble_expected else _TROUBLE.search(text)
        if trouble:
            excerpt = text[max(0, trouble.start() - 500) : trouble.end() + 4000]
            raise TroubleInLog(f"{self.name} logged:\n{excerpt}")


def _command(server: Server, port: int, tls: Certificate | None) -> Sequence[str]:
    at = ["--host", "127.0.0.1", "--port", str(port)]
    bound = ["--bind", f"127.0.0.1:{port}", "--graceful-timeout", "5"]
    match server:
        case "daphne":
            options = ["-b", "127.0.0.1", "-p", str(port)]
        case "uvicorn":
            options = [*at, "--timeout-graceful-shutdown", "5"]
        case "gunicorn":
            options = [*bound, "--worker-class", "uvicorn_worker.UvicornWorker"]
            options += ["--no-control-socket"]
        case "hypercorn":
            # A worker process beside the one that is told to stop.
            options = bound
        case "hypercorn-alone":
            options = [*bound, "--workers", "0"]
        case "granian":
            options = [*at, "--interface", "asgi", "--workers-kill-timeout", "10"]
    if tls and server == "daphne":
        files = f"privateKey={tls.key}:certKey={tls.certificate}"
        options = ["-e", f"ssl:{port}:interface=127.0.0.1:{files}"]
    elif tls and server == "uvicorn":
        options += ["--ssl-keyfile", str(tls.key), "--ssl-certfile", str(tls.certificate)]
    elif tls:
        raise ValueError(f"{server} is started without TLS only")
    module = server.partition("-")[0]
    return [sys.executable, "-m", module, *options, "config.asgi:application"]


class Services:
    """Starts services over one database, and stops all of them when it is left."""

    def __init__(self, database: Database, directory: Path) -> None:
        self.database = database
        self.directory = directory
        self.started: list[Service] = []

    def start(
        self,
        product: Product = "all",
        *,
        redis: RedisServer | str | None = None,
        server: Server = "daphne",
        tls: Certificate | None = None,
        constants: Mapping[str, float] | None = None,
        **env: str,
    ) -> Service:
        """One process, ready to serve. `env`: settings, as in SSE_HEARTBEAT_SECONDS="0.5".
        `constants` of modules, as in {"ai_chatbot.turns.LEASE": 2}, for what is no setting."""
        service = self._add(product, redis, server, env, tls, constants)
        return service.start()

    def pair(
        self,
        redis: RedisServer | str,
        *,
        server: Server = "daphne",
        constants: Mapping[str, float] | None = None,
        **env: str,
    ) -> tuple[Service, Service]:
        """ai_chatbot and agent_workbench as two processes over one Redis, both ready. The links
        of their mails lead to them, unless `env` says where."""
        ports = free_port(), free_port()
        public, desk = (f"http://127.0.0.1:{port}" for port in ports)
        env = {"PUBLIC_URL": public, "WORKBENCH_URL": desk, **env}
        chatbot, workbench = (
            self._add(product, redis, server, env, constants=constants, port=port)
            for product, port in zip(PAIR, ports, strict=True)
        )
        chatbot.launch()
        workbench.launch()
        return chatbot.wait_ready(), workbench.wait_ready()

    def _add(
        self,
        product: Product,
        redis: RedisServer | str | None,
        server: Server,
        env: dict[str, str],
        tls: Certificate | None = None,
        constants: Mapping[str, float] | None = None,
        port: int | None = None,
    ) -> Service:
        log = self.directory / f"{len(self.started)}-{product}.log"
        service = Service(
            product,
            database=self.database,
            log=log,
            redis=redis,
            server=server,
            tls=tls,
            constants=constants,
            port=port,
            **env,
        )
        self.started.append(service)
        return service

    def stop(self) -> None:
        """End every process; then raise for the first that would not end or logged trouble."""
        troubles: list[Exception] = []
        for service in self.started:
            try:
                service.terminate()
                service.check_log()
            except (ProcessFailed, TroubleInLog) as trouble:
                troubles.append(trouble)
        if troubles:
            raise troubles[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
