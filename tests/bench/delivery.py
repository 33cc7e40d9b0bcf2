"""How long an event takes from being enqueued in one process to a client of the other.

`python -m tests.bench.delivery [--events 300] [--rate 30] [--vendor sqlite]`

Two daphne processes over one Redis. The chatbot's takes the customers' requests; the streams
are open at the workbench's. The frame's `timestamp` is compared with the clock at its arrival.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.peers import UNLIMITED, VENDORS, databases, print_table
from tests.harness.client import Clients
from tests.harness.redis import RedisServer
from tests.harness.services import Services
from tests.harness.streams import Event, EventStream

ARRIVAL_SECONDS = 15.0


def measure(vendor: str, events: int, rate: float) -> list[list[object]]:
    with (
        tempfile.TemporaryDirectory(prefix="tests-bench-") as directory,
        databases(vendor) as source,
        RedisServer() as redis,
        source.demo() as database,
        Services(database, Path(directory)) as services,
        Clients() as clients,
    ):
        chatbot, workbench = services.pair(redis, **UNLIMITED)
        agent = clients.agent(workbench)
        customer = clients.customer(chatbot)
        agent.take_over(customer.session)
        agents_stream = agent.stream()
        session_stream = agent.session_stream(customer.session)
        waiting = [clients.customer(chatbot) for _ in range(events)]

        paced(rate, [lambda: customer.send("How long does it take?") for _ in range(events)])
        messages = session_stream.wait_for_count("message", events, timeout=ARRIVAL_SECONDS)
        paced(rate, [one.escalate for one in waiting])
        sessions = {one.session for one in waiting}
        added = agents_stream.wait_for_count(
            lambda event: (
                event.type == "queue_update"
                and event.payload["change"] == "added"
                and event.payload["session"]["session_name"] in sessions
            ),
            events,
            timeout=ARRIVAL_SECONDS,
        )
        for stream in (agents_stream, session_stream):
            require_each_once(stream)
    return [
        row(vendor, "message → session's stream", messages),
        row(vendor, "escalation → agent's stream", added),
    ]


def paced(rate: float, actions: list[Callable[[], object]]) -> None:
    """At even intervals, or one after the other where they take longer than that."""
    started = time.monotonic()
    for number, action in enumerate(actions):
        time.sleep(max(0.0, started + number / rate - time.monotonic()))
        action()


def require_each_once(stream: EventStream) -> None:
    ids = [event.id for event in stream.events() if event.id is not None]
    if len(ids) != len(set(ids)):
        raise AssertionError(f"{stream.url} had an event twice")


def row(vendor: str, name: str, events: list[Event]) -> list[object]:
    taken = [(event.received_at - event.timestamp) * 1000 for event in events]
    percent = statistics.quantiles(taken, n=100, method="inclusive")
    figures = (percent[49], percent[94], percent[98], max(taken))
    return [vendor, name, len(taken), *(f"{figure:.1f} ms" for figure in figures)]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.delivery")
    parser.add_argument("--events", type=int, default=300)
    parser.add_argument("--rate", type=float, default=30.0, help="requests a second")
    parser.add_argument("--vendor", choices=VENDORS)
    options = parser.parse_args(arguments)
    vendors = (options.vendor,) if options.vendor else VENDORS
    rows = [line for v in vendors for line in measure(v, options.events, options.rate)]
    print(f"From one process to the other, {options.rate:g} requests a second")
    print_table(["database", "event", "count", "p50", "p95", "p99", "max"], rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
