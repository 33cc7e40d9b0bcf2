"""What a scenario takes place in, and may do harm to."""

import os
import random
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import httpx
import psycopg
from psycopg import sql

from tests.bench.peers import VENDORS
from tests.chaos.backup import connect, database_name, disconnect_others
from tests.chaos.proxy import SlowProxy
from tests.chaos.traffic import Traffic
from tests.frames.nginx import ShippedNginx
from tests.harness.databases import Database
from tests.harness.processes import ProcessFailed
from tests.harness.redis import RedisServer
from tests.harness.road import Road
from tests.harness.services import Server, Service, Services, TroubleInLog
from tests.harness.tls import Certificate
from tests.harness.waiting import wait_until

RECOVERED_SECONDS = 30.0
# A fault that lasts is to be found in health within this time.
NOTICED_SECONDS = 15.0

_SETTINGS = {
    "SSE_MAX_STREAMS_PER_ADDRESS": "0",
    "SSE_MAX_STREAMS_PER_TARGET": "0",
    "SSE_HEARTBEAT_SECONDS": "2",
}


@dataclass(frozen=True)
class Stage:
    """What a scenario needs; the default is two processes over one Redis."""

    processes: int = 2
    # `apart`: a road to Redis for each process, which may lead elsewhere.
    redis: Literal["one", "apart", "none"] = "one"
    settings: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, float] = field(default_factory=dict)
    tls: bool = False
    # Requests and streams go through it.
    nginx: bool = False
    # Between the services and PostgreSQL is a road that may be blocked.
    far_database: bool = False
    # The database goes back in time: whoever had read further has to be told so.
    goes_back: bool = False
    # Services may log tracebacks of what happened to them.
    troubled: bool = False
    # Messages may be refused for a while, by honest 503s.
    refuses: bool = False
    vendors: tuple[str, ...] = VENDORS
    why_not: str = ""


@dataclass
class World:
    database: Database
    directory: Path
    chance: random.Random
    stage: Stage
    traffic: Traffic = field(init=False)
    services: list[Service] = field(default_factory=list)
    # Where requests and streams go to.
    ports: list[int] = field(default_factory=list)
    certificate: Certificate | None = None
    redises: list[RedisServer] = field(default_factory=list)
    redis_roads: list[SlowProxy] = field(default_factory=list)
    database_road: Road | None = None
    recoveries: list[float] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    # When the state that the database went back to was taken, and when it was there.
    went_back: tuple[float, float] | None = None

    @property
    def redis(self) -> RedisServer:
        return self.redises[0]

    # --- health -------------------------------------------------------------------------

    def health(self, service: Service) -> str:
        """ok, degraded or down; `silent` when there is no answer."""
        try:
            return str(service.health()["status"])
        except httpx.TransportError:
            return "silent"

    def expect_ill(self, *, where: Callable[[Service], bool] = lambda _service: True) -> None:
        """Health has to say that something is wrong, within NOTICED_SECONDS."""
        slowest = 0.0
        for service in filter(where, self.services):
            said = ""
            deadline = time.monotonic() + NOTICED_SECONDS
            while said not in ("degraded", "down") and time.monotonic() < deadline:
                asked = time.monotonic()
                said = self.health(service)
                slowest = max(slowest, time.monotonic() - asked)
                time.sleep(0.1)
            if said not in ("degraded", "down"):
                self.troubles.append(f"health says {said} during the fault")
        self.notes.append(f"health took up to {slowest:.1f} s")

    def stay_ill(self, seconds: float) -> None:
        """The fault lasts so long, the time counted in which health has to say so."""
        until = time.monotonic() + seconds
        self.expect_ill()
        time.sleep(max(0.0, until - time.monotonic()))

    def note_recovery(self) -> None:
        """How long it takes, from now on, until every process says that all is well."""
        began = time.monotonic()
        for service in self.services:
            wait_until(
                lambda service=service: self.is_well(service),
                timeout=RECOVERED_SECONDS,
                what=f"{service.name} to be well again",
            )
        self.recoveries.append(time.monotonic() - began)

    def note_acceptance(self) -> None:
        """How long it takes, from now on, until a message is accepted."""
        began = time.time()
        wait_until(
            lambda: self.traffic.accepted_since(began),
            timeout=RECOVERED_SECONDS,
            what="a message to be accepted again",
        )
        self.notes.append(f"accepted again after {time.time() - began:.1f} s")

    def is_well(self, service: Service) -> bool:
        """It says so, and has the layer it is to have."""
        try:
            health = service.health()
        except httpx.TransportError:
            return False
        sse = health["sse"]
        mode = "memory" if self.stage.redis == "none" else "redis"
        return health["status"] == "ok" and isinstance(sse, dict) and sse["mode"] == mode

    # --- the database -------------------------------------------------------------------

    @contextmanager
    def unwritable(self) -> Iterator[None]:
        """The database can be read and not be written to."""
        with self._read_only() if self.database.vendor == "postgresql" else self._full():
            yield

    @contextmanager
    def _read_only(self) -> Iterator[None]:
        name = sql.Identifier(database_name(self.database))
        setting = sql.SQL("ALTER DATABASE {} {} default_transaction_read_only")
        with psycopg.connect(self.database.url, autocommit=True) as connection:
            connection.execute(setting.format(name, sql.SQL("SET")) + sql.SQL(" = on"))
            disconnect_others(connection, database_name(self.database))
            yield
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(setting.format(name, sql.SQL("RESET")))
            disconnect_others(connection, database_name(self.database))

    @contextmanager
    def _full(self) -> Iterator[None]:
        """No file of the services can grow: a full disk, without filling one."""
        with closing(connect(self.database)) as reader:
            reader.isolation_level = None
            # As long as somebody reads what the log of changes had here, it can only grow.
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM sse_event").fetchone()
            written = os.stat(f"{self.database.url.removeprefix('sqlite:///')}-wal").st_size
            self._limit_files(written)
            yield
            self._limit_files(resource.RLIM_INFINITY)
            reader.execute("COMMIT")

    def _limit_files(self, size: int) -> None:
        for service in self.services:
            resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def open_world(
    stack: ExitStack,
    stage: Stage,
    database: Database,
    directory: Path,
    *,
    server: Server,
    chance: random.Random,
) -> World:
    """Everything but the traffic, which is the caller's to add. Closed with the stack, after
    which `troubles` has what the services did not do well at their end."""
    world = World(database, directory, chance, stage)
    settings = dict(_SETTINGS | stage.settings)
    if stage.redis != "none":
        world.redises = [
            stack.enter_context(RedisServer())
            for _ in range(stage.processes if stage.redis == "apart" else 1)
        ]
    if stage.redis == "apart":
        world.redis_roads = [
            stack.enter_context(SlowProxy(world.redis.port)) for _ in range(stage.processes)
        ]
    if stage.far_database:
        road = stack.enter_context(Road.to(database.url))
        settings["DATABASE_URL"] = road.redirect(database.url)
        world.database_road = road
    if stage.tls:
        world.certificate = Certificate(directory)
    services = Services(database, directory)
    stack.callback(_stop, services, world.troubles)
    for number in range(stage.processes):
        redis: RedisServer | str | None = world.redises[0] if world.redises else None
        if world.redis_roads:
            redis = world.redis_roads[number].redis_url
        service = services.start(redis=redis, server=server, tls=world.certificate, **settings)
        service.trouble_expected = stage.troubled
        world.services.append(service)
    world.ports = [service.port for service in world.services]
    if stage.nginx:
        nginx = ShippedNginx(chatbot=world.ports, workbench=world.ports)
        world.ports = [stack.enter_context(nginx).port]
    return world


def _stop(services: Services, troubles: list[str]) -> None:
    try:
        services.stop()
    except (ProcessFailed, TroubleInLog) as trouble:
        troubles.append(str(trouble))
