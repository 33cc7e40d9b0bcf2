"""sse.test, as a project's own tests use it."""

import asyncio
import threading
from types import ModuleType
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth import aget_user, get_user_model
from django.core.exceptions import PermissionDenied
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.test import TestCase, TransactionTestCase
from django.urls import path
from pytest_django import Settings

import sse
from sse.asgi import get_asgi_application
from sse.live.hub import get_hub
from sse.models import Event, Process, Target
from sse.process.runtime import get_runtime
from sse.test import CapturedEvent, StreamCommunicator, StreamEnded, StreamEvent, capture_events

# --- the project ----------------------------------------------------------------------------


def room_events(request: HttpRequest, room: str) -> list[str] | HttpResponse:
    if not request.user.is_authenticated:
        raise PermissionDenied
    if room == "gone":
        return HttpResponse("moved away", status=410, headers={"X-Why": "gone"})
    return [f"room-{room}", f"user-{request.user.get_username()}"]


async def later(request: HttpRequest) -> str:
    user = await aget_user(request)
    return f"user-{user.get_username()}" if user.is_authenticated else "nobody"


urls = ModuleType("urls")
urls.urlpatterns = [  # type: ignore[attr-defined]
    path("rooms/<slug:room>/events/", sse.stream(room_events)),
    path("open/", sse.stream("room-42")),
    path("plain/", sse.stream("room-42", named=False)),
    path("later/", sse.stream(later)),
]


@pytest.fixture(autouse=True)
def project(settings: Settings) -> None:
    settings.ROOT_URLCONF = urls


def ann() -> Any:
    return get_user_model().objects.get_or_create(username="ann")[0]


def hello(number: int = 1) -> None:
    sse.send_event("room-42", "message", {"n": number})


class InTestCase(TestCase):
    """Everything is in one transaction that is never committed."""

    def setUp(self) -> None:
        self.ann = ann()

    async def test_a_stream_gets_what_is_sent_in_the_tests_transaction(self) -> None:
        async with StreamCommunicator("/rooms/42/events/", user=self.ann) as stream:
            with self.captureOnCommitCallbacks(execute=True):
                cursor = await sse.asend_event("room-42", "message", {"text": "hello"})
                await sync_to_async(sse.send_event)("user-ann", "row", "<p>", json_encode=False)
                assert await stream.receive_nothing()
            first = await stream.receive()
            second = await stream.receive()

            assert stream.response is not None
            assert stream.response.status == 200
            assert stream.response.headers["Content-Type"] == "text/event-stream"
            assert list(stream.connected) == ["cursor"]
            assert (first.name, first.data) == ("message", {"text": "hello"})
            assert cursor in first.id.split("~")
            assert (second.name, second.data) == ("row", "<p>")
            assert await stream.receive_nothing()

    async def test_a_stream_resumes_in_the_tests_transaction(self) -> None:
        start = await sse.acursor("room-42")
        await sync_to_async(hello)(1)
        for address, headers in (
            (f"/open/?last_event_id={start}", {}),
            ("/open/", {"Last-Event-ID": start}),
        ):
            async with StreamCommunicator(address, headers=headers) as stream:
                assert (await stream.receive()).data == {"n": 1}

    async def test_an_asynchronous_function_leaves_the_transaction_alone(self) -> None:
        async with StreamCommunicator("/later/", user=self.ann) as stream:
            with self.captureOnCommitCallbacks(execute=True):
                await sse.asend_event("user-ann", "message", 1)
            assert (await stream.receive()).data == 1
        assert await get_user_model().objects.aget() == self.ann

    async def test_a_refusal_is_an_answer(self) -> None:
        async with StreamCommunicator("/rooms/42/events/") as stream:
            assert stream.response is not None
            assert stream.response.status == 403
            assert stream.response.json()["error"]["code"]
            with pytest.raises(StreamEnded, match="403"):
                await stream.receive()
        async with StreamCommunicator("/rooms/gone/events/", user=self.ann) as stream:
            assert stream.response is not None
            assert (stream.response.status, stream.response.body) == (410, b"moved away")
            assert stream.response.headers["x-why"] == "gone"
        with pytest.raises(LookupError, match="no stream at /nowhere/"):
            async with StreamCommunicator("/nowhere/"):
                pass

    async def test_several_streams_share_the_hub_and_unnamed_ones_read_alike(self) -> None:
        async with StreamCommunicator("/open/") as first:
            async with StreamCommunicator("/plain/") as second:
                with self.captureOnCommitCallbacks(execute=True):
                    for data in ({"n": 1}, [2], "text"):
                        await sse.asend_event("room-42", "message", data)
                for stream in (first, second):
                    found = [(await stream.receive()).data for _ in range(3)]
                    assert found == [{"n": 1}, [2], "text"]
            await sse.asend_event("room-42", "typing", None, durable=False)
            assert await first.receive() == StreamEvent("typing", None, "")

    def test_closing_streams_and_presence_work(self) -> None:
        async def listen() -> None:
            async with StreamCommunicator("/rooms/42/events/", user=self.ann) as stream:
                [reader] = await sse.apresence("user-ann")
                assert reader["user_id"] == self.ann.pk
                await sync_to_async(close)()
                await stream.ended()
                with pytest.raises(StreamEnded):
                    await stream.receive()
            assert await sse.apresence("user-ann") == []

        def close() -> None:
            with self.captureOnCommitCallbacks(execute=True):
                sse.close_streams(self.ann)

        async_to_sync(listen)()
        assert not Process.objects.exists()

    def test_the_projects_application_may_be_asked(self) -> None:
        ran: list[object] = []

        async def work(pulse: object) -> None:
            ran.append(pulse)

        application = get_asgi_application(work=[work])
        self.client.force_login(self.ann)

        async def listen() -> None:
            cookies = self.client.cookies
            async with StreamCommunicator(
                application, "/rooms/42/events/", cookies=cookies
            ) as stream:
                with self.captureOnCommitCallbacks(execute=True):
                    await sync_to_async(hello)()
                assert (await stream.receive()).data == {"n": 1}
            async with StreamCommunicator(application, "/elsewhere/") as other:
                assert other.response is not None
                assert other.response.status == 404

        async_to_sync(listen)()
        assert not ran

    def test_what_is_not_on_commit_of_the_project_is_not_added_to(self) -> None:
        with self.captureOnCommitCallbacks() as callbacks, capture_events():
            hello()
        assert len(callbacks) == 1

    def test_events_are_recorded_at_the_call_and_dropped_with_their_savepoint(self) -> None:
        with capture_events() as events:
            hello(1)
            assert events == [CapturedEvent("room-42", "message", {"n": 1}, True)]
            with transaction.atomic():
                hello(2)
                sse.send_event("room-42", "typing", True, durable=False)
                assert len(events) == 3
                transaction.set_rollback(True)
            with transaction.atomic():
                sse.enqueue_sse_message_sync("a\0", {"type": "n", "payload": {}}, durable=False)
            sse.send_event("room-42", "row", "<p>", json_encode=False)
            sse.close_streams("somebody")
        hello(3)

        (first, *rest) = events
        assert first.data == {"n": 1}
        assert rest == [
            CapturedEvent("a\0", "n", {}, False),
            CapturedEvent("room-42", "row", "<p>", True),
        ]
        assert events[1:] == rest
        assert "row" in repr(events)

    async def test_what_asynchronous_code_sends_is_recorded(self) -> None:
        with capture_events() as events:
            await sse.asend_event("a", "durable", 1)
            await sse.asend_event("a", "ephemeral", 2, durable=False)
        assert [(each.name, each.durable) for each in events] == [
            ("durable", True),
            ("ephemeral", False),
        ]


class InTransactionTestCase(TransactionTestCase):
    async def test_a_stream_gets_what_was_committed(self) -> None:
        user = await sync_to_async(ann)()
        async with StreamCommunicator("/rooms/42/events/", user=user) as stream:
            await sse.asend_event("room-42", "message", 1)
            await sync_to_async(self.rolled_back)()
            await sync_to_async(hello)(2)
            assert [(await stream.receive()).data for _ in range(2)] == [1, {"n": 2}]
            assert await stream.receive_nothing()

    def rolled_back(self) -> None:
        with capture_events() as events, transaction.atomic():
            hello()
            assert len(events) == 1
            transaction.set_rollback(True)
        assert events == []

    def test_what_other_threads_send_is_recorded_and_blocks_may_be_nested(self) -> None:
        def send() -> None:
            hello(2)
            connection.close()

        with capture_events() as outer:
            hello(1)
            with capture_events() as inner:
                thread = threading.Thread(target=send)
                thread.start()
                thread.join()
            hello(3)

        assert [each.data["n"] for each in outer] == [1, 2, 3]
        assert [each.data["n"] for each in inner] == [2]
        assert Event.objects.count() == 3


@pytest.mark.django_db
def test_under_pytest(django_capture_on_commit_callbacks: Any) -> None:
    async def listen() -> StreamEvent:
        async with StreamCommunicator("/rooms/42/events/", user=user) as stream:
            with django_capture_on_commit_callbacks(execute=True):
                await sync_to_async(hello)()
            return await stream.receive()

    user = ann()
    assert async_to_sync(listen)().data == {"n": 1}


@pytest.mark.django_db
def test_the_process_has_its_own_hub_again_and_nothing_was_done_behind_the_tests_back() -> None:
    statements: list[str] = []

    def note(execute: Any, sql: str, *rest: Any) -> Any:
        statements.append(sql)
        return execute(sql, *rest)

    async def listen() -> None:
        async with StreamCommunicator("/open/") as stream:
            assert get_hub() is not before
            assert get_runtime() is get_hub().runtime
            assert get_hub().loop is asyncio.get_running_loop()
            count = len(statements)
            assert await stream.receive_nothing(0.5)
            assert len(statements) == count > 0

    before = get_hub()
    with connection.execute_wrapper(note):
        async_to_sync(listen)()
    assert get_hub() is before
    assert set(Target.objects.values_list("name", flat=True)) == {"room-42", "sse:control"}
