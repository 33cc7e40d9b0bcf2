"""The database away, silent, locked, read-only: what callers hear, and who is not concerned."""

import dataclasses
import sqlite3
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx
import psycopg
import pytest

from tests.harness import expect
from tests.harness.client import Clients, Customer
from tests.harness.databases import Database
from tests.harness.road import Road
from tests.harness.services import Service, Services
from tests.harness.waiting import wait_until

# Far longer than what is waited for, and far shorter than for ever.
PATIENCE = 30.0
SHORT = {
    "DATABASE_LOCK_SECONDS": "0.5",
    "DATABASE_STATEMENT_SECONDS": "1",
    "DATABASE_DEADLINE_SECONDS": "1.5",
    "DATABASE_POOL_MAX": "13",
    "AI_BACKEND": "scripted",
}


@pytest.fixture(scope="module")
def road(module_demo_database: Database) -> Iterator[Road]:
    """The way from the service to its database."""
    with Road.to(module_demo_database.url) as made:
        yield made


@pytest.fixture(scope="module")
def shared(
    module_demo_database: Database, road: Road, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    at_the_end = dataclasses.replace(
        module_demo_database, url=road.redirect(module_demo_database.url)
    )
    with Services(at_the_end, tmp_path_factory.mktemp("services")) as services:
        yield services.start(**SHORT)


@pytest.fixture
def service(shared: Service, road: Road) -> Iterator[Service]:
    """Well before and after each test."""
    yield shared
    road.open()
    wait_until(lambda: _well(shared), timeout=PATIENCE, what=f"{shared.name} to be well")


def _ready(service: Service) -> bool:
    answer = httpx.get(f"{service.api_url}/readyz", timeout=PATIENCE, trust_env=False)
    return answer.status_code == httpx.codes.OK


def _well(service: Service) -> bool:
    began = httpx.post(
        f"{service.api_url}/sessions", json={}, timeout=PATIENCE, trust_env=False
    )
    return began.status_code == httpx.codes.CREATED and _ready(service)


def attempt(customer: Customer) -> httpx.Response:
    """A message, and whatever comes of it."""
    body = {"content": "say: hello", "client_id": uuid.uuid4().hex}
    return customer.http.post(customer.path("/messages"), json=body, timeout=PATIENCE)


def check_unavailable(answer: httpx.Response, reason: str) -> None:
    assert answer.status_code == 503, answer.text
    error = answer.json()["error"]
    assert error["code"] == "DATABASE_UNAVAILABLE"
    assert error["details"] == {"reason": reason}
    assert answer.headers["retry-after"] == "2"


def accepted(customer: Customer) -> bool:
    return attempt(customer).status_code == httpx.codes.CREATED


@pytest.mark.vendor("postgresql")
def test_locked_rows_hold_up_their_own_sessions_only(
    service: Service, clients: Clients
) -> None:
    locked = [clients.customer(service) for _ in range(2)]
    other = clients.customer(service)
    agent = clients.agent(service)
    live = other.stream(after=other.cursor)
    live.wait_for("connected")

    with (
        psycopg.connect(service.database.url) as holder,
        ThreadPoolExecutor(8) as callers,
    ):
        names = [customer.session for customer in locked]
        for statement in (
            "SELECT 1 FROM ai_chatbot_chatsession WHERE name = ANY(%s) FOR UPDATE",
            "SELECT 1 FROM sse_target WHERE name = ANY(%s) FOR UPDATE",
        ):
            holder.execute(statement, [names])
        holder.execute("SELECT 1 FROM agent_workbench_agent FOR UPDATE")
        answers = [callers.submit(attempt, customer) for customer in locked * 4]
        other.send("say: not concerned")
        live.wait_for(expect.reply("not concerned"))
        assert clients.customer(service).stream().wait_for("connected")
        # Streams read without locks, those of the locked sessions and agents too.
        assert locked[0].stream().wait_for("connected")
        assert agent.stream().wait_for("connected")
        for answer in answers:
            check_unavailable(answer.result(), "busy")

    for customer in locked:
        assert accepted(customer)


@pytest.mark.vendor("postgresql")
def test_silent_database_is_given_up_and_found_again(
    service: Service, clients: Clients, road: Road
) -> None:
    customers = [clients.customer(service) for _ in range(6)]
    with ThreadPoolExecutor(len(customers)) as callers:
        # Their connections are in the pool, and more of them than it has.
        assert all(callers.map(accepted, customers))
        road.swallow()
        answers = [callers.submit(attempt, customer) for customer in customers]
        # While they hang, and whatever else does.
        assert service.health()["status"] in ("ok", "down")
        for answer in answers:
            check_unavailable(answer.result(), "away")
    refused = customers[0].http.get(
        customers[0].path("/events"), params={"token": customers[0].token}, timeout=PATIENCE
    )
    check_unavailable(refused, "away")
    wait_until(
        lambda: service.health()["database"] == "down", timeout=PATIENCE, what="health to know"
    )
    assert not _ready(service)

    road.open()
    wait_until(lambda: accepted(customers[0]), timeout=PATIENCE, what="a message to be taken")
    stream = customers[0].stream(after=customers[0].cursor)
    stream.wait_for(expect.reply("hello"))


@pytest.mark.vendor("postgresql")
def test_database_that_is_away_is_said_at_once_and_tried_again_when_it_is_back(
    service: Service, clients: Clients, road: Road
) -> None:
    customer = clients.customer(service)
    customer.send("say: before")
    road.refuse()
    for _ in range(5):
        check_unavailable(attempt(customer), "away")
    page = httpx.get(f"{service.base_url}/admin/login/", timeout=PATIENCE, trust_env=False)
    assert page.status_code == 200

    road.open()
    wait_until(lambda: accepted(customer), timeout=PATIENCE, what="a message to be taken")


@pytest.mark.vendor("postgresql")
def test_outage_is_a_line_in_the_log_and_not_a_flood(
    service: Service, clients: Clients, road: Road
) -> None:
    customer = clients.customer(service)
    road.refuse()
    before = len(service.log_text())
    for _ in range(50):
        check_unavailable(attempt(customer), "away")
    said = service.log_text()[before:]
    assert "the database is away: " in service.log_text()
    assert said.count("the database is away: ") < 10
    assert "Traceback" not in said


@pytest.mark.vendor("postgresql")
def test_read_only_database_refuses_messages_and_pages_honestly(
    service: Service, clients: Clients
) -> None:
    customer = clients.customer(service)
    name = service.database.url.rpartition("/")[2]
    with psycopg.connect(service.database.url, autocommit=True) as owner:
        owner.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        try:
            wait_until(
                lambda: (
                    attempt(customer).json().get("error", {}).get("details")
                    == {"reason": "read-only"}
                ),
                timeout=PATIENCE,
                what="a message to be refused",
            )
            check_unavailable(attempt(customer), "read-only")
            assert customer.state()["messages"] == []
            wait_until(
                lambda: service.health()["database"] == "read-only",
                timeout=PATIENCE,
                what="health to know",
            )
            assert service.health()["status"] == "down"
            assert not _ready(service)
            with httpx.Client(base_url=service.base_url, trust_env=False) as browser:
                form = browser.get("/workbench/login/")
                assert form.status_code == 200
                login = {"username": "alice", "password": service.database.demo_password()}
                check_unavailable(
                    browser.post("/workbench-api/agent/login", json=login), "read-only"
                )
                page = browser.post(
                    "/workbench/login/",
                    data={**login, "csrfmiddlewaretoken": browser.cookies["support_csrf"]},
                )
            assert page.status_code == 503
            assert "Back in a moment" in page.text
        finally:
            owner.execute("SET default_transaction_read_only = off")
            owner.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
            owner.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
    wait_until(lambda: accepted(customer), timeout=PATIENCE, what="a message to be taken")


@pytest.mark.vendor("sqlite")
def test_who_keeps_writing_to_the_file_holds_up_writers_and_no_stream(
    services: Services, clients: Clients
) -> None:
    service = services.start(AI_BACKEND="scripted", DATABASE_LOCK_SECONDS="0.2")
    customer = clients.customer(service)
    customer.send("say: hello")
    file = service.database.url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(file, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        check_unavailable(attempt(customer), "busy")
        stream = customer.stream(after=customer.cursor)
        stream.wait_for(expect.message("say: hello"))
        holder.execute("ROLLBACK")
    assert accepted(customer)
