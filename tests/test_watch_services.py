"""The watch in real processes: when the workbench dies, and after the database was away."""

import dataclasses
import time
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.harness import expect
from tests.harness.client import Clients, Customer
from tests.harness.databases import Database
from tests.harness.redis import RedisServer
from tests.harness.road import Road
from tests.harness.services import Services
from tests.harness.waiting import wait_until

ABSENCE = 5
# The promise is 15 seconds after the absence; and what this machine may be late.
TOLD_SECONDS = ABSENCE + 15 + 5
AWAY_SECONDS = 7
GAP_SECONDS = 3


def became(status: str, reason: str) -> expect.Expected:
    return lambda event: (
        event.type == "status_change"
        and (event.payload["status"], event.payload["reason"]) == (status, reason)
    )


@pytest.mark.vendor("postgresql")
def test_customer_hears_of_a_lost_agent_when_the_workbench_has_died(
    services: Services, redis_server: RedisServer, clients: Clients
) -> None:
    chat, workbench = (
        services.start(product, redis=redis_server, AGENT_ABSENCE_SECONDS=str(ABSENCE))
        for product in ("ai_chatbot", "agent_workbench")
    )
    alice, customer = clients.agent(workbench), clients.customer(chat)
    alice.stream().wait_for("connected")
    stream = customer.stream(after=customer.cursor)
    alice.take_over(customer.session)
    stream.wait_for(expect.status("manual_live"))

    workbench.kill()
    stream.wait_for(became("pending_manual", "agent_lost"), timeout=TOLD_SECONDS)
    stream.wait_for(became("after_hours_email", "nobody_on_duty"))
    said = stream.wait_for("availability")
    state = customer.state()
    assert state["status"] == "after_hours_email"
    assert state["availability"] == said.payload
    assert not said.payload["someone_on_duty"]

    # The agent hears of it on return, and so does the customer.
    workbench.start()
    alice = clients.agent(workbench)
    (notice,) = alice.call("GET", "/agent/notices")["items"]
    assert (notice["kind"], notice["session_name"]) == ("session_lost", customer.session)
    stream.wait_for(became("pending_manual", "staff_back"))


@pytest.mark.vendor("postgresql")
def test_time_in_which_the_database_was_away_takes_no_live_chat_from_its_agent(
    clients: Clients, demo_database: Database, tmp_path: Path
) -> None:
    with (
        Road.to(demo_database.url) as road,
        Services(
            dataclasses.replace(demo_database, url=road.redirect(demo_database.url)), tmp_path
        ) as services,
    ):
        service = services.start(
            AGENT_ABSENCE_SECONDS=str(ABSENCE),
            constants={"sse.process.leases.GAP": GAP_SECONDS},
        )
        alice, live, other = clients.agent(service), *(clients.customer(service) for _ in "12")
        agents = alice.stream()
        agents.wait_for("connected")
        stream = live.stream(after=live.cursor)
        alice.take_over(live.session)
        stream.wait_for(expect.status("manual_live"))

        road.refuse()
        # Longer than an agent may be absent.
        time.sleep(AWAY_SECONDS)
        road.open()
        asked = wait_until(
            lambda: _escalated(other),
            timeout=20,
            what="a person to be asked for",
            interval=0.05,
        )
        # In the first second after it, as in all that follow.
        assert asked == "pending_manual"
        wait_until(
            lambda: _counted_for(demo_database) > ABSENCE + 2,
            timeout=30,
            what="an absence after the outage",
        )
        assert [customer.state()["status"] for customer in (live, other)] == [
            "manual_live",
            "pending_manual",
        ]
        assert expect.statuses(stream) == ["manual_live"]
        assert alice.profile()["status"] == "online"


def _escalated(customer: Customer) -> str:
    """The status that it led to, or nothing while the database is away."""
    answer = customer.http.post(customer.path("/escalate"), json={})
    if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        return ""
    status: str = answer.raise_for_status().json()["status"]
    return status


def _counted_for(database: Database) -> float:
    """For how many seconds the rounds of the watch have followed one another."""
    with psycopg.connect(database.url) as connection:
        row = connection.execute(
            "SELECT extract(epoch FROM now() - since)::float8 FROM sse_lease"
        ).fetchone()
    assert row is not None
    return float(row[0])
