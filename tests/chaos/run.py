"""One scenario from its start to its verdict."""

import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

import httpx

from tests.chaos.traffic import Conversation, Traffic
from tests.chaos.world import Stage, World, open_world
from tests.harness.client import Agent, ApiError, Clients, Json
from tests.harness.databases import DEMO_AGENTS, CommandFailed, Database
from tests.harness.processes import ProcessFailed
from tests.harness.services import Server, Service
from tests.harness.waiting import wait_until

CONVERSATIONS = 8
# Readers come back after at most ten seconds (`goodbye`), and then read what they missed.
DELIVERED_SECONDS = 40.0
PAGE = 200

Act = Callable[[World], None]


@dataclass(frozen=True)
class Load:
    """`calm`: seconds of undisturbed traffic before and after."""

    streams: int = 100
    rate: float = 20.0
    calm: float = 3.0


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
    refused: int  # honest 503s, to messages and streams
    failed: int  # any other 5xx
    unanswered: int
    asked: int
    answered: int
    p50: float
    p99: float
    recovery: float  # the longest, or 0
    stage: Stage
    troubles: tuple[str, ...]
    notes: tuple[str, ...]

    HEAD = (
        *("scenario", "seconds", "accepted", "expected", "missing", "doubled", "disordered"),
        *("resets", "reopened", "503", "5xx", "silent", "answered", "p50 ms", "p99 ms"),
        *("recovery s", "verdict"),
    )

    @property
    def failures(self) -> list[str]:
        counts = {
            "missing": self.missing,
            "doubled": self.doubled,
            "out of order": self.disordered,
            "resets": 0 if self.stage.goes_back else self.resets,
            "answers of 503": 0 if self.stage.refuses else self.refused,
            "answers of another 5xx": self.failed,
            "messages without an answer": self.unanswered,
            "questions not answered": self.asked - self.answered,
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
            *(self.resets, self.reconnects, self.refused, self.failed, self.unanswered),
            f"{self.answered}/{self.asked}" if self.asked else "-",
            f"{self.p50 * 1000:.0f}",
            f"{self.p99 * 1000:.0f}",
            f"{self.recovery:.1f}" if self.recovery else "-",
            "FAILED" if self.failures else "ok",
        ]


def run(
    name: str,
    act: Act,
    database: Database,
    *,
    load: Load,
    seed: int,
    server: Server = "daphne",
    stage: Stage = Stage(),  # noqa: B008 - it is frozen
) -> Outcome:
    """Processes behind one another's back, as behind a load balancer: requests and streams go
    to any of them."""
    chance = random.Random(f"{seed} {name}")
    with ExitStack() as stack:
        directory = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="tests-chaos-"))
        )
        world = open_world(stack, stage, database, directory, server=server, chance=chance)
        first = world.services[0]
        clients = stack.enter_context(Clients())
        database.manage(
            "shell",
            "-c",
            "from agent_workbench.models import Agent\n"
            f"Agent.objects.update(max_sessions={CONVERSATIONS})",
        )
        agents = [clients.agent(first, username) for username in DEMO_AGENTS]
        talks = [
            _begin(clients, first, agents[number % len(agents)])
            for number in range(CONVERSATIONS)
        ]
        world.traffic = traffic = Traffic(
            [conversation for conversation, _ in talks],
            world.ports,
            rate=load.rate,
            chance=chance,
            tls=world.certificate and world.certificate.trusting,
        )
        stack.enter_context(traffic)
        _add_readers(traffic, talks, load.streams)
        for process in world.services:
            wait_until(
                lambda process=process: world.is_well(process),
                what=f"{process.name} to be well",
            )

        began = time.monotonic()
        try:
            traffic.begin()
            time.sleep(load.calm * chance.uniform(0.7, 1.3))
            act(world)
        except (CommandFailed, ProcessFailed, TimeoutError) as trouble:
            world.troubles.append(str(trouble) or type(trouble).__name__)
        time.sleep(load.calm)
        try:
            traffic.finish_sending()
        except TimeoutError:
            world.troubles.append("some messages are never accepted")
        seconds = time.monotonic() - began
        truth = {talk.name: _stored(agent, talk.name) for talk, agent in talks}
        if not traffic.wait_known(truth, seconds=DELIVERED_SECONDS):
            world.troubles.append(
                f"not everything was delivered within {DELIVERED_SECONDS:g} s"
            )
        world.troubles += _compare(world, truth)
    return _judge(name, seconds, truth, world)


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
        page = wait_until(
            partial(_page, agent, session, before),
            timeout=DELIVERED_SECONDS,
            what="what is stored to be readable",
        )
        pages.append(page["items"])
        before = page["next"]
        if before is None:
            break
    messages = [message for page in reversed(pages) for message in page]
    return [(each["id"], each["client_id"]) for each in messages if each["client_id"]]


def _page(agent: Agent, session: str, before: str | None) -> Json | None:
    try:
        return agent.messages(session, limit=PAGE, before=before)
    except httpx.TransportError:
        return None
    except ApiError as error:
        if error.status < 500:
            raise
        return None


def _compare(world: World, truth: Truth) -> list[str]:
    """What was accepted against what is stored."""
    troubles = []
    traffic = world.traffic
    for session, messages in truth.items():
        stored = Counter(client_id for _, client_id in messages)
        lost = traffic.accepted[session] - stored.keys()
        if lost := {client_id for client_id in lost if not _went_back(world, client_id)}:
            troubles.append(f"{session}: accepted and not stored: {sorted(lost)[:5]}")
        if twice := [client_id for client_id, count in stored.items() if count > 1]:
            troubles.append(f"{session}: stored twice: {twice[:5]}")
        if extra := stored.keys() - traffic.accepted[session]:
            troubles.append(f"{session}: stored and never accepted: {sorted(extra)[:5]}")
    return troubles


def _went_back(world: World, client_id: str) -> bool:
    """Whether the database that has been put back may be too old to know the message."""
    if world.went_back is None:
        return False
    taken, back = world.went_back
    sent = world.traffic.sent[client_id]
    return sent.accepted > taken and sent.began < back


def _judge(name: str, seconds: float, truth: Truth, world: World) -> Outcome:
    missing = doubled = disordered = unaccounted = misled = 0
    traffic, troubles = world.traffic, world.troubles
    for reader in traffic.readers:
        for session in reader.sessions:
            wanted = {message: place for place, message in enumerate(truth[session])}
            keys = [(d.message_id, d.client_id) for d in reader.deliveries]
            got = [wanted[key] for key in keys if key in wanted]
            once = list(dict.fromkeys(got))
            missing += len(wanted.keys() - reader.seen)
            doubled += len(got) - len(once)
            disordered += sum(after < before for before, after in pairwise(once))
        doubled += len(reader.ids) - len(set(reader.ids))
        unaccounted += reader.unaccounted() != 0
        known = {message for session in reader.sessions for message in truth[session]}
        misled += bool(reader.seen - reader.reread - known) and not reader.resets
    if unaccounted:
        troubles.append(f"{unaccounted} cursors moved by other than what arrived")
    if misled:
        troubles.append(f"{misled} readers were not told that what they had read is gone")
    late = [d.seconds for reader in traffic.readers for d in reader.deliveries] or [0.0, 0.0]
    percent = statistics.quantiles(late, n=100, method="inclusive")
    tally = traffic.tally
    statuses = tally.refused + tally.unsent
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
        refused=statuses[503],
        failed=statuses.total() - statuses[503],
        unanswered=tally.unanswered,
        asked=len(traffic.questions),
        answered=sum(question.done for question in traffic.questions),
        p50=percent[49],
        p99=percent[98],
        recovery=max(world.recoveries, default=0.0),
        stage=world.stage,
        troubles=tuple(troubles),
        notes=tuple(world.notes),
    )
