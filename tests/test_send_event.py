"""send_event: what may be sent, what becomes of it, and when it goes out."""

import asyncio
import io
import json
import uuid
from collections.abc import Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from decimal import Decimal
from types import ModuleType
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.management import CommandError, call_command
from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction
from django.template import RequestContext, Template
from django.test import RequestFactory
from django.urls import path
from django.utils.functional import lazystr
from django.utils.safestring import mark_safe
from pytest_django import Settings

import sse
from sse.exceptions import EventTooLarge, InvalidEvent, InvalidTarget
from sse.live.hub import get_hub
from sse.log.encoding import DATA_MAX_BYTES
from sse.models import Event
from tests.hubs import end

pytestmark = pytest.mark.django_db(transaction=True)

KIB_64 = "x" * DATA_MAX_BYTES


@pytest.fixture(autouse=True)
def ended_hub(transactional_db: None) -> Iterator[None]:
    yield
    end(get_hub())


def received(channel: str, after: str, count: int) -> list[Any]:
    """The type and the payload of each of the next events."""

    async def run() -> list[Any]:
        found = []
        async with aclosing(sse.subscribe_sse_events(channel, after=after)) as events:
            async with asyncio.timeout(10):
                async for event in events:
                    found.append((event["type"], event["payload"]))
                    if len(found) == count:
                        break
        return found

    return async_to_sync(run)()


def stored() -> list[dict[str, Any]]:
    texts = Event.objects.order_by("pk").values_list("data", flat=True)
    events = [json.loads(text) for text in texts]
    assert all(isinstance(event.pop("timestamp"), float) for event in events)
    return events


def test_any_json_is_sent_in_its_form() -> None:
    start = sse.cursor("room")
    sent = [{"text": "hello"}, {}, [1, 2], "text", 7, None, True]

    cursors = [sse.send_event("room", "any", data) for data in sent]

    epoch = start.partition("-")[0]
    assert cursors == [f"{epoch}-{number}" for number in range(1, 8)]
    wanted = [data if isinstance(data, dict) else {"data": data} for data in sent]
    assert received("room", start, 7) == [("any", payload) for payload in wanted]
    assert stored() == [
        {"type": "any", "payload": data}
        if isinstance(data, dict)
        else {"type": "any", "form": "json", "payload": {"data": data}}
        for data in sent
    ]


def test_what_django_knows_becomes_json() -> None:
    key = uuid.uuid4()
    start = sse.cursor("room")

    sse.send_event(
        "room",
        "order",
        {
            "at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
            "price": Decimal("9.90"),
            "key": key,
            "title": lazystr("hello"),
        },
    )

    assert received("room", start, 1) == [
        (
            "order",
            {"at": "2026-01-02T03:04:05Z", "price": "9.90", "key": str(key), "title": "hello"},
        )
    ]


class Money:
    def __init__(self, cents: int) -> None:
        self.cents = cents


class WithMoney(DjangoJSONEncoder):
    def default(self, value: Any) -> Any:
        return {"cents": value.cents} if isinstance(value, Money) else super().default(value)


class OnManyLines(DjangoJSONEncoder):
    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "indent": 2})


def test_a_projects_encoder_is_used(settings: Settings) -> None:
    start = sse.cursor("room")
    with pytest.raises(InvalidEvent):
        sse.send_event("room", "paid", Money(5))
    settings.SSE_JSON_ENCODER = f"{__name__}.WithMoney"

    sse.send_event("room", "paid", Money(5))
    settings.SSE_JSON_ENCODER = f"{__name__}.OnManyLines"
    with pytest.raises(InvalidEvent, match="one line"):
        sse.send_event("room", "paid", {"cents": 5})

    assert received("room", start, 1) == [("paid", {"cents": 5})]


def test_text_is_sent_as_it_is() -> None:
    start = sse.cursor("room")
    row = mark_safe('<tr id="1">\n  <td>"é"</td>\r\n</tr>\n')

    for text in (row, "", "plain"):
        assert sse.send_event("room", "row", text, json_encode=False)

    assert received("room", start, 3) == [
        ("row", {"data": text}) for text in (str(row), "", "plain")
    ]
    assert {event["form"] for event in stored()} == {"text"}


@pytest.mark.parametrize(
    ("name", "data", "form"),
    [
        ("a", float("nan"), {}),
        ("a", {"n": float("inf")}, {}),
        ("a", {"n": object()}, {}),
        ("a", {(1, 2): 3}, {}),
        ("", {}, {}),
        ("error", {}, {}),
        ("sse-reset", {}, {}),
        ("two\nlines", {}, {}),
        ("a", {}, {"json_encode": False}),
        ("a", b"bytes", {"json_encode": False}),
        ("a", lazystr("later"), {"json_encode": False}),
        ("a", None, {"json_encode": False}),
        ("a", "\ud800", {"json_encode": False}),
    ],
)
def test_what_cannot_be_sent_is_refused_and_nothing_is_sent(
    name: str, data: Any, form: dict[str, Any]
) -> None:
    for durable in (True, False):
        with pytest.raises(InvalidEvent):
            sse.send_event("room", name, data, durable=durable, **form)
        with pytest.raises(InvalidEvent):
            async_to_sync(sse.asend_event)("room", name, data, durable=durable, **form)
    if isinstance(data, dict) and not form:
        with pytest.raises(InvalidEvent):
            sse.enqueue_sse_message_sync("room", {"type": name, "payload": data})
    with pytest.raises(InvalidTarget):
        sse.send_event("", "a", {})
    assert not Event.objects.exists()


@pytest.mark.parametrize(
    ("fits", "json_encode"), [(KIB_64, False), (KIB_64[2:], True), ("é" * (32 * 1024), False)]
)
def test_data_may_have_64_kib_and_not_a_byte_more(fits: str, json_encode: bool) -> None:
    assert sse.send_event("room", "big", fits, json_encode=json_encode)
    with pytest.raises(EventTooLarge):
        sse.send_event("room", "big", fits + "x", json_encode=json_encode)


def test_an_event_is_part_of_its_transaction() -> None:
    start = sse.cursor("room")
    with transaction.atomic():
        sse.send_event("room", "undone", 1)
        sse.send_event("room", "undone", 1, durable=False)
        async_to_sync(sse.asend_event)("room", "undone", 1)
        transaction.set_rollback(True)
    with transaction.atomic():
        async_to_sync(sse.asend_event)("room", "done", 1)
        sse.send_event("room", "done", 2)
        assert not get_hub().outbox.busy
        assert get_hub().counts.published == 0
    assert get_hub().counts.published == 2

    assert received("room", start, 2) == [("done", {"data": 1}), ("done", {"data": 2})]


def test_ephemeral_events_reach_those_who_listen_and_are_not_kept() -> None:
    async def run() -> list[str]:
        async with aclosing(sse.subscribe_sse_events("room")) as events:
            reading = asyncio.create_task(anext(events))
            async with asyncio.timeout(10):
                while not reading.done():
                    cursor = await sse.asend_event("room", "typing", "é", durable=False)
                    await asyncio.sleep(0.01)
            event = reading.result()
            return [cursor, event["id"], event["type"], event["payload"]["data"]]

    assert async_to_sync(run)() == ["", "", "typing", "é"]
    assert not Event.objects.exists()


def command(*args: str) -> str:
    printed = io.StringIO()
    call_command("send_event", *args, stdout=printed)
    return printed.getvalue().strip()


def test_the_command_sends_json_and_text_and_prints_the_cursor() -> None:
    start = sse.cursor("room")

    cursors = [
        command("room", "message", '{"text": "hello"}'),
        command("room", "row", "<p>1</p>", "--text"),
        command("room", "typing", "true", "--ephemeral"),
    ]

    epoch = start.partition("-")[0]
    assert cursors == [f"{epoch}-1", f"{epoch}-2", ""]
    assert received("room", start, 2) == [
        ("message", {"text": "hello"}),
        ("row", {"data": "<p>1</p>"}),
    ]


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("room", "message", "{text: hello}"), "no JSON .*--text sends text"),
        (("room", "message", "NaN"), "JSON cannot carry"),
        (("room", "error", "{}"), "is not an event's name"),
        (("", "message", "{}"), "empty"),
        (("room", "message", KIB_64 + "x", "--text"), "65537 bytes"),
    ],
)
def test_the_command_says_what_it_cannot_send(args: tuple[str, ...], why: str) -> None:
    with pytest.raises(CommandError, match=why):
        command(*args)
    assert not Event.objects.exists()


def rendered(source: str, **context: Any) -> str:
    template = Template("{% load sse %}" + source)
    return template.render(RequestContext(RequestFactory().get("/"), context))


def test_a_template_has_the_address_of_a_stream_after_a_cursor(settings: Settings) -> None:
    urls = ModuleType("urls")
    urls.urlpatterns = [  # type: ignore[attr-defined]
        path("events/<slug:room>/<int:page>/", lambda _: None, name="room-events")
    ]
    settings.ROOT_URLCONF = urls
    cursor = sse.cursor("a", "b")

    assert rendered('{% sse_url "room-events" "x" 2 %}') == "/events/x/2/"
    assert rendered('{% sse_url "room-events" "x" n after=c %}', n=2, c=cursor) == (
        f"/events/x/2/?last_event_id={cursor}"
    )
    assert (
        rendered(
            '{% sse_url "room-events" room="x" page=2 after=c as url %}{{ url }}', c="a&b <"
        )
        == "/events/x/2/?last_event_id=a%26b+%3C"
    )


def test_a_cursor_may_be_read_for_several_channels() -> None:
    one = sse.send_event("a", "n", 1)
    two = sse.send_event("b", "n", 1)

    assert sse.cursor("a", "b") == f"{one}~{two}"
    assert async_to_sync(sse.acursor)("b") == two
    assert sse.cursor() == ""
    with pytest.raises(InvalidTarget):
        sse.cursor("")
