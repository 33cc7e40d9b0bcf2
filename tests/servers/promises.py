"""Each promise is tried on a server of its own make over a database of its own, in bounded
time; what is found is a Verdict, whether or not it held."""

import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.bench.peers import UNLIMITED
from tests.chaos.traffic import Conversation, Traffic
from tests.chaos.worker import Worker
from tests.harness.client import Clients, Customer
from tests.harness.databases import Database
from tests.harness.processes import ProcessFailed
from tests.harness.raw_streams import STALLED_AFTER, RawStream
from tests.harness.redis import RedisServer
from tests.harness.services import Server, Service, Services
from tests.harness.streams import EventStream
from tests.harness.waiting import wait_until

TALKS = 4
STREAMS = 24
RATE = 20.0
FLOWING_SECONDS = 3.0
DELIVERED_SECONDS = 30.0
EXIT_SECONDS = 15.0

PADDING = 60_000
EVENTS_PER_SECOND = 80.0
# Several times what the kernel takes into its buffers for one connection over loopback.
FLOOD = 200
STALLED = 3
COST_BYTES = 5 * 1024 * 1024
CUT_SECONDS = 20.0
# Heartbeats come every second.
GONE_SECONDS = 8.0
# Of a stream that is read, while others are not.
LATE_SECONDS = 1.0


@dataclass(frozen=True)
class Verdict:
    promise: str
    held: bool
    found: str


Trial = Callable[[Database, RedisServer, Path], Iterator[Verdict]]


def flow_and_stop(
    server: Server, database: Database, redis: RedisServer, directory: Path
) -> Iterator[Verdict]:
    """Messages flow; in their midst the server is told to stop, and started again."""
    with Services(database, directory) as services, Clients() as clients:
        service = services.start(redis=redis, server=server, **UNLIMITED)
        agent = clients.agent(service)
        talks = []
        for _ in range(TALKS):
            customer = clients.customer(service)
            agent.take_over(customer.session)
            talks.append(
                Conversation(customer.session, customer.token, agent.token, customer.cursor)
            )
        with Traffic(talks, [service.port], rate=RATE, chance=random.Random(1)) as traffic:
            for number in range(STREAMS):
                talk = talks[number % TALKS]
                path = f"/api/sessions/{talk.name}/events"
                traffic.read(path, talk.visitor_token, [talk])
            traffic.begin()
            time.sleep(FLOWING_SECONDS)
            yield _flowing(traffic)

            opened = traffic.open_now()
            yield _ending(service)
            goodbyes = len(traffic.tally.goodbyes)
            yield Verdict("goodbye", goodbyes == opened, f"{goodbyes} of {opened} streams")

            service.start()
            traffic.finish_sending()
            stored = {name: len(accepted) for name, accepted in traffic.accepted.items()}
            arrived = traffic.wait_delivered(stored, seconds=DELIVERED_SECONDS)
            yield _complete(traffic, arrived)
        # What it says of connections that it cut is its own affair.
        service.trouble_expected = True


def _flowing(traffic: Traffic) -> Verdict:
    seconds = [each.seconds for reader in traffic.readers for each in reader.deliveries]
    if len(seconds) < STREAMS:
        return Verdict("delivery", False, f"{len(seconds)} deliveries")
    late = statistics.quantiles(seconds, n=100)[98]
    return Verdict(
        "delivery",
        traffic.tally.opened == STREAMS and late < LATE_SECONDS,
        f"{len(seconds)}, p99 {late * 1000:.0f} ms",
    )


def _ending(service: Service) -> Verdict:
    workers = psutil.Process(service.pid).children(recursive=True)
    began = time.monotonic()
    try:
        service.terminate(timeout=EXIT_SECONDS)
    except ProcessFailed:
        return Verdict("stop", False, f"not within {EXIT_SECONDS:g} s of SIGTERM")
    finally:
        seconds = time.monotonic() - began
        alive = [worker for worker in workers if _outlives(worker)]
    if alive:
        return Verdict("stop", False, f"{len(alive)} of its workers went on")
    return Verdict("stop", True, f"after {seconds:.1f} s")


def _outlives(worker: psutil.Process) -> bool:
    """It is killed then. What nobody has waited for has ended all the same."""
    try:
        wait_until(
            lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE,
            timeout=2,
            what="a worker to end",
        )
    except psutil.NoSuchProcess:
        return False
    except TimeoutError:
        worker.kill()
        return True
    return False


def _complete(traffic: Traffic, arrived: bool) -> Verdict:
    """All that was accepted came to every stream of its session, once and in order."""
    doubled = disordered = missing = 0
    for reader in traffic.readers:
        got = [each.message_id for each in reader.deliveries]
        wanted = sum(len(traffic.accepted[name]) for name in reader.sessions)
        doubled += len(reader.ids) - len(set(reader.ids))
        disordered += got != sorted(got)
        missing += max(wanted - len(set(got)), reader.unaccounted(), 0)
    held = arrived and not (doubled or disordered or missing or traffic.tally.resets)
    total = sum(map(len, traffic.accepted.values()))
    found = f"{total} messages: {missing} missing, {doubled} twice, {disordered} out of order"
    return Verdict("no loss", held, found)


def some_do_not_read(
    server: Server, database: Database, redis: RedisServer, directory: Path
) -> Iterator[Verdict]:
    """Much is sent to streams of which some are not read."""
    with (
        Services(database, directory) as services,
        Clients() as clients,
        Worker(database, redis.url, log=directory / "worker.log") as worker,
    ):
        service = services.start(redis=redis, server=server, constants={STALLED_AFTER: 3})
        service.trouble_expected = True
        service.wait_for_mode("redis")
        customer = clients.customer(service)
        flood = {"target": customer.session, "count": FLOOD, "padding": PADDING}
        read = customer.stream()
        read.wait_for("connected")
        worker.do("enqueue", first=0, **flood)
        read.wait_for_count("numbered", FLOOD)
        before = private_memory(service)
        with stalled(service, customer) as live, stalled(service, customer, customer.cursor):
            worker.do("enqueue", first=FLOOD, rate=EVENTS_PER_SECOND, **flood)
            cost, cut = _watch(service, before)
            ended = [stream.read_rest() for stream in live] if cut == 2 * STALLED else []
        yield Verdict("slow: cut", cut == 2 * STALLED, f"{cut} of {2 * STALLED}")
        limit = 2 * STALLED * COST_BYTES
        yield Verdict("slow: memory", cost < limit, f"{cost / 2**20:.0f} MB")

        read.wait_for_count("numbered", 2 * FLOOD)
        late = max(
            each.received_at - each.timestamp for each in read.events("numbered")[FLOOD:]
        )
        yield Verdict("slow: others", late < LATE_SECONDS, f"{late * 1000:.0f} ms at most")
        yield _back(customer, live, ended)


def one_is_gone(
    server: Server, database: Database, redis: RedisServer, directory: Path
) -> Iterator[Verdict]:
    """The network of a client is lost without a word."""
    with Services(database, directory) as services, Clients() as clients:
        service = services.start(server=server, SSE_HEARTBEAT_SECONDS="1")
        customer = clients.customer(service)
        with RawStream(service, customer) as stream:
            stream.go_deaf()
            began = time.monotonic()
            try:
                wait_until(
                    lambda: service.metric("sse_open_streams") == 0,
                    timeout=GONE_SECONDS,
                    what="the stream to be given up",
                )
            except TimeoutError:
                yield Verdict("gone", False, f"not noticed within {GONE_SECONDS:g} s")
            else:
                yield Verdict("gone", True, f"after {time.monotonic() - began:.1f} s")


@contextmanager
def stalled(service: Service, customer: Customer, after: str = "") -> Iterator[list[RawStream]]:
    """Open streams that are then not read."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(RawStream(service, customer, after=after))
            for _ in range(STALLED)
        ]


def private_memory(service: Service) -> int:
    """With its workers'."""
    process = psutil.Process(service.pid)
    return sum(
        each.memory_full_info().uss for each in (process, *process.children(recursive=True))
    )


def _watch(service: Service, before: int) -> tuple[int, int]:
    """The most memory it needed until it had cut all that do not read, and how many it cut."""
    cost = cut = 0

    def all_cut() -> bool:
        nonlocal cost, cut
        cost = max(cost, private_memory(service) - before)
        cut = int(service.metric("sse_slow_cut_total"))
        return cut >= 2 * STALLED

    try:
        wait_until(all_cut, timeout=CUT_SECONDS, what="streams to be cut", interval=0.1)
    except TimeoutError:
        return cost, cut
    return cost, cut


def _back(customer: Customer, live: list[RawStream], ended: list[tuple[str, int]]) -> Verdict:
    """They come back with the last id that reached them."""
    ended = ended or [(str(stream.connected.id), 0) for stream in live]
    lost = 0
    for last_id, count in ended:
        back = customer.stream(after=last_id)
        back.wait_for(lambda event: event.payload.get("n") == 2 * FLOOD - 1)
        lost += numbers(back) != list(range(FLOOD + count, 2 * FLOOD))
        back.close()
    return Verdict("slow: no loss", not lost, f"{len(ended) - lost} of {len(ended)} complete")


def numbers(stream: EventStream) -> list[int]:
    return [event.payload["n"] for event in stream.events("numbered")]
