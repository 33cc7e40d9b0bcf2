"""PostgreSQL connections that give up, and the pool that requests take turns with."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import psycopg
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from config import postgresql
from config.postgresql import connections as module
from config.postgresql.base import DatabaseWrapper
from config.postgresql.connections import Connection, Pool, Server

pytestmark = pytest.mark.vendor("postgresql")


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def connect(server: Server) -> Iterator[Callable[[], Connection]]:
    made: list[Connection] = []

    def connect() -> Connection:
        made.append(
            server.connect(
                lambda: Connection.connect(os.environ["DATABASE_URL"], autocommit=True)
            )
        )
        return made[-1]

    yield connect
    for connection in made:
        connection.close()


def test_connection_waits_so_long_and_no_longer(connect: Callable[[], Connection]) -> None:
    connection = connect()
    connection.allowed = 0.1
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT pg_sleep(60)")
    assert connection.closed


@pytest.mark.parametrize("in_all", [True, False])
def test_time_is_for_all_that_one_request_asks(
    connect: Callable[[], Connection], in_all: bool
) -> None:
    connection = connect()
    connection.allowed, connection.in_all = 30.0, in_all
    connection.execute("SELECT pg_sleep(0.05)")
    assert (connection.allowed <= 29.95) is in_all


def test_silence_of_one_connection_discredits_the_idle_ones(
    connect: Callable[[], Connection],
) -> None:
    pool = Pool(connect, size=2, keep=2)
    silent, idle = pool.getconn(), pool.getconn()
    pool.putconn(idle)
    silent.allowed = 0.1
    with pytest.raises(psycopg.OperationalError):
        silent.execute("SELECT pg_sleep(60)")
    pool.putconn(silent)
    fresh = pool.getconn()
    assert fresh not in (silent, idle)
    assert idle.closed
    fresh.execute("SELECT 1")


def test_pool_gives_out_what_was_used_last_and_no_more_than_it_has(
    connect: Callable[[], Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.05)
    pool = Pool(connect, size=2, keep=2)
    first, second = pool.getconn(), pool.getconn()
    with pytest.raises(psycopg.OperationalError, match="all 2 connections"):
        pool.getconn()
    pool.putconn(first)
    pool.putconn(second)
    assert pool.getconn() is second


def test_who_waits_in_line_gets_what_comes_back(connect: Callable[[], Connection]) -> None:
    pool = Pool(connect, size=1, keep=1)
    held = pool.getconn()
    with ThreadPoolExecutor(1) as callers:
        waiting = callers.submit(pool.getconn)
        pool.putconn(held)
        assert waiting.result(30) is held


def test_line_has_an_end(
    connect: Callable[[], Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAITING_AT_MOST", 0)
    pool = Pool(connect, size=1, keep=1)
    pool.getconn()
    with pytest.raises(psycopg.OperationalError, match="too many"):
        pool.getconn()


def test_open_transaction_does_not_come_back_from_the_pool(
    connect: Callable[[], Connection],
) -> None:
    pool = Pool(connect, size=1, keep=1)
    connection = pool.getconn()
    connection.execute("BEGIN")
    with pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute("SELECT * FROM nowhere")
    pool.putconn(connection)
    again = pool.getconn()
    assert again is connection
    again.execute("SELECT 1")


def test_connection_that_broke_in_the_pool_is_not_given_out(
    connect: Callable[[], Connection],
) -> None:
    pool = Pool(connect, size=1, keep=1)
    broken = pool.getconn()
    pid = broken.info.backend_pid
    pool.putconn(broken)
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
    fresh = pool.getconn()
    assert fresh is not broken
    fresh.execute("SELECT 1")


def test_idle_and_old_connections_are_closed(
    connect: Callable[[], Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.0)
    pool = Pool(connect, size=2, keep=1)
    first, second = pool.getconn(), pool.getconn()
    pool.putconn(first)
    pool.putconn(second)
    assert (first.closed, second.closed) == (True, False)

    monkeypatch.setattr(module, "LIFETIME_SECONDS", 0.0)
    assert pool.getconn() is not second
    assert second.closed


def test_place_of_a_connection_that_cannot_be_made_is_free_again() -> None:
    def refused() -> Connection:
        raise psycopg.OperationalError("refused")

    pool = Pool(refused, size=1, keep=1)
    for _ in range(3):
        with pytest.raises(psycopg.OperationalError, match="refused"):
            pool.getconn()


def test_while_a_server_is_away_one_caller_tries_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 3600.0)
    tried = 0

    def refused() -> Connection:
        nonlocal tried
        tried += 1
        raise psycopg.OperationalError("refused")

    for _ in range(3):
        with pytest.raises(psycopg.OperationalError, match="refused"):
            server.connect(refused)
    assert tried == 1


def test_closed_pool_keeps_nothing(connect: Callable[[], Connection]) -> None:
    pool = Pool(connect, size=2, keep=2)
    out, idle = pool.getconn(), pool.getconn()
    pool.putconn(idle)
    pool.close()
    assert idle.closed
    pool.putconn(out)
    assert out.closed


@pytest.mark.parametrize("serving", [True, False])
def test_servers_own_bounds_are_for_processes_that_serve(
    monkeypatch: pytest.MonkeyPatch, serving: bool
) -> None:
    monkeypatch.setattr(postgresql, "bounded", serving)
    wrapper = cast(DatabaseWrapper, connections.create_connection("default"))
    params = wrapper.get_connection_params()
    assert params["connect_timeout"] == 2
    assert "bounds" not in params
    assert ("statement_timeout=8000" in params.get("options", "")) is serving
    assert ("lock_timeout=5000" in params.get("options", "")) is serving


def test_pooled_connections_do_not_outlive_their_request() -> None:
    """Each one kept by a thread would be one that the pool counts for ever."""
    given = connections["default"].settings_dict
    wrapper = DatabaseWrapper({**given, "CONN_MAX_AGE": 60}, alias="persistent")
    with pytest.raises(ImproperlyConfigured, match="conn_max_age"):
        wrapper.connect()
