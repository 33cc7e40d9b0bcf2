"""Who reads a channel, over all processes, and what ends their streams by itself."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model, login
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection, transaction
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

import sse
from sse.live.subjects import subject_of_session, subject_of_user
from sse.log.targets import CONTROL
from sse.models import FurtherChannel, OpenStream, Process
from sse.process import registry
from sse.process.registry import Opened
from tests.hubs import OpenedStream, on_a_thread, serving_hub, until, until_stored
from tests.in_process import events_of
from tests.test_rolling_upgrade import write_as_before

NOW = timezone.now()


def opened(
    name: str, *channels: str, user: object = "", subject: str = "", ago: float = 0
) -> Opened:
    at = NOW - timedelta(seconds=ago)
    return Opened(name, channels[0], subject, "127.0.0.1", at, str(user), channels)


def beat(process: str, *streams: Opened, closed: list[str] | None = None) -> None:
    registry.beat(process, False, True, len(streams), streams, closed or [])


def there(channel: str) -> list[tuple[Any, datetime]]:
    return [(reader["user_id"], reader["since"]) for reader in sse.presence(channel)]


@pytest.mark.django_db(transaction=True)
def test_each_user_once_since_the_first_of_the_streams() -> None:
    beat("one", opened("a", "room", user=7, ago=5), opened("b", "room", "hall", user=8))
    beat("two", opened("c", "hall", "room", user=7, ago=9), opened("d", "room"))

    assert there("room") == [(7, NOW - timedelta(seconds=9)), (8, NOW)]
    assert there("hall") == [(7, NOW - timedelta(seconds=9)), (8, NOW)]
    assert there("cellar") == []
    assert asyncio.run(sse.apresence("hall")) == sse.presence("hall")

    beat("two", closed=["c"])
    assert there("room") == [(7, NOW - timedelta(seconds=5)), (8, NOW)]
    assert there("hall") == [(8, NOW)]
    assert FurtherChannel.objects.count() == 1


@pytest.mark.django_db
def test_the_oldest_stream_counts_in_whichever_order_they_are_found() -> None:
    ages = {"attic": (1, 9), "loft": (9, 1)}
    beat("one", *(opened(f"{c} {ago}", c, user=7, ago=ago) for c in ages for ago in ages[c]))
    assert there("attic") == there("loft") == [(7, NOW - timedelta(seconds=9))]


@pytest.mark.django_db
def test_what_a_silent_process_left_is_no_sign_of_anyone() -> None:
    beat("one", opened("a", "room", "hall", user=7))
    Process.objects.update(seen_at=timezone.now() - registry.FAINT)
    assert there("room") == there("hall") == []


@pytest.mark.django_db
def test_a_channel_may_have_any_name() -> None:
    name = "a\x00\ud800:雨"
    with pytest.raises(sse.exceptions.InvalidTarget):
        sse.presence("")
    assert there(name) == []


@pytest.mark.django_db
def test_users_of_another_kind_are_named_by_their_text() -> None:
    beat("one", opened("a", "room", user="token:alice"))
    assert [reader["user_id"] for reader in sse.presence("room")] == ["token:alice"]


@pytest.mark.django_db
def test_streams_with_one_channel_or_of_nobody_cost_one_row_each() -> None:
    with CaptureQueriesContext(
        connection,
    ) as first:
        beat("one", opened("a", "room", user=7), opened("b", "room", "hall"))
    assert FurtherChannel.objects.count() == 0
    assert not [q for q in first.captured_queries if "furtherchannel" in q["sql"]]

    with CaptureQueriesContext(connection) as second:
        beat("one", opened("c", "room", "hall", "room", user=7), closed=["a", "b"])
    assert [row.channel for row in FurtherChannel.objects.all()] == ["hall"]
    changes = [q["sql"].split()[0] for q in second if q["sql"].split()[0] in WRITES]
    assert changes == ["UPDATE", "DELETE", "INSERT", "INSERT"]


WRITES = {"UPDATE", "DELETE", "INSERT"}


@pytest.mark.django_db
def test_a_channel_that_the_database_refuses_leaves_out_its_stream_alone() -> None:
    beat(
        "one",
        opened("a", "room", "hall", user=7),
        opened("b", "room", "\ud800", user=8),
        opened("c", "room", "hall", user=9),
    )
    assert {user for user, _ in there("room")} == {user for user, _ in there("hall")} == {7, 9}


@pytest.mark.django_db(transaction=True)
def test_the_version_before_can_write_and_delete_streams() -> None:
    beat("one", opened("a", "room", "hall", user=7))
    stream = OpenStream.objects.get()
    write_as_before(stream)
    stream.refresh_from_db()
    assert stream.user_id == ""
    # It does not know of the other table, either; the rows went with their stream.
    assert FurtherChannel.objects.count() == 0


# --- accounts ---------------------------------------------------------------------------------


@pytest.fixture
def user() -> User:
    return get_user_model().objects.create_user("alice", password="secret")


def closed() -> list[str]:
    return [event["payload"]["subject"] for event in events_of(CONTROL, "revoke")]


@pytest.mark.django_db(transaction=True)
def test_logout_ends_what_was_opened_with_the_session(user: User) -> None:
    browser = Client()
    browser.force_login(user)
    key = browser.session.session_key
    assert key

    browser.logout()

    assert closed() == [subject_of_session(key)]
    assert key not in str(events_of(CONTROL))


@pytest.mark.django_db(transaction=True)
def test_login_as_somebody_else_ends_what_was_opened_with_the_session(user: User) -> None:
    browser, other = Client(), get_user_model().objects.create_user("bob", password="secret")
    browser.force_login(user)
    key = browser.session.session_key
    assert key

    log_in(browser, "alice")
    assert closed() == []
    log_in(browser, "bob")
    assert closed() == [subject_of_session(key)]
    assert browser.session["_auth_user_id"] == str(other.pk)


def log_in(browser: Client, name: str) -> None:
    """As a view does it, with the browser's cookie."""
    request = RequestFactory().get("/")
    request.COOKIES = {each.key: each.value for each in browser.cookies.values()}
    request.session = SessionStore(browser.session.session_key)
    login(request, User.objects.get(username=name), "django.contrib.auth.backends.ModelBackend")
    request.session.save()
    browser.cookies[settings.SESSION_COOKIE_NAME] = request.session.session_key


@pytest.mark.django_db
def test_the_apps_own_channel_is_nobody_elses() -> None:
    events = sse.subscribe_sse_events(CONTROL)
    uses: list[Callable[[], Any]] = [
        lambda: sse.Grant(["room", CONTROL]),
        lambda: sse.send_event(CONTROL, "revoke", {}),
        lambda: sse.send_event(CONTROL, "revoke", {}, durable=False),
        lambda: sse.enqueue_sse_message_sync(CONTROL, {"type": "revoke"}),
        lambda: asyncio.run(sse.asend_event(CONTROL, "revoke", {}, durable=False)),
        lambda: asyncio.run(anext(events)),
        lambda: sse.cursor("room", CONTROL),
        lambda: sse.presence(CONTROL),
    ]
    for use in uses:
        with pytest.raises(sse.exceptions.InvalidTarget, match="own"):
            use()
    assert events_of(CONTROL) == []


@pytest.mark.django_db(transaction=True)
def test_streams_end_with_what_their_user_may(user: User) -> None:
    user.first_name = "Alice"
    user.save()
    user.is_active = False
    user.save(update_fields=["first_name"])
    assert closed() == []
    with transaction.atomic():
        user.save()
        assert closed() == []
    assert closed() == [subject_of_user(user.pk)]
    user.save(update_fields=["is_active"])
    get_user_model().objects.filter(pk=user.pk).delete()
    assert closed() == [subject_of_user(user.pk)] * 3


@pytest.mark.django_db(transaction=True)
def test_closing_takes_a_user_or_a_subject(user: User) -> None:
    sse.close_streams(user, unless="follow:one")
    sse.close_streams("room:42")
    assert [event["payload"] for event in events_of(CONTROL)] == [
        {"subject": subject_of_user(user.pk), "unless": "follow:one"},
        {"subject": "room:42", "unless": ""},
    ]
    with pytest.raises(ValueError, match="no primary key"):
        sse.close_streams(User(username="nobody"))


@pytest.mark.django_db(transaction=True)
def test_who_comes_and_goes_is_told_at_once_and_logout_closes(user: User) -> None:
    browser, another = Client(), Client()
    for each in (browser, another):
        each.force_login(user)
    keys = [each.session.session_key or "" for each in (browser, another)]

    def here() -> tuple[list[Any], list[Any]]:
        return tuple([found for found, _ in there(channel)] for channel in ("room", "hall"))

    async def scene() -> None:
        async with serving_hub() as hub:
            # The next beat of itself is five seconds away.
            await until(lambda: hub.beats.age() is not None)
            async with OpenedStream("room", "hall", session_key=keys[0]) as one:
                await until_stored(here, ([user.pk], [user.pk]), seconds=3)
                async with OpenedStream("hall", session_key=keys[1]) as other:
                    await on_a_thread(browser.logout)
                    await one.ended()
                    await until_stored(here, ([], [user.pk]), seconds=3)
                    user.is_active = False
                    await on_a_thread(user.save)
                    await other.ended()
            await until_stored(here, ([], []), seconds=3)

    asyncio.run(scene())
