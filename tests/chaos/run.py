"""One scenario from its start to its verdict."""

import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

from tests.chaos.scenarios import Scenario
from tests.chaos.traffic import Conversation, Traffic
from tests.harness.client import Agent, Clients
from tests.harness.databases import DEMO_AGENTS, Database
from tests.harness.processes import ProcessFailed
from tests.harness.redis import RedisServer
from tests.harness.services import Server, Service, Services, TroubleInLog
from tests.harness.waiting import wait_until

PROCESSES = 2
CONVERSATIONS = 8
# Readers come back after at most ten seconds (`goodbye`), and then read what they missed.
DELIVERED_SECONDS = 40.0
RECOVERED_SECONDS = 30.0
PAGE = 200

_SETTINGS = {
    "SSE_MAX_STREAMS_PER_ADDRESS": "0",
    "SSE_MAX_STREAMS_PER_TARGET": "0",
    "SSE_HEARTBEAT_SECONDS": "2",
}


@dataclass(frozen=True)
class Load:
    """`calm`: seconds of undisturbed traffic before and after."""

    streams: int = 100
    rate: float = 20.0
    calm: float = 3.0


@dataclass
class World:
    """What a scenario may do harm to."""

    redis: RedisServer
    services: list[Service]
    traffic: Traffic
    chance: random.Random
    recoveries: list[float] = field(default_factory=list)

    def note_recovery(self) -> None:
        """How long it takes, from now on, until every process is on Redis again."""
        began = time.monotonic()
        for service in self.services:
            wait_until(
                lambda service=service: _mode(service) == "redis",
                timeout=RECOVERED_SECONDS,
                what=f"{service.name} to be back on Redis",
            )
        self.recoveries.append(time.monotonic() - began)


def _mode(service: Service) -> object:
    sse = service.health()["sse"]
    return sse["mode"] if isinstance(sse, dict) else None


@dataclass(frozen=True)
class Outcome:
    scenario: str
    seconds: float
    accepted: int
    expected: int
    missing: int
    doubled: int
    disordered: int
    resets: int
    reconnects: int
    p50: float
    p99: float
    recovery: float  # the longest, or 0
    troubles: tuple[str, ...]

    HEAD = (
        *("scenario", "seconds", "accepted", "expected", "missing", "doubled", "disordered"),
        *("resets", "reopened", "p50 ms", "p99 ms", "recovery s", "verdict"),
    )

    @property
    def failures(self) -> list[str]:
        counts = {
            "missing": self.missing,
            "doubled": self.doubled,
            "out of order": self.disordered,
            "resets": self.resets,
        }
        return [f"{count} {what}" for what, count in counts.items() if count] + list(
            self.troubles
        )

    @property
    def row(self) -> list[object]:
        return [
            self.scenario,
            f"{self.seconds:.0f}",
            *(self.accepted, self.expected, self.missing, self.doubled, self.disordered),
            *(self.resets, self.reconnects),
            f"{self.p50 * 1000:.0f}",
            f"{self.p99 * 1000:.0f}",
            f"{self.recovery:.1f}" if self.recovery else "-",
            "FAILED" if self.failures else "ok",
        ]


def run(
    name: str,
    scenario: Scenario,
    database: Database,
    *,
    load: Load,
    seed: int,
    server: Server = "daphne",
) -> Outcome:
    """Two processes behind one another's back, as behind a load balancer: requests and streams
    go to either of them."""
    chance = random.Random(f"{seed} {name}")
    troubles: list[str] = []
    with ExitStack() as stack:
        directory = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="tests-chaos-"))
        )
        redis = stack.enter_context(RedisServer())
        services = Services(database, directory)
        stack.callback(_stop, services, troubles)
        processes = [
            services.start(redis=redis, server=server, **_SETTINGS) for _ in range(PROCESSES)
        ]
        clients = stack.enter_context(Clients())
        agents = [clients.agent(processes[0], username) for username in DEMO_AGENTS]
        talks = [
            _begin(clients, processes[0], agents[number % len(agents)])
            for number in range(CONVERSATIONS)
        ]
        traffic = Traffic(
            [conversation for conversation, _ in talks],
            [process.port for process in processes],
            rate=load.rate,
            chance=chance,
        )
        stack.enter_context(traffic)
        _add_readers(traffic, talks, load.streams)
        for process in processes:
            process.wait_for_mode("redis")
        world = World(redis, processes, traffic, chance)

        began = time.monotonic()
        traffic.begin()
        time.sleep(load.calm * chance.uniform(0.7, 1.3))
        try:
            scenario(world)
        except (ProcessFailed, TimeoutError) as trouble:
            troubles.append(str(trouble))
        time.sleep(load.calm)
        traffic.finish_sending()
        seconds = time.monotonic() - began
        truth = {talk.name: _stored(agent, talk.name) for talk, agent in talks}
        counts = {session: len(ids) for session, ids in truth.items()}
        if not traffic.wait_delivered(counts, seconds=DELIVERED_SECONDS):
            troubles.append(f"not everything was delivered within {DELIVERED_SECONDS:g} s")
        troubles += _compare(traffic, truth)
    return _judge(name, seconds, traffic, truth, world, tuple(troubles))


Talk = tuple[Conversation, Agent]
# By session, the messages' `(id, client_id)` in the thread's order.
Truth = dict[str, list[tuple[int, str]]]


def _begin(clients: Clients, service: Service, agent: Agent) -> Talk:
    customer = clients.customer(service)
    agent.take_over(customer.session)
    talk = Conversation(customer.session, customer.token, agent.token, customer.cursor)
    return talk, agent


def _add_readers(traffic: Traffic, talks: Sequence[Talk], streams: int) -> None:
    """Half are customers; the agents look at one session, watch one, or watch all of theirs."""
    for number in range(streams):
        talk, agent = talks[number // 2 % len(talks)]
        session = quote(talk.name, safe="")
        own = [other for other, whose in talks if whose is agent]
        if number % 2 == 0:
            traffic.read(f"/api/sessions/{session}/events", talk.visitor_token, [talk])
        elif number % 3 == 0:
            traffic.read(f"/workbench-api/sessions/{session}/events", agent.token, [talk])
        elif number % 3 == 1:
            watched = f"/workbench-api/agent/events?watch={session}"
            traffic.read(watched, agent.token, [talk])
        else:
            watched = "&".join(f"watch={quote(other.name, safe='')}" for other in own)
            traffic.read(f"/workbench-api/agent/events?{watched}", agent.token, own)


def _stored(agent: Agent, session: str) -> list[tuple[int, str]]:
    """All messages of a session that somebody sent, as the HTTP API pages them."""
    pages = []
    before = None
    while True:
        page = agent.messages(session, limit=PAGE, before=before)
        pages.append(page["items"])
        before = page["next"]
        if before is None:
            break
    messages = [message for page in reversed(pages) for message in page]
    return [(each["id"], each["client_id"]) for each in messages if each["client_id"]]


def _compare(traffic: Traffic, truth: Truth) -> list[str]:
    """What was accepted against what is stored."""
    troubles = []
    for session, messages in truth.items():
        stored = Counter(client_id for _, client_id in messages)
        if lost := traffic.accepted[session] - stored.keys():
            troubles.append(f"{session}: accepted and not stored: {sorted(lost)[:5]}")
        if twice := [client_id for client_id, count in stored.items() if count > 1]:
            troubles.append(f"{session}: stored twice: {twice[:5]}")
        if extra := stored.keys() - traffic.accepted[session]:
            troubles.append(f"{session}: stored and never accepted: {sorted(extra)[:5]}")
    return troubles


def _judge(
    name: str,
    seconds: float,
    traffic: Traffic,
    truth: Truth,
    world: World,
    troubles: tuple[str, ...],
) -> Outcome:
    missing = doubled = disordered = unaccounted = 0
    for reader in traffic.readers:
        for session in reader.sessions:
            wanted = {message_id: place for place, (message_id, _) in enumerate(truth[session])}
            got = [wanted[d.message_id] for d in reader.deliveries if d.message_id in wanted]
            once = list(dict.fromkeys(got))
            missing += len(wanted) - len(once)
            doubled += len(got) - len(once)
            disordered += sum(after < before for before, after in pairwise(once))
        doubled += len(reader.ids) - len(set(reader.ids))
        unaccounted += reader.unaccounted() != 0
    if unaccounted:
        troubles += (f"{unaccounted} cursors moved by other than what arrived",)
    late = [d.seconds for reader in traffic.readers for d in reader.deliveries] or [0.0, 0.0]
    percent = statistics.quantiles(late, n=100, method="inclusive")
    tally = traffic.tally
    return Outcome(
        scenario=name,
        seconds=seconds,
        accepted=sum(map(len, traffic.accepted.values())),
        expected=sum(len(truth[s]) for reader in traffic.readers for s in reader.sessions),
        missing=missing,
        doubled=doubled,
        disordered=disordered,
        resets=len(tally.resets),
        reconnects=tally.opened - len(traffic.readers),
        p50=percent[49],
        p99=percent[98],
        recovery=max(world.recoveries, default=0.0),
        troubles=troubles,
    )


def _stop(services: Services, troubles: list[str]) -> None:
    try:
        services.stop()
    except (ProcessFailed, TroubleInLog) as trouble:
        troubles.append(str(trouble))
