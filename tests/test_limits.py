"""Where requests are counted: exactly, in bounded memory, in Redis while it answers."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from pytest_django import Settings

from ai_chatbot import counters
from ai_chatbot.counters import Counter, ProcessCounter, RedisCounter
from sse.live.addresses import network
from tests.harness.redis import RedisServer
from tests.harness.waiting import wait_until
from tests.hubs import OpenedStream, serve, serving_hub
from tests.in_process import Api, error_of

Hit = Callable[[], float | None]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(counters, "time", clock)
    return clock


@pytest.mark.parametrize(
    ("address", "caller"),
    [
        ("192.0.2.7", "192.0.2.7"),
        (" 192.0.2.7 ", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", "unknown"),
        ("localhost", "unknown"),
        ("192.0.2.7:80", "unknown"),
        ("x" * 100, "unknown"),
    ],
)
def test_caller_is_an_address_or_a_network(address: str, caller: str) -> None:
    assert network(address) == caller


def test_limit_fades_out_and_does_not_begin_anew(clock: Clock) -> None:
    counter = ProcessCounter()

    def let_through(tries: int) -> int:
        return sum(not counter.hit("scope", "me", 10, 60) for _ in range(tries))

    assert let_through(15) == 10
    clock.now += 59
    assert let_through(15) == 0
    # The minute is over; what was in it counts for less and less.
    clock.now += 1
    assert let_through(15) == 0
    clock.now += 30
    assert let_through(15) == 5
    clock.now += 120
    assert let_through(15) == 10


def test_wait_is_until_one_more_is_let_through(clock: Clock) -> None:
    counter = ProcessCounter()
    for _ in range(10):
        counter.hit("scope", "me", 10, 60)
    clock.now += 20
    assert counter.hit("scope", "me", 10, 60) == pytest.approx(40)
    clock.now += 40
    wait = counter.hit("scope", "me", 10, 60)
    assert wait == pytest.approx(6)
    clock.now += wait + 0.001
    assert counter.hit("scope", "me", 10, 60) == 0


def test_live_counts_are_kept_and_newcomers_share_one_when_memory_is_full(
    clock: Clock,
) -> None:
    counter = ProcessCounter(most=100)
    for number in range(100):
        assert counter.hit("scope", f"known {number}", 1, 60) == 0
    assert counter.hit("scope", "new", 1, 60) == 0
    for number in range(1000):
        assert counter.hit("scope", f"newer {number}", 1, 60) > 0
    for number in range(100):
        assert counter.hit("scope", f"known {number}", 1, 60) > 0
    assert len(counter._windows) == 101
    # Those that are over make room.
    clock.now += 120
    for number in range(100):
        assert counter.hit("scope", f"newer {number}", 1, 60) == 0
    assert len(counter._windows) == 100


def at_once(hit: Hit, times: int) -> int:
    """How many of so many simultaneous hits are let through."""
    barrier = Barrier(times)

    def one(_: int) -> bool:
        barrier.wait(30)
        return hit() == 0

    with ThreadPoolExecutor(times) as threads:
        return sum(threads.map(one, range(times)))


def test_forty_at_once_are_counted_one_by_one() -> None:
    counter = ProcessCounter()
    assert at_once(lambda: counter.hit("scope", "me", 5, 60), 40) == 5


def redis_counter(server: RedisServer, prefix: str = "support") -> RedisCounter:
    """One that waits as long as this busy machine takes."""
    return RedisCounter(server.url, prefix, seconds=10)


def test_processes_count_together_in_redis(module_redis_server: RedisServer) -> None:
    here, there = (redis_counter(module_redis_server) for _ in range(2))
    assert at_once(lambda: here.hit("scope", "me", 5, 60), 40) == 5
    wait = there.hit("scope", "me", 5, 60)
    assert wait is not None
    assert 0 < wait <= 60
    assert there.hit("scope", "you", 5, 60) == 0
    assert redis_counter(module_redis_server, "other").hit("scope", "me", 5, 60) == 0
    with module_redis_server.client() as client:
        for key in client.scan_iter():
            assert key.startswith(("support:limit:", "other:limit:"))
            assert 0 < client.ttl(key) <= 120


@pytest.mark.parametrize("trouble", ["kill", "freeze"])
def test_without_redis_each_process_counts_alone_until_it_is_back(
    trouble: str, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counters, "PAUSE_SECONDS", 0.01)
    counter = Counter([redis_server.url], "support")
    (shard,) = counter._shards
    wait_until(
        lambda: counter.hit("other", "me", 10**6, 60) == 0 and not shard._pause,
        timeout=30,
        what="Redis",
    )
    getattr(redis_server, trouble)()
    assert [counter.hit("scope", "me", 5, 60) == 0 for _ in range(8)] == [True] * 5 + [
        False
    ] * 3
    assert shard._pause
    redis_server.thaw() if trouble == "freeze" else redis_server.start()
    wait_until(lambda: shard.hit("scope", "you", 10**6, 60) == 0, timeout=60, what="Redis")
    with redis_server.client() as client:
        assert any("you" in key for key in client.scan_iter())


def test_redis_that_does_not_answer_is_asked_by_one_request_only(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = RedisCounter(redis_server.url, "support")
    redis_server.freeze()
    assert counter.hit("scope", "me", 5, 60) is None
    asked = []
    monkeypatch.setattr(counter._limiter, "hit", lambda *_: asked.append(1) or True)
    assert {counter.hit("scope", "me", 5, 60) for _ in range(100)} == {None}
    assert not asked
    counter._ask_at = 0.0
    assert counter.hit("scope", "me", 5, 60) == 0
    assert asked == [1]


@pytest.mark.django_db
@pytest.mark.usefixtures("rate_limits")
def test_requests_go_on_being_limited_when_redis_dies(
    redis_server: RedisServer, settings: Settings
) -> None:
    settings.USE_REDIS_SSE = True
    settings.REDIS_URLS = [redis_server.url]
    api = Api("/workbench-api")

    def statuses(number: int) -> list[int]:
        return [
            api.post("/agent/refresh", {"refresh_token": "nonsense"}).status_code
            for _ in range(number)
        ]

    assert statuses(3) == [401] * 3
    redis_server.kill()
    assert statuses(60) == [401] * 60
    error_of(api.post("/agent/refresh", {"refresh_token": "nonsense"}), 429)


@pytest.mark.django_db(transaction=True)
def test_streams_are_counted_by_network(settings: Settings) -> None:
    settings.SSE_MAX_STREAMS_PER_ADDRESS = 1

    async def scene() -> None:
        async with (
            serving_hub() as hub,
            OpenedStream("a", address="2001:db8:0:1::1"),
            OpenedStream("b", address="2001:db8:0:2::1"),
            OpenedStream("c", address="::ffff:192.0.2.1"),
        ):
            for address in ("2001:db8:0:1:ffff::", "192.0.2.1"):
                refused = OpenedStream("d", address=address)
                await serve(refused._grant, refused._scope, refused._receive, refused._send)
                assert "TOO_MANY_STREAMS" in refused.text
        assert not hub.census._from_network

    asyncio.run(scene())
