"""A hub's duties: what one row, one failure or one lock does to them, and to the others."""

import asyncio
import logging
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from sse.live import metrics, upkeep
from sse.live.hub import Hub
from sse.log import store
from sse.models import OpenStream, Process
from sse.process import duties, registry
from sse.process.duties import Duty
from sse.process.registry import Opened
from sse.process.runtime import Runtime
from sse.process.supervisor import Supervisor
from tests.hubs import OpenedStream, on_a_thread, serving_hub, until, until_stored

on_database = pytest.mark.django_db(transaction=True)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "CHECK_SECONDS", 0.2)
    monkeypatch.setattr(upkeep, "HEARTBEAT_SECONDS", 0.2)
    monkeypatch.setattr(duties, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(duties, "PAUSE_SECONDS", 0.01)


@on_database
@pytest.mark.usefixtures("often")
def test_an_address_that_is_none_does_not_stop_the_beat() -> None:
    """X-Forwarded-For may say anything."""

    async def scene() -> None:
        async with (
            serving_hub() as served,
            OpenedStream("a", address="x" * 100),
            OpenedStream("b", address="fe80::1%" + "e" * 100),
            OpenedStream("c", address="2001:DB8:0:0::1"),
        ):
            await until_stored(
                lambda: set(OpenStream.objects.values_list("target", "address")),
                {("a", ""), ("b", "fe80::1"), ("c", "2001:db8::1")},
            )
            assert served.beats.error == ""

    asyncio.run(scene())


def opened(name: str, address: str = "127.0.0.1") -> Opened:
    return Opened(name, "target", "", address, timezone.now())


@on_database
def test_a_stream_that_the_database_refuses_is_left_out_of_the_beat() -> None:
    streams = [opened(f"stream {n}") for n in range(6)]
    streams[4] = opened("poison", "\ud800")

    assert registry.beat("here", False, False, 6, streams, []) is True
    assert (
        registry.beat("here", False, False, 6, [opened("another", "\x00\ud800")], []) is False
    )

    assert sorted(OpenStream.objects.values_list("name", flat=True)) == [
        f"stream {n}" for n in (0, 1, 2, 3, 5)
    ]
    assert Process.objects.get().streams == 6


@on_database
@pytest.mark.usefixtures("often")
@pytest.mark.vendor("postgresql")
def test_a_beat_that_waits_for_a_lock_keeps_no_event_waiting() -> None:
    async def scene() -> None:
        async with serving_hub() as served, OpenedStream("a") as stream:
            await until(lambda: served.beats.age() is not None and served.census.told)
            locked, let_go = asyncio.Event(), asyncio.Event()
            loop = asyncio.get_running_loop()

            def hold() -> None:
                with transaction.atomic():
                    Process.objects.select_for_update().get(name=served.name)
                    loop.call_soon_threadsafe(locked.set)
                    asyncio.run_coroutine_threadsafe(let_go.wait(), loop).result(30)

            holding = asyncio.create_task(on_a_thread(hold))
            await locked.wait()
            await until(lambda: (served.beats.age() or 0) > 0.5)
            # In the log alone, as by a process whose publication was lost.
            for number in range(3):
                data = f'{{"type":"n{number}","payload":{{}},"timestamp":1.5}}'
                await on_a_thread(lambda data=data: store.append("a", data))
                await stream.wait_for(f'"n{number}"')
            assert served.beats.under_way
            let_go.set()
            await holding
            await until(lambda: (served.beats.age() or 9) < 0.5)

    asyncio.run(scene())


@on_database
@pytest.mark.usefixtures("often")
def test_the_age_of_the_beat_is_known_and_why_it_failed() -> None:
    """A beat is a write: a database that only reads makes it old."""

    async def scene(refuse: Callable[[], None], accept: Callable[[], None]) -> None:
        async with serving_hub() as served:
            fresh = Hub(Runtime(asyncio.get_running_loop()))
            assert fresh.beats.age() is None
            await until(lambda: served.beats.age() is not None)
            await on_a_thread(refuse)
            await until(lambda: served.beats.error)
            failures = {"duty": "beat"}
            assert metrics.registry(served.snapshot).get_sample_value(
                "sse_duty_failures_total", failures
            )
            failed_at = served.beats.age()
            await until(lambda: (served.beats.age() or 0) > (failed_at or 0) + 0.3)
            await on_a_thread(accept)
            await until(lambda: not served.beats.error and (served.beats.age() or 9) < 0.3)

    def run(*statements: str) -> Callable[[], None]:
        def execute() -> None:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)

        return execute

    if connection.vendor == "postgresql":
        refuse = run(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE read_only_sql_transaction; END $$",
            "CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON sse_process "
            "EXECUTE FUNCTION refuse()",
        )
        accept = run("DROP TRIGGER refuse ON sse_process", "DROP FUNCTION refuse")
    else:
        refuse = run(
            "CREATE TRIGGER refuse BEFORE UPDATE ON sse_process "
            "BEGIN SELECT RAISE(ABORT, 'read-only'); END"
        )
        accept = run("DROP TRIGGER refuse")
    asyncio.run(scene(refuse, accept))


def test_a_duty_without_its_database_is_tried_again_and_ails_in_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(duties, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(duties, "PAUSE_SECONDS", 0.01)

    async def scene() -> None:
        away = True
        tries = 0

        async def work() -> None:
            nonlocal tries
            tries += 1
            if away:
                raise OperationalError("no database")

        kept = Supervisor(asyncio.get_running_loop())
        kept.keep("check", Duty("checking", work, every=0.01).run, vital=True)
        await until(lambda: tries > 5)
        assert kept.ailing() == []
        monkeypatch.setattr(duties, "PATIENCE_SECONDS", 0.0)
        await until(lambda: kept.ailing(vital_only=True) == ["check"])
        away = False
        await until(lambda: not kept.ailing())
        # It was never started anew, which would take longer each time.
        assert list(kept.failures()) == [("check", 0, True)]
        for task in kept.stop():
            task.cancel()

    with caplog.at_level(logging.INFO, logger="sse.process.duties"):
        asyncio.run(scene())
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_duty_is_done_at_once_when_it_is_asked_to_hurry() -> None:
    async def scene() -> None:
        tries = 0

        async def work() -> None:
            nonlocal tries
            tries += 1

        duty = Duty("beating", work, every=timedelta(hours=1).total_seconds())
        running = asyncio.create_task(duty.run(lambda well=True: None))
        await until(lambda: tries == 1)
        duty.hurry()
        await until(lambda: tries == 2)
        running.cancel()

    asyncio.run(scene())


@on_database
def test_pruning_that_takes_minutes_does_not_ail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that has grown for long takes as long as PRUNING_SECONDS."""
    pruning, let_go = threading.Event(), threading.Event()

    def prune() -> None:
        pruning.set()
        let_go.wait(30)

    monkeypatch.setattr(upkeep, "PRUNE_SECONDS", 0.01)
    monkeypatch.setattr(upkeep, "_prune", prune)

    async def scene() -> None:
        async with serving_hub() as served:
            await until(pruning.is_set)
            try:
                now = served.loop.time()
                monkeypatch.setattr(
                    served.loop, "time", lambda: now + upkeep.PRUNING_SECONDS - 1, raising=False
                )
                assert "prune" not in served.runtime.supervisor.ailing()
            finally:
                monkeypatch.undo()
                let_go.set()

    asyncio.run(scene())
