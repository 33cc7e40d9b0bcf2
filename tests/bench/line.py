"""What one departure from a long line costs: its request, and the events that follow it.

`python -m tests.bench.line [--length 1000] [--departures 20] [--vendor sqlite]`

Customers leave the front of the line, one every few seconds. How long their requests take is
compared with those of customers who leave a line of a few.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.peers import UNLIMITED, VENDORS, databases, print_table
from tests.harness.client import Clients, Customer
from tests.harness.databases import Database
from tests.harness.redis import RedisServer
from tests.harness.services import Services

# The bars of the issue that asked for this: what a request takes more than in a short line, and
# the events that follow it.
MOST_MS = 50.0
MOST_EVENTS = 250
# Longer than the announcements to those in front take, and to the others.
AT_ONCE_SECONDS = 1.0
ALL_TOLD_SECONDS = 30.0
# Who stands there knows the place already.
LENGTHEN = """
from datetime import timedelta
from django.utils import timezone
from ai_chatbot.models import ChatSession, Status
now = timezone.now()
ahead = ChatSession.objects.pending().count()
ChatSession.objects.bulk_create(
    ChatSession(
        token_digest=f"bench {{place}}",
        status=Status.PENDING_MANUAL,
        escalated_at=now + timedelta(milliseconds=place),
        queue_position=place,
    )
    for place in range(ahead + 1, {length} + 1)
)
"""
COUNT = """
from sse.models import Event
print(Event.objects.filter(data__contains='"queue_position"').count())
"""
WRONG = """
from ai_chatbot.models import ChatSession
line = ChatSession.objects.pending().values_list("queue_position", flat=True)
print(sum(told != place for place, told in enumerate(line, start=1)))
"""


def run(database: Database, code: str) -> str:
    return database.manage("shell", "-v", "0", "-c", code).strip()


def leave(customer: Customer) -> float:
    """In milliseconds."""
    started = time.perf_counter()
    customer.call("DELETE", customer.path("/escalate"))
    return (time.perf_counter() - started) * 1000


def measure(vendor: str, length: int, departures: int) -> list[object]:
    with (
        tempfile.TemporaryDirectory(prefix="tests-bench-") as directory,
        databases(vendor) as source,
        RedisServer() as redis,
        source.demo() as database,
        Services(database, Path(directory)) as services,
        Clients() as clients,
    ):
        chatbot, workbench = services.pair(redis, **UNLIMITED, LOG_LEVEL="WARNING")
        clients.agent(workbench).stream()
        customers = [clients.customer(chatbot) for _ in range(2 * departures)]
        for customer in customers:
            customer.escalate()
        short = [leave(customer) for customer in customers[departures:]]
        run(database, LENGTHEN.format(length=length))
        time.sleep(ALL_TOLD_SECONDS)
        before = int(run(database, COUNT))
        leave(customers[0])
        time.sleep(AT_ONCE_SECONDS)
        at_once = int(run(database, COUNT)) - before
        long = []
        for customer in customers[1:departures]:
            long.append(leave(customer))
            time.sleep(AT_ONCE_SECONDS)
        started = time.monotonic()
        while run(database, WRONG) != "0":
            if time.monotonic() - started > 10 * ALL_TOLD_SECONDS:
                raise TimeoutError("not everybody has been told the place")
            time.sleep(1)
        seconds = time.monotonic() - started
        events = int(run(database, COUNT)) - before
    few, many = statistics.median(short), statistics.median(long)
    kept = many - few <= MOST_MS and max(at_once, events / departures) <= MOST_EVENTS
    return [
        *(vendor, length, len(long)),
        f"{few:.1f} ms",
        f"{many:.1f} ms",
        f"{statistics.quantiles(long, n=20, method='inclusive')[18]:.1f} ms",
        at_once,
        f"{events / departures:.0f}",
        f"{seconds:.0f} s",
        "yes" if kept else "NO",
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.line")
    parser.add_argument("--length", type=int, default=1000)
    parser.add_argument("--departures", type=int, default=20)
    parser.add_argument("--vendor", choices=VENDORS)
    options = parser.parse_args(arguments)
    vendors = (options.vendor,) if options.vendor else VENDORS
    rows = [measure(vendor, options.length, options.departures) for vendor in vendors]
    print("One departure from a line, one a second")
    head = ["database", "line", "departures", "short line p50", "p50", "p95"]
    print_table([*head, "events at once", "in all, each", "all told after", "in bars"], rows)
    return 0 if all(row[-1] == "yes" for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
