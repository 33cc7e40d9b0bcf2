"""enqueue and subscribe, within one process and without a server."""

import asyncio
import json
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, nullcontext
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection, transaction
from hypothesis import HealthCheck, given
from hypothesis import settings as tried
from hypothesis import strategies as st
from pytest_django import Settings

import sse
from sse import enqueue_sse_message, enqueue_sse_message_sync, subscribe_sse_events
from sse.exceptions import EventTooLarge, InvalidEvent, InvalidTarget
from sse.live.hub import get_hub
from sse.log import cursors, store
from sse.log.targets import readable, storable
from sse.models import Event, Target
from tests.hubs import end, until

pytestmark = pytest.mark.django_db(transaction=True)

NOTE = {"type": "note", "payload": {"n": 0}}


@pytest.fixture(autouse=True)
def ended_hub(transactional_db: None) -> Iterator[None]:
    """A hub that has listened watches the log until it is closed, or its process ends."""
    yield
    end(get_hub())


@pytest.fixture
def a() -> str:
    return f"a-{uuid.uuid4()}"


def note(number: int) -> dict[str, Any]:
    return {"type": "note", "payload": {"n": number}}


async def numbers(events: AsyncIterator[Any], count: int) -> list[int]:
    """The next `count` events' numbers; fails after ten seconds."""
    found = []
    async with asyncio.timeout(10):
        async for event in events:
            found.append(event["payload"]["n"])
            if len(found) == count:
                break
    return found


def collect(target: str, after: str | None, count: int) -> list[int]:
    async def run() -> list[int]:
        async with aclosing(subscribe_sse_events(target, after=after)) as events:
            return await numbers(events, count)

    return async_to_sync(run)()


def test_events_of_a_target_are_numbered_without_gaps(a: str) -> None:
    found = [enqueue_sse_message_sync(a, note(n)) for n in range(3)]
    other = enqueue_sse_message_sync("b", NOTE)

    epoch = found[0].split("-")[0]
    assert found == [f"{epoch}-1", f"{epoch}-2", f"{epoch}-3"]
    assert other.endswith("-1")
    assert not other.startswith(epoch)


def test_a_subscriber_gets_what_was_enqueued_after_its_cursor_in_order(a: str) -> None:
    start = sse.cursor(a)
    for n in range(700):
        enqueue_sse_message_sync(a, note(n))

    assert collect(a, start, 700) == list(range(700))


def test_live_events_reach_a_subscriber_that_waits(a: str) -> None:
    async def run() -> list[int]:
        async with aclosing(subscribe_sse_events(a)) as events:
            reading = asyncio.create_task(numbers(events, 3))
            while not reading.done():
                for n in range(3):
                    await enqueue_sse_message(a, note(n))
                await asyncio.sleep(0.01)
            return reading.result()

    found = async_to_sync(run)()
    # Wherever in the rounds it began, it missed nothing from there on.
    assert found in ([0, 1, 2], [1, 2, 0], [2, 0, 1])


def test_nothing_goes_out_before_commit_and_nothing_after_rollback(a: str) -> None:
    start = sse.cursor(a)
    with transaction.atomic():
        enqueue_sse_message_sync(a, note(1))
        enqueue_sse_message_sync(a, note(2), durable=False)
        transaction.set_rollback(True)
    with transaction.atomic():
        enqueue_sse_message_sync(a, note(3))
    enqueue_sse_message_sync(a, note(4))

    assert collect(a, start, 2) == [3, 4]
    assert list(Event.objects.values_list("seq", flat=True)) == [1, 2]


@pytest.mark.parametrize("in_transaction", [True, False])
def test_a_change_that_is_made_is_not_refused_because_its_event_cannot_be_published(
    a: str, in_transaction: bool, settings: Settings
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "no.such.Layer"}}

    with transaction.atomic() if in_transaction else nullcontext():
        cursor = enqueue_sse_message_sync(a, note(1))

    assert cursor == sse.cursor(a)
    del settings.CHANNEL_LAYERS
    assert collect(a, cursor.replace("-1", "-0"), 1) == [1]


def test_concurrent_writers_leave_no_gap_and_no_double(a: str) -> None:
    start = sse.cursor(a)

    def write() -> None:
        try:
            for n in range(25):
                enqueue_sse_message_sync(a, note(n))
        finally:
            connection.close()

    writers = [threading.Thread(target=write) for _ in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert list(Event.objects.order_by("seq").values_list("seq", flat=True)) == list(
        range(1, 201)
    )
    assert sorted(collect(a, start, 200)) == sorted(list(range(25)) * 8)


@pytest.mark.parametrize(
    ("cursor", "reason"),
    [
        ("nonsense", "malformed"),
        ("0123abcd-1", "unknown"),
        ("{epoch}-99", "future"),
        ("{other}-1", "unknown"),
        ("{epoch}-0", "trimmed"),
    ],
)
def test_a_cursor_that_cannot_be_honoured_is_answered_by_one_reset_and_then_live(
    a: str, cursor: str, reason: str
) -> None:
    epoch = enqueue_sse_message_sync(a, note(1)).split("-")[0]
    enqueue_sse_message_sync(a, note(2))
    other = enqueue_sse_message_sync("b", note(1)).split("-")[0]
    Event.objects.filter(target__name=a, seq=1).delete()

    async def run() -> tuple[dict[str, Any], dict[str, Any]]:
        after = cursor.format(epoch=epoch, other=other)
        async with aclosing(subscribe_sse_events(a, after=after)) as events:
            async with asyncio.timeout(10):
                first = await anext(events)
                await enqueue_sse_message(a, note(3))
                return first, await anext(events)  # type: ignore[return-value]

    reset, live = async_to_sync(run)()
    assert (reset["type"], reset["payload"]) == ("reset", {"reason": reason})
    assert reset["id"] == f"{epoch}-2"
    assert live["payload"] == {"n": 3}


def test_epochs_have_64_bits_and_earlier_ones_are_still_good(a: str) -> None:
    epoch = enqueue_sse_message_sync(a, note(1)).split("-")[0]
    assert len(epoch) == 16

    Target.objects.filter(name=a).update(epoch="0123abcd")
    enqueue_sse_message_sync(a, note(2))
    assert collect(a, "0123abcd-1", 1) == [2]


def test_a_target_whose_log_was_lost_resets_its_readers(a: str) -> None:
    async def run() -> list[str]:
        seen = []
        async with aclosing(subscribe_sse_events(a, after=start)) as events:
            async with asyncio.timeout(10):
                seen.append((await anext(events))["type"])
                await asyncio.to_thread(forget)
                await enqueue_sse_message(a, note(2))
                seen.append((await anext(events))["type"])
        return seen

    def forget() -> None:
        Target.objects.all().delete()
        connection.close()

    start = sse.cursor(a)
    enqueue_sse_message_sync(a, note(1))
    assert async_to_sync(run)() == ["note", "reset"]


def test_an_ephemeral_event_behind_a_barrier_is_not_delivered(a: str) -> None:
    start = sse.cursor(a)
    begun = enqueue_sse_message_sync(a, note(1))

    async def run() -> list[int]:
        async with aclosing(subscribe_sse_events(a, after=start)) as events:
            first = await numbers(events, 1)
            await enqueue_sse_message(a, note(2), durable=False, since=begun)
            second = await numbers(events, 1)
            await enqueue_sse_message(a, note(3), barrier=True)
            await enqueue_sse_message(a, note(4), durable=False, since=begun)
            await enqueue_sse_message(a, note(5))
            return first + second + await numbers(events, 2)

    assert async_to_sync(run)() == [1, 2, 3, 5]


@pytest.mark.parametrize("resumed", ["at the barrier", "before it", "now"])
def test_a_barrier_is_known_to_those_who_come_after_it(a: str, resumed: str) -> None:
    begun = enqueue_sse_message_sync(a, note(1))
    barrier = enqueue_sse_message_sync(a, note(2), barrier=True)
    after = {"at the barrier": barrier, "before it": begun, "now": None}[resumed]

    async def run() -> list[int]:
        async with aclosing(subscribe_sse_events(a, after=after)) as events:
            reading = asyncio.create_task(anext(events))
            await until(lambda: a in get_hub().topics and get_hub().topics[a].followers)
            await enqueue_sse_message(a, note(3), durable=False, since=begun)
            await enqueue_sse_message(a, note(4), durable=False, since=barrier)
            await enqueue_sse_message(a, note(5))
            found = [(await reading)["payload"]["n"]]
            while found[-1] != 5:
                found += await numbers(events, 1)
            return found

    found = async_to_sync(run)()
    if resumed == "before it":
        # Whoever still reads from the log may miss what is not in it.
        assert found in ([2, 4, 5], [2, 5])
    else:
        assert found == [4, 5]


def test_the_first_to_subscribe_may_be_on_a_loop_of_its_own(a: str) -> None:
    """In debug mode a loop refuses what another thread gives it in the wrong way."""
    start = enqueue_sse_message_sync(a, note(1))
    get_hub().loop.set_debug(True)
    enqueue_sse_message_sync(a, note(2))
    assert collect(a, start, 1) == [2]


@pytest.mark.parametrize("target", ["", "x" * 201, None, 7])
def test_a_bad_target_is_refused(target: Any) -> None:
    with pytest.raises(InvalidTarget):
        enqueue_sse_message_sync(target, NOTE)
    assert not Event.objects.exists()


@pytest.mark.parametrize(
    "event",
    [
        {"type": "a", "payload": {"n": float("nan")}},
        {"type": "a", "payload": {"n": object()}},
        {"type": "a", "payload": [1]},
        {"type": "", "payload": {}},
        {"payload": {}},
        {"type": "a", "payload": {}, "id": 3},
        "text",
    ],
)
def test_what_json_cannot_carry_is_refused_and_nothing_is_sent(a: str, event: Any) -> None:
    with pytest.raises(InvalidEvent):
        enqueue_sse_message_sync(a, event)
    with pytest.raises(InvalidEvent):
        async_to_sync(enqueue_sse_message)(a, event, durable=False)
    assert not Event.objects.exists()


def test_a_payload_may_have_64_kib_and_not_a_byte_more(a: str) -> None:
    frame = len(json.dumps({"n": ""}, separators=(",", ":")))
    largest = {"n": "x" * (64 * 1024 - frame)}

    assert enqueue_sse_message_sync(a, {"type": "big", "payload": largest})
    with pytest.raises(EventTooLarge):
        enqueue_sse_message_sync(a, {"type": "big", "payload": {"n": largest["n"] + "x"}})


ANY_TEXT = st.text(st.characters(), max_size=40)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)


@tried(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    target=st.text(st.characters(), min_size=1, max_size=200),
    payload=st.dictionaries(ANY_TEXT, JSON, max_size=4),
)
def test_any_target_and_any_json_come_back_as_they_were(
    target: str, payload: dict[str, Any]
) -> None:
    start = sse.cursor(target)
    enqueue_sse_message_sync(target, {"type": "any", "payload": payload})

    async def run() -> Any:
        async with aclosing(subscribe_sse_events(target, after=start)) as events:
            async with asyncio.timeout(10):
                return await anext(events)

    assert async_to_sync(run)()["payload"] == payload


@given(st.text(st.characters(), min_size=1, max_size=200))
def test_storable_names_are_one_to_one(name: str) -> None:
    assert readable(storable(name)) == name


def test_pruning_keeps_the_latest_and_forgets_the_old(a: str) -> None:
    for n in range(10):
        enqueue_sse_message_sync(a, note(n))
    enqueue_sse_message_sync("b", note(0))

    assert store.prune(hours=1, events=4) == 6
    assert sorted(Event.objects.values_list("target__name", "seq")) == [
        (a, 7), (a, 8), (a, 9), (a, 10), ("b", 1),
    ]  # fmt: skip
    assert store.prune(hours=0, events=100) == 5


EPOCHS = st.from_regex(r"[0-9a-f]{8}|[0-9a-f]{16}", fullmatch=True)


@given(st.dictionaries(EPOCHS, st.integers(0, 10**15)))
def test_cursors_of_several_targets_are_read_as_they_were_joined(at: dict[str, int]) -> None:
    joined = cursors.join(cursors.one(epoch, seq) for epoch, seq in at.items())
    assert (cursors.parse(joined) or {}) == at
