"""An older database in the place of the one that processes and clients know."""

import asyncio
import io
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction

import sse
from sse import enqueue_sse_message, enqueue_sse_message_sync
from sse.live import gaps, upkeep
from sse.log import store
from sse.log.targets import CONTROL
from sse.models import Event, Target
from sse.revocation import close_streams
from tests.hubs import OpenedStream, on_a_thread, serving_hub, until

pytestmark = pytest.mark.django_db(transaction=True)

NEVER = 3600.0


@pytest.fixture(autouse=True)
def check_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "CHECK_SECONDS", 0.2)


@pytest.fixture
def check_never(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CHECK_SECONDS", "TAIL_SECONDS"):
        monkeypatch.setattr(upkeep, name, NEVER)


def note(number: int) -> dict[str, Any]:
    return {"type": "note", "payload": {"n": number}}


def set_back(target: str, seq: int) -> None:
    """As a backup that was made when the log had come so far."""
    Event.objects.filter(target__name=target, seq__gt=seq).delete()
    Target.objects.filter(name=target).update(last_seq=seq)


async def send(*numbers: int) -> str:
    cursor = ""
    for number in numbers:
        cursor = await enqueue_sse_message("a", note(number))
    return cursor


def notes(stream: OpenedStream) -> list[int]:
    return [int(number) for number in re.findall(r'"n":(\d+)', stream.text)]


def test_streams_read_their_state_again_and_lost_cursors_are_foreign() -> None:
    async def scene() -> None:
        async with serving_hub(), OpenedStream("a") as stream:
            lost = await send(1, 2, 3, 4, 5)
            await stream.wait_for('"n":5')
            await on_a_thread(lambda: set_back("a", 2))
            await stream.wait_for('"type":"reset","payload":{"reason":"log replaced"}')
            await send(6, 7, 8, 9)
            await stream.wait_for('"n":9')
            assert notes(stream) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
            assert stream.text.count('"reset"') == 1
            # The log has grown past the number that the client knows.
            async with OpenedStream("a", after=lost) as again:
                await again.wait_for('"type":"reset"')
                assert notes(again) == []
            kept = await on_a_thread(lambda: sse.cursor("a"))
            assert kept.split("-")[0] != lost.split("-")[0]

    asyncio.run(scene())


@pytest.mark.usefixtures("check_never")
@pytest.mark.parametrize("window", ["full", "empty"])
def test_new_events_under_old_numbers_are_noticed_as_they_come(window: str) -> None:
    """Also if there are soon more of them than there were."""

    async def scene() -> None:
        async with serving_hub():
            seen, more = ((), (6, 7, 8, 9)) if window == "full" else ((1, 2, 3, 4, 5), (6, 7))
            await send(*seen)
            async with OpenedStream("a") as stream:
                if window == "full":
                    await send(1, 2, 3, 4, 5)
                    await stream.wait_for('"n":5')
                await on_a_thread(lambda: set_back("a", 2))
                await send(*more)
                await stream.wait_for('"reason":"log replaced"')
                await send(10)
                await stream.wait_for('"n":10')

    asyncio.run(scene())


def test_whoever_is_connected_proves_itself_again_when_revocations_were_lost() -> None:
    async def scene() -> None:
        async with serving_hub() as served, OpenedStream("a"):
            await until(lambda: served.revocations.heeded)
            for _ in range(2):
                await on_a_thread(lambda: close_streams("nobody"))
            await until(lambda: served.topics[CONTROL].seq == 2)
            await on_a_thread(lambda: set_back(CONTROL, 1))
            await until(lambda: not served.census.streams)
            assert served.topics[CONTROL].seq == 1

    asyncio.run(scene())


def test_renewed_epochs_reach_open_streams_and_make_all_cursors_foreign() -> None:
    async def scene() -> None:
        async with serving_hub() as served:
            await until(lambda: served.revocations.heeded)
            known = await send(1)
            await enqueue_sse_message("b", note(1))
            async with OpenedStream("a", after=known) as stream:
                said = io.StringIO()
                await on_a_thread(lambda: call_command("renew_epochs", stdout=said))
                assert re.fullmatch(r"\d+ targets have a new epoch\.\n", said.getvalue())
                await stream.ended()
            async with OpenedStream("a", after=known) as stream:
                await stream.wait_for('"type":"reset"')
                await send(2)
                await stream.wait_for('"n":2')

    asyncio.run(scene())
    epochs = list(Target.objects.values_list("epoch", flat=True))
    assert {len(epoch) for epoch in epochs} == {16}
    assert len(set(epochs)) == len(epochs)


def test_a_position_read_before_an_event_arrived_is_not_an_older_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scene() -> None:
        async with serving_hub() as served, OpenedStream("a") as stream:
            first = await send(1)
            await stream.wait_for('"n":1')
            read, overtaken = asyncio.Event(), asyncio.Event()
            at_once = served.runtime.database

            async def slow(work: Callable[..., Any], *args: Any, **how: Any) -> Any:
                result = await at_once(work, *args, **how)
                if work is gaps._positions and not overtaken.is_set():
                    read.set()
                    await overtaken.wait()
                return result

            monkeypatch.setattr(served.runtime, "database", slow)
            await read.wait()
            await send(2, 3)
            await stream.wait_for('"n":3')
            overtaken.set()
            checked = served.runtime.supervisor._kept["check"].pulse_at
            await until(lambda: served.runtime.supervisor._kept["check"].pulse_at > checked)
            last = await send(4)
            await stream.wait_for('"n":4')
            assert "reset" not in stream.text
            assert last == first.replace("-1", "-4")

    asyncio.run(scene())


def test_a_page_of_a_replaced_log_is_empty() -> None:
    """The row may even be another target's."""
    enqueue_sse_message_sync("a", note(1))
    at = store.position("a")
    assert len(store.read(at.target_id, at.epoch, after=0, limit=9, most=999)) == 1

    renewed = store.renew("a", at.epoch, None)

    assert store.read(at.target_id, at.epoch, after=0, limit=9, most=999) == []
    assert len(store.read(at.target_id, renewed.epoch, after=0, limit=9, most=999)) == 1


def test_an_epoch_is_renewed_once_and_only_where_the_log_ends_before() -> None:
    for number in range(3):
        enqueue_sse_message_sync("a", note(number))
    at = store.position("a")

    assert store.renew("a", at.epoch, 3) == at
    renewed = store.renew("a", at.epoch, 4)
    assert (renewed.epoch != at.epoch, renewed.seq) == (True, 3)
    assert store.renew("a", at.epoch, 4) == renewed


@pytest.mark.usefixtures("check_never")
def test_a_check_goes_on_where_the_one_before_ran_out_of_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Thousands of targets, or rows that are locked, would keep one for minutes."""
    monkeypatch.setattr(gaps, "LOOKS_SECONDS", 0.0)

    async def scene() -> None:
        async with (
            serving_hub() as hub,
            OpenedStream("a"),
            OpenedStream("b"),
            OpenedStream("c"),
        ):
            hub.topics["a"].doubted = hub.topics["b"].doubted = hub.topics["c"].doubted = True
            for left in (2, 1, 0):
                await hub.gaps.check()
                assert sum(topic.doubted for topic in hub.topics.values()) == left

    asyncio.run(scene())


@pytest.mark.vendor("postgresql")
def test_writers_are_not_in_the_way_of_renewing_all_nor_it_in_theirs() -> None:
    """A verb writes to its session's target first, and then to the older one of all agents."""
    before = [store.append("all agents", "{}").epoch, store.append("session", "{}").epoch]

    def renew() -> int:
        try:
            return store.renew_all()
        finally:
            connection.close()

    def is_waited_for() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_locks "
                "WHERE NOT granted AND transactionid = pg_current_xact_id()::xid"
            )
            return bool(cursor.fetchone()[0])

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            store.append("session", "{}")
            renewing = pool.submit(renew)
            while not is_waited_for():
                assert not renewing.done()
                time.sleep(0.01)
            store.append("all agents", "{}")
        assert renewing.result() == Target.objects.count()
    after = [store.position("all agents"), store.position("session")]
    assert [at.seq for at in after] == [2, 2]
    assert not {at.epoch for at in after} & set(before)
