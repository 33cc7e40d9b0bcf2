"""Enqueueing: from any process, in a transaction, and whatever state Redis is in."""

import itertools
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest
import redis

from tests.chaos.proxy import SlowProxy
from tests.chaos.worker import Worker
from tests.harness import expect
from tests.harness.client import Clients
from tests.harness.environment import ROOT
from tests.harness.redis import RedisServer
from tests.harness.services import Service, Services
from tests.harness.streams import Event, EventStream
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.database_independent

ENQUEUED = 50
# For all of them. Waiting for Redis but twice would take longer: its client gives up on a
# connection after two seconds, and on an answer after five.
SECONDS = 2.0
# The bounds of the contract, and what this machine may be late.
RECOVERY_SECONDS = 2.0 + 3.0
QUIET_GAP_SECONDS = 10.0
RETURNING = 30


Hire = Callable[[Service, str], Worker]


@pytest.fixture
def hire(tmp_path: Path) -> Iterator[Hire]:
    """Makes workers over a service's database and a Redis."""
    with ExitStack() as stack:
        yield lambda service, redis_url: stack.enter_context(
            Worker(service.database, redis_url, log=tmp_path / "worker.log")
        )


@pytest.fixture(scope="module")
def undisturbed(module_services: Services, module_redis_server: RedisServer) -> Service:
    """A process over a Redis that stays well."""
    service = module_services.start(redis=module_redis_server)
    service.wait_for_mode("redis")
    return service


@contextmanager
def nowhere() -> Iterator[str]:
    """The URL of a Redis that does not even refuse: whoever connects waits."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, ExitStack() as stack:
        port = server.getsockname()[1]
        for _ in range(8):
            # Fills the backlog, after which the kernel ignores attempts to connect.
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield f"redis://127.0.0.1:{port}/0"


def numbered(number: int) -> expect.Expected:
    return lambda event: event.type == "numbered" and event.payload["n"] == number


def numbers(stream: EventStream) -> list[int]:
    return [event.payload["n"] for event in stream.events("numbered")]


def wait_for_numbers(stream: EventStream, count: int, *, timeout: float = 30) -> list[int]:
    stream.wait_for_count("numbered", count, timeout=timeout)
    return numbers(stream)


@pytest.mark.parametrize("state", ["absent", "refused", "frozen", "slow"])
def test_enqueueing_does_not_wait_for_redis(
    state: str, services: Services, clients: Clients, redis_server: RedisServer, hire: Hire
) -> None:
    reader = services.start(redis=redis_server)
    customer = clients.customer(reader)
    with ExitStack() as stack:
        url = redis_server.url
        if state == "absent":
            url = stack.enter_context(nowhere())
        elif state == "slow":
            url = stack.enter_context(SlowProxy(redis_server.port, delay=0.4)).redis_url
        worker = hire(reader, url)
        worker.do("enqueue", target=customer.session, first=0, count=1)
        if state == "refused":
            redis_server.kill()
        elif state == "frozen":
            redis_server.freeze()

        taken = [
            worker.do(how, target=customer.session, first=first, count=ENQUEUED)["seconds"]
            for how, first in (("enqueue", 1), ("enqueue_async", 1 + ENQUEUED))
        ]
        began = time.monotonic()
        worker.end()
        ended = time.monotonic() - began

    assert max(taken) < SECONDS
    # At its end a process gives the layer a last chance, a short one.
    assert ended < 10
    stream = customer.stream(after=customer.cursor)
    assert wait_for_numbers(stream, 1 + 2 * ENQUEUED) == list(range(1 + 2 * ENQUEUED))
    if state == "frozen":
        redis_server.thaw()


def test_requests_and_streams_do_not_wait_for_a_slow_redis(
    services: Services, clients: Clients, redis_server: RedisServer
) -> None:
    with SlowProxy(redis_server.port, delay=0.1) as slow:
        pair = chatbot, workbench = services.pair(slow.redis_url)
        for service in pair:
            service.wait_for_mode("redis")
        # On a busy machine the way in may have taken two attempts.
        before = [outages(service) for service in pair]
        agent, customer = clients.agent(workbench), clients.customer(chatbot)
        agent.take_over(customer.session)
        stream = customer.stream()
        stream.wait_for("connected")

        began = time.monotonic()
        for number in range(30):
            agent.send(customer.session, f"line {number}")
        sent = time.monotonic() - began
        stream.wait_for(expect.message("line 29"))
        assert [outages(service) for service in pair] == before

    assert expect.contents(stream) == [f"line {number}" for number in range(30)]
    # There and back again for each would be six seconds.
    assert sent < 4


def outages(service: Service) -> int:
    return service.log_text().count("Redis is away")


def recoveries(service: Service) -> list[tuple[float, int]]:
    """`(seconds, events caught up)` of each recovery in the log."""
    found = re.findall(
        r"Redis is back after ([\d.]+) s; (\d+) events were caught up", service.log_text()
    )
    return [(float(seconds), int(events)) for seconds, events in found]


def test_an_outage_is_two_lines_in_the_log(
    services: Services, clients: Clients, redis_server: RedisServer
) -> None:
    pair = chatbot, workbench = services.pair(redis_server)
    for service in pair:
        service.wait_for_mode("redis")
    agent, customer = clients.agent(workbench), clients.customer(chatbot)
    agent.take_over(customer.session)
    stream = customer.stream()
    stream.wait_for("connected")

    for outage in range(1, 3):
        began = time.monotonic()
        redis_server.kill()
        for number in range(5):
            agent.send(customer.session, f"outage {outage}, line {number}")
        stream.wait_for(expect.message(f"outage {outage}, line 4"))
        for service in pair:
            service.wait_for_mode("degraded")
        redis_server.start()
        back = time.monotonic()
        for service in pair:
            service.wait_for_mode("redis", timeout=RECOVERY_SECONDS)
        recovered = time.monotonic()
        for service in pair:
            service.wait_for_log(rf"(?s)(Redis is back after.*){{{outage}}}")
            assert outages(service) == len(recoveries(service)) == outage
            assert recoveries(service)[-1][0] == pytest.approx(recovered - began, abs=2)
        assert recovered - back < RECOVERY_SECONDS
        # The chatbot's stream was fed from the log.
        assert recoveries(chatbot)[-1][1] >= 5

    assert len(expect.contents(stream)) == 10
    for service in pair:
        assert service.log_text().count(" WARNING ") == 2


def test_worker_logs_an_outage_once_and_finds_redis_again(
    services: Services, clients: Clients, redis_server: RedisServer, hire: Hire
) -> None:
    service = services.start(redis=redis_server)
    customer = clients.customer(service)
    stream = customer.stream()
    stream.wait_for("connected")
    worker = hire(service, redis_server.url)
    redis_server.kill()
    service.wait_for_mode("degraded")

    number = 50
    worker.do("enqueue", target=customer.session, first=0, count=number, rate=20.0)
    assert wait_for_numbers(stream, number) == list(range(number))
    redis_server.start()
    sent = itertools.count(number)

    def found_again() -> bool:
        worker.do("enqueue", target=customer.session, first=next(sent), count=1)
        return "Redis is back" in worker.log_text()

    wait_until(
        found_again, timeout=RECOVERY_SECONDS, what="Redis to be found again", interval=0.05
    )
    number = next(sent)

    assert wait_for_numbers(stream, number) == list(range(number))
    assert worker.log_text().count("Redis is away") == 1
    assert worker.log_text().count("Redis is back") == 1


@pytest.mark.every_database
def test_last_event_of_a_process_that_died_before_publishing_it_arrives(
    undisturbed: Service, clients: Clients, module_redis_server: RedisServer, hire: Hire
) -> None:
    """Nothing follows it on its target whose number would show the gap."""
    customer = clients.customer(undisturbed)
    stream = customer.stream()
    stream.wait_for("connected")
    worker = hire(undisturbed, module_redis_server.url)

    worker.tell({"do": "enqueue_and_die", "target": customer.session, "first": 7})
    worker.wait(10)

    event = stream.wait_for(numbered(7), timeout=QUIET_GAP_SECONDS)
    assert event.received_at - event.timestamp < QUIET_GAP_SECONDS
    assert outages(undisturbed) == 0


def test_deaf_layer_is_found_and_the_log_carries_on(
    services: Services, clients: Clients, redis_server: RedisServer
) -> None:
    """Redis answers, takes publications, and delivers none of them."""
    pair = chatbot, workbench = services.pair(redis_server)
    for service in pair:
        service.wait_for_mode("redis")
    agent, customer = clients.agent(workbench), clients.customer(chatbot)
    agent.take_over(customer.session)
    stream = customer.stream()
    stream.wait_for("connected")

    with redis_server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "default", "-subscribe", "-psubscribe")
        admin.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        agent.send(customer.session, "into deaf ears")
        event = stream.wait_for(expect.message("into deaf ears"), timeout=QUIET_GAP_SECONDS)
        for service in pair:
            service.wait_for_mode("degraded", timeout=QUIET_GAP_SECONDS)
        agent.send(customer.session, "found out")
        stream.wait_for(expect.message("found out"), timeout=3)
        admin.execute_command("ACL", "SETUSER", "default", "+subscribe", "+psubscribe")
    for service in pair:
        service.wait_for_mode("redis", timeout=RECOVERY_SECONDS)
        assert outages(service) == 1
    agent.send(customer.session, "loud and clear")
    stream.wait_for(expect.message("loud and clear"))

    assert event.received_at - event.timestamp < QUIET_GAP_SECONDS
    assert len(expect.contents(stream)) == 3
    for service in pair:
        # The layer's client says so, and goes on.
        service.trouble_expected = True


def test_refused_publications_are_carried_by_the_log(
    services: Services, clients: Clients, redis_server: RedisServer
) -> None:
    pair = chatbot, workbench = services.pair(redis_server)
    for service in pair:
        service.wait_for_mode("redis")
    agent, customer = clients.agent(workbench), clients.customer(chatbot)
    agent.take_over(customer.session)
    stream = customer.stream()
    stream.wait_for("connected")

    with redis_server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "default", "-publish")
        for number in range(3):
            agent.send(customer.session, f"line {number}")
        stream.wait_for(expect.message("line 2"))
        workbench.wait_for_mode("degraded")
        admin.execute_command("ACL", "SETUSER", "default", "+publish")
    for service in pair:
        service.wait_for_mode("redis", timeout=RECOVERY_SECONDS)

    assert expect.contents(stream) == ["line 0", "line 1", "line 2"]


# --- any publisher ----------------------------------------------------------------------


@pytest.mark.every_database
def test_nothing_goes_out_before_commit_and_nothing_after_rollback(
    undisturbed: Service, clients: Clients, module_redis_server: RedisServer, hire: Hire
) -> None:
    customer = clients.customer(undisturbed)
    stream = customer.stream(after=customer.cursor)
    stream.wait_for("connected")
    worker = hire(undisturbed, module_redis_server.url)

    worker.do("enqueue_in_transaction", target=customer.session, first=0, commit=False)
    worker.tell({})
    worker.answer()
    worker.do("enqueue_in_transaction", target=customer.session, first=1, commit=True)
    # Longer than the log is left unlooked at: it must not be there either.
    with pytest.raises(TimeoutError):
        stream.wait_for("numbered", timeout=4.5)
    worker.tell({})
    worker.answer()
    worker.do("enqueue", target=customer.session, first=2, count=1)

    stream.wait_for(numbered(2))
    arrived = stream.events("numbered")
    assert [(event.payload["n"], bool(event.id)) for event in arrived] == [
        (1, True),
        (1, False),
        (2, True),
    ]


def test_clients_that_come_back_together_share_their_reads_of_the_log(
    undisturbed: Service, clients: Clients, module_redis_server: RedisServer, hire: Hire
) -> None:
    customer = clients.customer(undisturbed)
    missed = 600
    hire(undisturbed, module_redis_server.url).do(
        "enqueue", target=customer.session, first=0, count=missed
    )
    before = undisturbed.metric("sse_pages_read_total")
    with ThreadPoolExecutor(RETURNING) as pool:
        opened = [pool.submit(customer.stream, after=customer.cursor) for _ in range(RETURNING)]
        streams = [each.result() for each in opened]

    for stream in streams:
        assert wait_for_numbers(stream, missed) == list(range(missed))
    # A page has 256 events, and the last one may be asked for before and after it is known to
    # be the last.
    assert undisturbed.metric("sse_pages_read_total") - before <= 2 * (missed // 256 + 1)


def test_a_publishing_process_has_one_connection_to_redis(
    undisturbed: Service, clients: Clients, module_redis_server: RedisServer, hire: Hire
) -> None:
    customer = clients.customer(undisturbed)
    stream = customer.stream()
    stream.wait_for("connected")
    worker = hire(undisturbed, module_redis_server.url)

    worker.do("enqueue", target=customer.session, first=0, count=20)
    worker.do("enqueue_async", target=customer.session, first=20, count=20)
    worker.do("enqueue_in_threads", target=customer.session, first=40, count=20)
    threads = [threading.Thread(target=customer.send, args=("hello",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_for_numbers(stream, 60)

    assert sorted(numbers(stream)) == list(range(60))
    assert kinds_of_connections(module_redis_server, worker.pid) == ["normal"]
    assert kinds_of_connections(module_redis_server, undisturbed.pid) == ["normal", "pubsub"]


def test_forked_processes_send_by_themselves_and_end(
    undisturbed: Service, clients: Clients, module_redis_server: RedisServer
) -> None:
    customer = clients.customer(undisturbed)
    stream = customer.stream()
    stream.wait_for("connected")

    ended = subprocess.run(
        [sys.executable, "-m", "tests.forking", customer.session],
        cwd=ROOT,
        env=undisturbed.database.environment(
            USE_REDIS_SSE="true", REDIS_URL=module_redis_server.url
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    arrived: list[Event] = stream.wait_for_count("numbered", 55)
    assert numbers(stream) == list(range(55))
    # Sooner than the log is looked at: the children gave theirs to Redis, too.
    assert all(event.received_at - event.timestamp < 2 for event in arrived)
    # Beside the main thread, the one of the loop.
    assert json.loads(ended.stdout) == {"ended": [0, 0, 0], "threads": 2}
    assert "the process ends before" not in ended.stderr


def kinds_of_connections(server: RedisServer, pid: int) -> list[str]:
    """What CLIENT LIST says of a process's connections."""
    own = {
        connection.laddr.port
        for connection in psutil.Process(pid).net_connections("tcp")
        if connection.raddr and connection.raddr.port == server.port
    }
    found = []
    with server.client() as admin:
        for kind in ("normal", "pubsub"):
            clients: list[redis.typing.ResponseT] = admin.client_list(_type=kind)
            found += [kind for each in clients if int(each["addr"].rpartition(":")[2]) in own]
    return found


def test_a_process_without_a_layer_in_common_reaches_open_streams_by_the_log(
    module_services: Services, clients: Clients
) -> None:
    """In memory, where a command's layer ends with it. Only the tail looks into the log."""
    alone = module_services.start(constants={"sse.live.upkeep.CHECK_SECONDS": 3600})
    customer = clients.customer(alone)
    stream = customer.stream()
    stream.wait_for("connected")

    alone.database.manage("send_event", customer.session, "numbered", '{"n": 1}')

    (arrived,) = stream.wait_for_count("numbered", 1)
    # Half a second, and what this machine may be late.
    assert arrived.received_at - arrived.timestamp < 0.5 + 1.0


def test_management_command_reaches_open_streams(
    undisturbed: Service, clients: Clients, module_redis_server: RedisServer
) -> None:
    customer = clients.customer(undisturbed)
    stream = customer.stream()
    stream.wait_for("connected")
    command = (
        "from sse import enqueue_sse_message_sync as enqueue\n"
        f"for n in range(3): enqueue({customer.session!r}, {{'type': 'numbered', "
        "'payload': {'n': n}})"
    )

    undisturbed.database.manage(
        "shell", "--command", command, USE_REDIS_SSE="true", REDIS_URL=module_redis_server.url
    )

    # Sooner than the log is looked at: the command's end gave it to Redis.
    arrived: list[Event] = stream.wait_for_count("numbered", 3)
    assert numbers(stream) == [0, 1, 2]
    assert all(event.received_at - event.timestamp < 2 for event in arrived)
