"""Clients that stop reading, fall silent, or open more streams than they may."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from tests.chaos.worker import Worker
from tests.harness.client import Clients, Customer
from tests.harness.databases import Database
from tests.harness.raw_streams import STALLED_AFTER, RawStream
from tests.harness.redis import RedisServer
from tests.harness.services import Server, Service, Services
from tests.harness.streams import EventStream, StreamRefused
from tests.harness.tls import Certificate
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.database_independent

SERVERS: list[Server] = ["daphne", "uvicorn"]

PADDING = 60_000
EVENTS_PER_SECOND = 80.0
# Several times what the kernel takes into its buffers for one connection over loopback.
FLOOD = 200
STALLED = 3
COST_BYTES = 5 * 1024 * 1024
# After three seconds in which a client took nothing; the flood itself takes as many.
CUT_SECONDS = 20.0

HEARTBEAT_SECONDS = 1


def private_memory(service: Service) -> int:
    used: int = psutil.Process(service.pid).memory_full_info().uss
    return used


def numbers(stream: EventStream) -> list[int]:
    return [event.payload["n"] for event in stream.events("numbered")]


def test_clients_that_stop_reading_are_cut_and_cost_little(
    services: Services,
    clients: Clients,
    redis_server: RedisServer,
    demo_database: Database,
    tmp_path: Path,
) -> None:
    """On each server, with TLS and without, at once: nearly all of the time goes by in
    waiting."""
    serving = [
        services.start(redis=redis_server, server=server, tls=tls, constants={STALLED_AFTER: 3})
        for server in SERVERS
        for tls in (None, Certificate(tmp_path))
    ]
    for service in serving:
        service.wait_for_mode("redis")
    customer = clients.customer(serving[0])
    begun = [open_at(service, customer) for service in serving]
    with ExitStack() as stack:
        worker = stack.enter_context(
            Worker(demo_database, redis_server.url, log=tmp_path / "worker.log")
        )
        flood = {"target": customer.session, "count": FLOOD, "padding": PADDING}
        worker.do("enqueue", first=0, **flood)
        for stream in begun:
            stream.wait_for_count("numbered", FLOOD)
        before = [private_memory(service) for service in serving]
        live = [stack.enter_context(stall(service, customer)) for service in serving]
        for service in serving:
            # In the middle of what they missed.
            stack.enter_context(stall(service, customer, after=customer.cursor))
        worker.do("enqueue", first=FLOOD, rate=EVENTS_PER_SECOND, **flood)
        costs = costs_until_cut(serving, before, 2 * STALLED)
        got = [streams[0].read_rest() for streams in live]

    for stream, service, (last_id, count) in zip(begun, serving, got, strict=True):
        stream.wait_for_count("numbered", 2 * FLOOD)
        assert numbers(stream) == list(range(2 * FLOOD))
        back = open_at(service, customer, after=last_id)
        back.wait_for(lambda event: event.payload.get("n") == 2 * FLOOD - 1)
        assert numbers(back) == list(range(FLOOD + count, 2 * FLOOD))
        assert not back.events("reset")
    assert max(costs) < 2 * STALLED * COST_BYTES


def open_at(service: Service, customer: Customer, *, after: str | None = None) -> EventStream:
    stream = EventStream(
        f"{service.api_url}{customer.path('/events')}",
        params={"token": customer.token},
        last_event_id=after,
        verify=service.verify,
    )
    customer.streams.append(stream)
    stream.wait_for("connected")
    return stream


@contextmanager
def stall(
    service: Service, customer: Customer, *, after: str = ""
) -> Iterator[list[RawStream]]:
    """Open streams that are then not read."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(RawStream(service, customer, after=after))
            for _ in range(STALLED)
        ]


def costs_until_cut(serving: list[Service], before: list[int], cut: int) -> list[int]:
    """The most memory that each needed until it had cut so many streams in all."""
    costs = [0] * len(serving)

    def all_cut() -> bool:
        for number, service in enumerate(serving):
            costs[number] = max(costs[number], private_memory(service) - before[number])
        return all(service.metric("sse_slow_cut_total") >= cut for service in serving)

    wait_until(all_cut, timeout=CUT_SECONDS, what="stalled clients to be cut", interval=0.1)
    return costs


def test_stream_of_a_client_whose_network_is_gone_ends(
    services: Services, clients: Clients, tmp_path: Path
) -> None:
    """On each server, with TLS and without."""
    serving = [
        services.start(server=server, tls=tls, SSE_HEARTBEAT_SECONDS=str(HEARTBEAT_SECONDS))
        for server in SERVERS
        for tls in (None, Certificate(tmp_path))
    ]
    customer = clients.customer(serving[0])
    alive = [open_at(service, customer) for service in serving]
    with ExitStack() as stack:
        gone = [stack.enter_context(RawStream(service, customer)) for service in serving]
        for service in serving:
            assert service.metric("sse_open_streams") == 2

        began = time.monotonic()
        for stream in gone:
            stream.go_deaf()
        for service in serving:
            wait_until(
                lambda service=service: service.metric("sse_open_streams") == 1,
                timeout=20,
                what="the dead connection to be given up",
            )
        taken = time.monotonic() - began

    # A heartbeat, the wait for its acknowledgement, and the kernel's next look.
    assert taken < 2 * HEARTBEAT_SECONDS + 2
    for stream in alive:
        stream.wait_for("heartbeat", after=len(stream.received))


def test_streams_from_one_address_are_limited(services: Services, clients: Clients) -> None:
    service = services.start(SSE_MAX_STREAMS_PER_ADDRESS="3", SSE_MAX_STREAMS_PER_TARGET="2")
    one, other = clients.customer(service), clients.customer(service)
    streams = [one.stream(), one.stream(), other.stream()]
    for stream in streams:
        stream.wait_for("connected")

    with pytest.raises(StreamRefused) as refused:
        other.stream()
    streams.pop().close()
    with pytest.raises(StreamRefused) as refused_for_target:
        one.stream()
    wait_until(lambda: service.metric("sse_open_streams") == 2, what="a free place")
    other.stream().wait_for("connected")

    for refusal, limit in ((refused, 3), (refused_for_target, 2)):
        response = refusal.value.response
        assert response.status_code == 429
        assert int(response.headers["retry-after"]) > 0
        assert response.json()["error"]["code"] == "TOO_MANY_STREAMS"
        assert response.json()["error"]["details"] == {"limit": limit}
    for stream in streams:
        assert stream.ended is None
