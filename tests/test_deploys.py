"""Streams that end on purpose: deploys, old age, lost rights; and who is held to be there."""

import os
import random
import re
import signal
import time
from collections import Counter
from dataclasses import dataclass

import httpx
import pytest

from sse.streams.stream import GOODBYE_RETRY_MS
from tests.chaos.traffic import Conversation, Traffic
from tests.harness import expect
from tests.harness.client import Agent, Clients, Customer
from tests.harness.databases import Database
from tests.harness.redis import RedisServer
from tests.harness.services import Server, Service, Services
from tests.harness.streams import EventStream, StreamRefused
from tests.harness.tls import NO_TLS
from tests.harness.waiting import wait_until

SERVERS: list[Server] = ["daphne", "uvicorn"]
STREAMS = 300
# 15 % of the streams, and what chance adds to that with so few.
BUSIEST_SECOND = 0.15 + 0.06
EXIT_SECONDS = 15.0
# "Within a second", and what this machine may be late.
REVOKED_SECONDS = 1.0 + 1.0
GHOST_SECONDS = 30.0
SKIPPED_SECONDS = 19.0
UNLIMITED = {"SSE_MAX_STREAMS_PER_ADDRESS": "0", "SSE_MAX_STREAMS_PER_TARGET": "0"}


@pytest.mark.database_independent
def test_deploy_sends_every_client_away_and_loses_nothing(
    services: Services, clients: Clients
) -> None:
    """Both servers stop at once, so that no client comes back to one that stops later."""
    serving = [services.start(server=server, **UNLIMITED) for server in SERVERS]
    agent, customer = clients.agent(serving[0]), clients.customer(serving[0])
    agent.take_over(customer.session)
    talk = Conversation(customer.session, customer.token, agent.token, customer.cursor)
    path = f"/api{customer.path('/events')}"
    ports = [service.port for service in serving]
    with Traffic([talk], ports, rate=10, chance=random.Random(1)) as traffic:
        for _ in range(STREAMS):
            traffic.read(path, customer.token, [talk])
        traffic.begin()
        began = time.monotonic()
        for service in serving:
            os.kill(service.pid, signal.SIGTERM)
        for service in serving:
            service.terminate(timeout=EXIT_SECONDS)
        stopped = time.monotonic() - began
        for service in serving:
            service.launch()
        for service in serving:
            service.wait_ready()
        traffic.finish_sending()
        stored = len(traffic.accepted[customer.session])
        everything = traffic.wait_delivered({customer.session: stored}, seconds=20)

    goodbyes = traffic.tally.goodbyes
    assert stopped < EXIT_SECONDS
    assert len(goodbyes) == STREAMS
    assert min(goodbyes) >= 0.5
    assert max(goodbyes) <= 10.5
    per_second = Counter(int(seconds) for seconds in goodbyes)
    assert max(per_second.values()) <= BUSIEST_SECOND * STREAMS
    assert everything
    assert stored > 0
    assert traffic.tally.resets == []
    for reader in traffic.readers:
        assert len(reader.ids) == len(set(reader.ids))
        assert reader.unaccounted() == 0


def test_no_second_after_a_deploy_carries_too_many_of_a_thousand_clients() -> None:
    chance = random.Random(1)
    for _ in range(20):
        back = [chance.randint(*GOODBYE_RETRY_MS) for _ in range(1000)]
        for start in range(0, max(back), 100):
            assert sum(start <= retry < start + 1000 for retry in back) <= 150


@pytest.mark.database_independent
def test_process_that_stops_while_streams_open_answers_them(
    services: Services, clients: Clients
) -> None:
    service = services.start(**UNLIMITED)
    customer = clients.customer(service)
    talk = Conversation(customer.session, customer.token, "", customer.cursor)
    path = f"/api{customer.path('/events')}"
    with Traffic([talk], [service.port], chance=random.Random(1)) as traffic:
        for _ in range(100):
            traffic.read(path, customer.token, [talk])
        traffic.open_without_waiting()
        wait_until(lambda: traffic.tally.opened > 10, what="the first streams")
        service.terminate(timeout=EXIT_SECONDS)
        opened = traffic.tally.opened

    assert len(traffic.tally.goodbyes) == opened


@pytest.mark.database_independent
def test_old_stream_says_goodbye_and_resumes_without_loss(
    services: Services, clients: Clients
) -> None:
    service = services.start(SSE_MAX_STREAM_SECONDS="1")
    agent, customer = clients.agent(service), clients.customer(service)
    agent.take_over(customer.session)
    stream = customer.stream()
    stream.wait_for("connected")

    for age in range(2):
        seen = len(stream.received)
        for number in range(3):
            agent.send(customer.session, f"age {age}, line {number}")
        goodbye = stream.wait_for("goodbye", timeout=5, after=seen)
        assert goodbye.retry == goodbye.payload["retry_ms"] <= 1000
        assert stream.wait_ended() == ""
        agent.send(customer.session, f"age {age}, meanwhile")
        stream.reconnect()
    stream.wait_for(expect.message("age 1, meanwhile"))

    lines = [*(f"line {number}" for number in range(3)), "meanwhile"]
    assert expect.contents(stream) == [
        f"age {age}, {line}" for age in range(2) for line in lines
    ]
    expect.assert_each_once(stream)


# --- revocation -------------------------------------------------------------------------


@dataclass
class Desk:
    """Two processes that serve both products, and a customer of one."""

    here: Service
    there: Service
    clients: Clients
    customer: Customer

    def streams(self, agent: Agent, path: str, **params: str) -> list[EventStream]:
        """The same stream in each of the processes, connected."""
        opened = []
        for service in (self.here, self.there):
            stream = EventStream(
                f"{service.workbench_url}{path}", params={"token": agent.token, **params}
            )
            agent.streams.append(stream)
            stream.wait_for("connected")
            opened.append(stream)
        return opened

    @property
    def database(self) -> Database:
        return self.here.database

    def both(self, agent: Agent) -> list[EventStream]:
        """The agent's own stream and one that watches the session, in each process."""
        return [
            *self.streams(agent, "/agent/events"),
            *self.streams(agent, "/agent/events", watch=self.customer.session),
        ]


@pytest.fixture(scope="module")
def processes(
    module_services: Services, module_redis_server: RedisServer
) -> tuple[Service, Service]:
    often = {"agent_workbench.presence.LOOKS_PER_ABSENCE": 120}
    here, there = (
        module_services.start(redis=module_redis_server, constants=often) for _ in range(2)
    )
    for service in (here, there):
        service.wait_for_mode("redis")
    return here, there


@pytest.fixture
def desk(processes: tuple[Service, Service], clients: Clients) -> Desk:
    here, there = processes
    return Desk(here, there, clients, clients.customer(here))


def assert_ended(streams: list[EventStream]) -> None:
    """Soon, and properly."""
    deadline = time.monotonic() + REVOKED_SECONDS
    for stream in streams:
        assert stream.wait_ended(timeout=max(0.1, deadline - time.monotonic())) == ""


def refused(agent: Agent, path: str) -> int:
    with pytest.raises(StreamRefused) as refusal:
        agent.open_stream(path)
    return refusal.value.status


def test_logout_ends_the_agents_streams_everywhere(desk: Desk) -> None:
    alice = desk.clients.agent(desk.here, "alice")
    bob = desk.clients.agent(desk.there, "bob")
    others = desk.both(bob)
    streams = desk.both(alice)

    alice.logout()
    desk.customer.escalate()

    assert_ended(streams)
    for stream in streams:
        assert "queue_update" not in stream.types()
    assert refused(alice, "/agent/events") == 401
    for stream in others:
        stream.wait_for(expect.queued(desk.customer.session))
        assert stream.ended is None


def test_deactivated_agent_loses_its_streams_everywhere(
    desk: Desk, module_redis_server: RedisServer
) -> None:
    desk.database.create_agent("dave", "a long passphrase")
    dave = desk.clients.agent(desk.here, "dave", "a long passphrase")
    streams = desk.both(dave)

    ask(
        desk.database,
        "from django.contrib.auth.models import User\n"
        "user = User.objects.get(username='dave')\n"
        "user.is_active = False\n"
        "user.save()",
        USE_REDIS_SSE="true",
        REDIS_URL=module_redis_server.url,
    )

    assert_ended(streams)
    assert refused(dave, "/agent/events") == 401


def test_take_over_shuts_out_those_who_looked_on(desk: Desk) -> None:
    alice = desk.clients.agent(desk.here, "alice")
    bob = desk.clients.agent(desk.there, "bob")
    session = desk.customer.session
    own = desk.both(alice)
    bobs_own = desk.streams(bob, "/agent/events")
    looking_on = [
        *desk.streams(bob, "/agent/events", watch=session),
        *desk.streams(bob, f"/sessions/{session}/events"),
    ]

    alice.take_over(session)
    for number in range(3):
        alice.send(session, f"between us {number}")

    assert_ended(looking_on)
    for stream in own[2:]:
        stream.wait_for(expect.message("between us 2"))
    for stream in looking_on:
        assert "between us 0" not in expect.contents(stream)
    assert [stream.ended for stream in bobs_own] == [None, None]
    assert refused(bob, f"/sessions/{session}/events") == 403


def test_streams_opened_while_their_agent_logs_out_end_too(desk: Desk) -> None:
    """Allowed a moment before, and counted in a moment after."""
    for _ in range(3):
        alice = desk.clients.agent(desk.here)
        talk = Conversation("", "", alice.token, "")
        ports = [desk.here.port, desk.there.port]
        with Traffic([talk], ports, chance=random.Random(1)) as traffic:
            for _ in range(30):
                traffic.read("/workbench-api/agent/events", alice.token, [talk])
            traffic.open_without_waiting()
            wait_until(lambda: traffic.tally.opened, what="the first stream")
            alice.logout()
            wait_until(
                lambda: traffic.open_now() == 0,
                timeout=REVOKED_SECONDS,
                what="every stream to be ended or refused",
            )


def test_administrator_kicks_a_stream_of_another_process(desk: Desk) -> None:
    desk.database.create_agent("root", "a long passphrase", "--role", "admin")
    kept, kicked = customer_streams(desk)
    listed = "/admin/sse/openstream/"
    with httpx.Client(base_url=desk.here.base_url, trust_env=False, verify=NO_TLS) as browser:
        form = {"username": "root", "password": "a long passphrase"}
        submit(browser, "/admin/login/", form)
        row = wait_until(
            lambda: stream_row(browser.get(listed).text, desk),
            timeout=15,
            what="the other process's stream in the admin's list",
            interval=0.5,
        )
        submit(browser, listed, {"action": "kick", "_selected_action": row})

    assert_ended([kicked])
    desk.customer.escalate()
    kept.wait_for("status_change")
    # A kick takes no right away.
    kicked.reconnect()
    kicked.wait_for("status_change")


def customer_streams(desk: Desk) -> list[EventStream]:
    """The customer's stream in each process."""
    opened = []
    for service in (desk.here, desk.there):
        stream = EventStream(
            f"{service.api_url}{desk.customer.path('/events')}",
            params={"token": desk.customer.token},
        )
        desk.customer.streams.append(stream)
        stream.wait_for("connected")
        opened.append(stream)
    return opened


def submit(browser: httpx.Client, path: str, fields: dict[str, str]) -> None:
    browser.get(path)
    token = browser.cookies["support_csrf"]
    answer = browser.post(path, data={**fields, "csrfmiddlewaretoken": token})
    assert answer.status_code == 302, answer.text


def stream_row(page: str, desk: Desk) -> str:
    """The key of the customer's stream in the other process, "" if it is not listed yet."""
    for row in re.findall(r"<tr>.*?</tr>", page, re.DOTALL):
        key = re.search(r'name="_selected_action" value="(\d+)"', row)
        if key and f":{desk.there.pid}:" in row and desk.customer.session in row:
            return key[1]
    return ""


# --- presence ---------------------------------------------------------------------------


def test_agent_without_a_stream_for_a_minute_is_offline(desk: Desk) -> None:
    alice = desk.clients.agent(desk.here, "alice")
    bob = desk.clients.agent(desk.there, "bob")
    watching = bob.stream()
    watching.wait_for("connected")
    stream = alice.stream()
    stream.wait_for("connected")
    stream.close()
    wait_until(lambda: present(desk) == 1, what="the end of the stream to be noted")

    ask(
        desk.database,
        "from datetime import timedelta; from django.db.models import F\n"
        "from agent_workbench.models import Agent\n"
        "from sse.models import Lease\n"
        "Agent.objects.update(seen_at=F('seen_at') - timedelta(seconds=61))\n"
        "Lease.objects.update(since=F('since') - timedelta(seconds=120))",
    )

    gone = watching.wait_for(
        lambda event: (
            event.type == "presence"
            and event.payload["agent"]["name"] == "Alice"
            # Agents of the tests before may go, too.
            and event.payload["status"] == "offline"
        ),
        timeout=20,
    )
    assert gone
    assert alice.profile()["status"] == "offline"
    assert bob.profile()["status"] == "online"


def test_ghosts_of_a_killed_process_are_laid(desk: Desk) -> None:
    alice = desk.clients.agent(desk.here)
    desk.streams(alice, "/agent/events")
    assert present(desk) == 2

    died = time.monotonic()
    desk.there.kill()
    try:
        assert present(desk) == 2
        # As if so much time had gone by.
        ask(
            desk.database,
            "from datetime import timedelta; from django.db.models import F\n"
            "from sse.models import Process\n"
            f"Process.objects.filter(name__contains=':{desk.there.pid}:')"
            f".update(seen_at=F('seen_at') - timedelta(seconds={SKIPPED_SECONDS}))",
        )
        wait_until(
            lambda: present(desk) == 1,
            timeout=GHOST_SECONDS - SKIPPED_SECONDS - (time.monotonic() - died),
            what="the dead process's stream to be forgotten",
            interval=0.5,
        )
        assert alice.profile()["status"] == "online"
    finally:
        desk.there.start()


def present(desk: Desk) -> int:
    """How many agents' streams of living processes there are, as every process sees it."""
    code = (
        "from sse.process import registry\n"
        "print(registry.open_streams().filter(subject__startswith='agent:').count())"
    )
    return int(ask(desk.database, code))


def ask(database: Database, code: str, **env: str) -> str:
    return database.manage("shell", "--no-imports", "--command", code, **env)
