"""Threads for database work: what hangs in one place is felt in that place only."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.db.utils import InterfaceError
from django.http import HttpRequest
from pytest_django import Settings

from sse.exceptions import Refused
from sse.live.hub import STREAMS_AT_ONCE, get_hub
from sse.models import Target
from sse.process import database
from sse.process.database import NoDatabaseThread, Pools
from sse.streams.grants import Grant
from tests.hubs import OpenedStream, serve, serving_hub


class Gate:
    """Work that hangs until it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self._opened = threading.Event()

    def pass_through(self) -> str:
        self.entered.release()
        assert self._opened.wait(30)
        return "passed"

    def open(self) -> None:
        self._opened.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open()


def scene(play: Callable[[Pools], Awaitable[None]], seconds: float = 30, **counts: int) -> None:
    async def run() -> None:
        pools = Pools(asyncio.get_running_loop(), counts, seconds=seconds)
        try:
            async with asyncio.timeout(30):
                await play(pools)
        finally:
            pools.shutdown()

    asyncio.run(run())
    for thread in threading.enumerate():
        if thread.name.startswith("sse-database"):
            thread.join(10)


async def entered(gate: Gate) -> None:
    await asyncio.to_thread(gate.entered.acquire)


def test_what_hangs_in_one_purpose_leaves_the_others_alone(gate: Gate) -> None:
    async def play(pools: Pools) -> None:
        hanging = [asyncio.ensure_future(pools["access"].run(gate.pass_through)) for _ in "ab"]
        for _ in hanging:
            await entered(gate)
        assert await pools["log"].run(lambda: "read") == "read"
        gate.open()
        assert await asyncio.gather(*hanging) == ["passed", "passed"]

    scene(play, log=1, access=2)


def test_caller_hears_at_the_deadline_and_the_thread_keeps_its_place(gate: Gate) -> None:
    async def play(pools: Pools) -> None:
        threads = pools["log"]
        hanging = asyncio.ensure_future(threads.run(gate.pass_through))
        await entered(gate)
        before = set(threading.enumerate())
        assert threads.stuck == 0
        with pytest.raises(DatabaseError):
            await hanging
        assert pools.stuck() == ["log"]
        # Nobody else is let in while it hangs, and nobody waits for ever.
        done: list[str] = []
        with pytest.raises(NoDatabaseThread):
            await threads.run(done.append, "too late", seconds=0.01)
        assert {t for t in threading.enumerate() if "sse-database" in t.name} <= before
        gate.open()
        await threads.run(done.append, "after", seconds=30)
        assert done == ["after"]
        assert pools.stuck() == []

    scene(play, seconds=0.05, log=1)


def test_thread_that_fails_to_close_its_connection_keeps_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def dies() -> None:
        raise InterfaceError("it is gone")

    async def play(pools: Pools) -> None:
        threads = pools["log"]
        await threads.run(int)
        monkeypatch.setattr(database, "close_old_connections", dies)
        for _ in range(3):
            assert await threads.run(lambda: "read") == "read"

    scene(play, log=1)


def test_thread_that_cannot_be_given_back_its_connection_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever a thread dies of, another one takes its place."""
    monkeypatch.setattr(database, "CONNECTION_KEPT_SECONDS", 0.0)

    def dies() -> None:
        raise SystemError

    async def play(pools: Pools) -> None:
        threads = pools["log"]
        monkeypatch.setattr(database, "_give_back", dies)
        for _ in range(3):
            assert await threads.run(lambda: "read") == "read"

    with monkeypatch.context() as patched:
        patched.setattr(threading, "excepthook", lambda _: None)
        scene(play, log=1)


@pytest.mark.vendor("postgresql")
@pytest.mark.django_db(transaction=True)
def test_thread_has_a_connection_of_its_own_and_a_new_one_after_it_broke() -> None:
    def read() -> tuple[int, object]:
        assert Target.objects.count() == 0
        return id(connection.connection), connection.settings_dict["OPTIONS"].get("pool")

    def sever() -> None:
        connection.ensure_connection()
        connection.connection.close()

    async def play(pools: Pools) -> None:
        threads = pools["log"]
        first, pool = await threads.run(read)
        assert pool is None
        await threads.run(sever)
        second, _ = await threads.run(read)
        assert second != first

    scene(play, log=1)


def test_there_is_an_end_to_waiting_in_line(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "WAITING_AT_MOST", 1)

    async def play(pools: Pools) -> None:
        hanging = asyncio.ensure_future(pools["log"].run(gate.pass_through))
        await entered(gate)
        in_line = asyncio.ensure_future(pools["log"].run(lambda: "in line"))
        await asyncio.sleep(0)
        with pytest.raises(NoDatabaseThread):
            await pools["log"].run(lambda: "no room")
        gate.open()
        assert await asyncio.gather(hanging, in_line) == ["passed", "in line"]

    scene(play, log=1)


@pytest.mark.vendor("postgresql")
@pytest.mark.django_db(transaction=True)
def test_connection_is_kept_between_pieces_of_work() -> None:
    def session() -> object:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            return cursor.fetchone()

    async def play(pools: Pools) -> None:
        first = await pools["log"].run(session)
        assert await pools["log"].run(session) == first

    scene(play, log=1)


@pytest.mark.django_db(transaction=True)
def test_streams_do_not_wait_without_end_to_be_let_in(gate: Gate, settings: Settings) -> None:
    def never(_request: HttpRequest) -> Grant:
        gate.pass_through()
        raise Refused(403, "FORBIDDEN", "Not for you.")

    async def attempt() -> int:
        """The status of the answer."""
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/", "query_string": b""}
        scope["headers"] = [(b"host", b"localhost")]
        await serve(never, scope, asyncio.Event().wait, send)
        return int(sent[0]["status"])

    async def run() -> None:
        async with serving_hub():
            before = [asyncio.create_task(attempt()) for _ in range(STREAMS_AT_ONCE)]
            await entered(gate)
            settings.SSE_DATABASE_SECONDS = 0.1
            try:
                assert await asyncio.wait_for(attempt(), 10) == 503
            finally:
                gate.open()
            assert await asyncio.gather(*before) == [403] * STREAMS_AT_ONCE

    asyncio.run(run())


@pytest.mark.django_db(transaction=True)
def test_stream_whose_process_stops_while_its_right_is_looked_up_is_sent_elsewhere() -> None:
    """The streams that were open have been told by then."""

    class Late(OpenedStream):
        def _grant(self, request: HttpRequest) -> Grant:
            loop = get_hub().loop
            asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
            return super()._grant(request)

    async def stop() -> None:
        get_hub().begin_closing()

    async def scene() -> None:
        async with serving_hub():
            late = Late("a")
            async with asyncio.timeout(15):
                await serve(late._grant, late._scope, late._receive, late._send)
            assert "GOING_AWAY" in late.text

    asyncio.run(scene())
