"""Processes that are each well with a Redis of its own, and do not hear one another."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest

from sse.live import peers as peers_module
from sse.live.peers import Peers
from sse.process.registry import Peer
from tests.harness import expect
from tests.harness.client import Clients
from tests.harness.redis import RedisServer
from tests.harness.services import Service, Services

pytestmark = pytest.mark.database_independent

GROUPS = ("sse.0", "sse.1")
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
BEAT = 5.0

# What a process says and writes, and by when it is missed, in a tenth of the time.
QUICK = {
    "sse.live.upkeep.HEARTBEAT_SECONDS": 0.5,
    "sse.live.link.PROBE_EVERY_SECONDS": 0.1,
    "sse.live.upkeep.PEERS_SECONDS": 0.2,
    "sse.live.peers.APART_AFTER_SECONDS": 1.5,
    "sse.live.peers.GRACE_SECONDS": 0.5,
}


def outages(service: Service) -> int:
    return service.log_text().count("Redis is away")


def test_processes_on_two_redis_servers_say_so_and_go_on_by_the_log(
    services: Services, redis_server: RedisServer, clients: Clients
) -> None:
    with RedisServer() as another:
        chatbot = services.start("ai_chatbot", redis=redis_server, constants=QUICK)
        workbench = services.start("agent_workbench", redis=another, constants=QUICK)
        agent, customer = clients.agent(workbench), clients.customer(chatbot)
        agents, customers = agent.stream(watch=customer.session), customer.stream()
        for stream in (agents, customers):
            stream.wait_for("connected")

        for service in (chatbot, workbench):
            service.wait_for_mode("degraded")
            service.wait_for_log(r"Redis is away \(other processes are not heard through it\)")
            health = service.health()
            assert health["status"] == "degraded"
            assert health["sse"]["reason"] == "1 other processes are not heard through it"  # type: ignore[index]
        agent.take_over(customer.session)
        for number in range(5):
            agent.send(customer.session, f"line {number}")
            customer.send(f"answer {number}")
        for stream in (agents, customers):
            stream.wait_for(expect.message("line 4"))
            stream.wait_for(expect.message("answer 4"))
        assert expect.contents(agents) == expect.contents(customers)
        agents.close()
        workbench.terminate()

        moved = services.start("agent_workbench", redis=redis_server, constants=QUICK)
        for service in (chatbot, moved):
            service.wait_for_mode("redis")
        # Once for both; the other was well from its start.
        assert (outages(chatbot), outages(workbench), outages(moved)) == (1, 1, 0)


class Other:
    """Another process, second by second, as this one learns of it."""

    def __init__(self, peers: Peers) -> None:
        self.peers = peers
        self.now = 1000.0
        self.lives = self.is_heard = self.listens = True
        self.seen_at = BEGAN

    def go_on(self, seconds: int, *, we_listen: bool = True) -> list[bool]:
        """Whether it is held to be apart, after each second."""
        found = []
        for _ in range(seconds):
            self.now += 1
            if self.lives and self.now % BEAT == 0:
                self.seen_at = BEGAN + timedelta(seconds=self.now)
            if self.lives and self.is_heard:
                self.speak()
            self.look(we_listen)
            found.append(bool(self.peers.apart))
        return found

    def speak(self, groups: Iterable[str] = GROUPS) -> None:
        for group in groups:
            self.peers.hear("other", group, self.now - 0.1)

    def look(self, we_listen: bool = True) -> None:
        row = Peer("other", not self.listens, self.listens, self.seen_at)
        self.peers.look([row], self.now, listening=we_listen)


@pytest.fixture
def other() -> Other:
    known = Other(Peers(GROUPS))
    assert not any(known.go_on(20))
    return known


def test_a_living_process_that_is_not_heard_is_apart_until_it_is_heard(other: Other) -> None:
    other.is_heard = False
    found = other.go_on(14)
    assert found == sorted(found)
    assert found[-1]
    assert all(other.go_on(60))

    other.is_heard = True
    assert not any(other.go_on(60)[6:])


def test_a_process_that_is_heard_in_some_groups_only_is_apart(other: Other) -> None:
    other.is_heard = False
    for _ in range(14):
        other.go_on(1)
        other.speak(GROUPS[:1])
    assert other.peers.apart


def test_a_dead_process_degrades_nobody(other: Other) -> None:
    other.lives = False
    assert not any(other.go_on(60))


def test_a_process_that_dies_after_it_was_not_heard_is_forgotten(other: Other) -> None:
    other.is_heard = False
    assert other.go_on(20)[-1]
    other.lives = False
    assert not other.go_on(int(peers_module.FRESH_SECONDS) + 1)[-1]


@pytest.mark.parametrize("phase", range(int(BEAT)))
def test_a_process_that_stood_still_degrades_nobody(other: Other, phase: int) -> None:
    """Also if its first act is to write that it lives."""
    other.go_on(phase)
    other.lives = False
    assert not any(other.go_on(15))
    other.lives = True
    other.seen_at = BEGAN + timedelta(seconds=other.now)
    other.look()
    assert not other.peers.apart
    assert not any(other.go_on(30))


@pytest.mark.parametrize("phase", range(int(BEAT)))
def test_a_process_whose_own_redis_is_away_is_not_missed(other: Other, phase: int) -> None:
    other.go_on(phase)
    other.listens = other.is_heard = False
    assert not any(other.go_on(60))
    other.listens = other.is_heard = True
    assert not any(other.go_on(60))


@pytest.mark.parametrize("phase", range(int(BEAT)))
def test_who_does_not_hear_itself_learns_nothing_of_others(other: Other, phase: int) -> None:
    other.go_on(phase)
    other.is_heard = False
    assert not any(other.go_on(60, we_listen=False))
    other.is_heard = True
    assert not any(other.go_on(60))


def test_whoever_was_apart_stays_so_while_this_process_does_not_hear_itself(
    other: Other,
) -> None:
    other.is_heard = False
    assert other.go_on(20)[-1]
    assert all(other.go_on(20, we_listen=False))
    assert all(other.go_on(20))
