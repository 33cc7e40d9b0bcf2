"""The Channels layer beside others who use it: whatever its kind, and what becomes of it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from channels.layers import get_channel_layer
from pytest_django import Settings

from sse import enqueue_sse_message
from sse.live import link, membership, upkeep
from sse.live.hub import Hub
from tests.harness.redis import RedisServer
from tests.hubs import OpenedStream, serving_hub, until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database_independent]

PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"
CORE = "channels_redis.core.RedisChannelLayer"
GROUP = "sse.0"


class Consumer:
    """As a project's WebSocket would: one channel in a group of its own."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.heard: set[int] = set()
        self._number = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        channel = await self.layer.new_channel()
        await self.layer.group_add("room", channel)
        reading = asyncio.create_task(self._read(channel))
        yield
        reading.cancel()
        await asyncio.wait([reading])

    async def _read(self, channel: str) -> None:
        while True:
            self.heard.add((await self.layer.receive(channel))["number"])

    async def hears(self) -> None:
        """Fails if what is sent from now on does not arrive."""
        self._number += 1
        await self.layer.group_send("room", {"type": "message", "number": self._number})
        await until(lambda: self._number in self.heard, seconds=5)


async def until_mode(hub: Hub, mode: str) -> None:
    await until(lambda: hub.mode == mode, seconds=20)


def typing(number: int) -> dict[str, Any]:
    return {"type": "typing", "payload": {"n": number}}


async def passes_by_the_layer(stream: OpenedStream, number: int) -> None:
    """An event that is not in the log."""
    await enqueue_sse_message("a", typing(number), durable=False)
    await stream.wait_for(f'"n":{number}')


@pytest.mark.parametrize(
    ("backend", "outage", "known"),
    [
        (PUBSUB, "killed", True),
        (PUBSUB, "killed", False),
        (PUBSUB, "frozen", True),
        (CORE, "frozen", True),
    ],
)
def test_another_consumer_keeps_its_place_when_the_hub_joins(
    backend: str,
    outage: str,
    known: bool,
    redis_server: RedisServer,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also when the layer is of a version whose insides are `known` no more."""
    if not known:
        parts = {"RedisPubSubLoopLayer": ("a_part_of_another_version",)}
        monkeypatch.setattr(membership, "_PARTS", parts)
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": backend, "CONFIG": {"hosts": [redis_server.url]}}
    }

    async def scene() -> None:
        consumer = Consumer(get_channel_layer())
        async with consumer.listening():
            await consumer.hears()
            async with serving_hub() as hub, OpenedStream("a") as stream:
                await until_mode(hub, "redis")
                await consumer.hears()
                await passes_by_the_layer(stream, 1)

                if outage == "killed":
                    redis_server.kill()
                else:
                    redis_server.freeze()
                await enqueue_sse_message("a", typing(2), durable=False)
                await until_mode(hub, "degraded")
                if outage == "killed":
                    redis_server.start()
                else:
                    redis_server.thaw()
                await until_mode(hub, "redis")
                await consumer.hears()
                await passes_by_the_layer(stream, 3)
                await until(lambda: not hub.gaps.filling)
            # The hub has left, and it alone.
            await consumer.hears()

    asyncio.run(scene())


def test_a_connection_that_is_silently_gone_is_opened_anew_with_all_it_carried(
    redis_server: RedisServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Subscriptions that Redis has forgotten, on a connection that stays."""
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": PUBSUB, "CONFIG": {"hosts": [redis_server.url]}}
    }
    monkeypatch.setattr(link, "DEAF_AFTER_SECONDS", 1.2)

    async def scene() -> None:
        layer = get_channel_layer()
        consumer = Consumer(layer)
        async with consumer.listening(), serving_hub() as hub, OpenedStream("a") as stream:
            await until_mode(hub, "redis")
            pubsub = layer._get_layer()._shards[0]._pubsub
            await pubsub.connection.send_command("UNSUBSCRIBE")
            await until_mode(hub, "degraded")
            await until_mode(hub, "redis")
            await passes_by_the_layer(stream, 1)
            await consumer.hears()

    asyncio.run(scene())


# --- in memory --------------------------------------------------------------------------


@pytest.fixture
def memory(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels.layers.InMemoryChannelLayer",
            "CONFIG": {"group_expiry": 1},
        }
    }
    monkeypatch.setattr(upkeep, "CHECK_SECONDS", 3600.0)


@pytest.mark.usefixtures("memory")
def test_a_membership_that_expires_is_renewed() -> None:
    async def scene() -> None:
        layer = get_channel_layer()
        async with serving_hub() as hub, OpenedStream("a") as stream:
            await passes_by_the_layer(stream, 1)
            joined_at = min(layer.groups[GROUP].values())
            expired_at = joined_at + 2 * layer.group_expiry + 1
            await until(lambda: time.time() > expired_at)
            await passes_by_the_layer(stream, 2)
            assert hub.counts.outages == 0
            assert len(layer.groups[GROUP]) == 1

    asyncio.run(scene())


@pytest.mark.usefixtures("memory")
def test_a_layer_in_memory_that_forgot_the_hub_is_joined_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As it does with whoever leaves a message unread for a minute."""
    monkeypatch.setattr(link, "DEAF_AFTER_SECONDS", 1.2)

    async def scene() -> None:
        layer = get_channel_layer()
        layer.group_expiry = 86400
        async with serving_hub() as hub, OpenedStream("a") as stream:
            await passes_by_the_layer(stream, 1)
            layer._remove_from_groups(next(iter(layer.groups[GROUP])))
            await until_mode(hub, "degraded")
            assert "Redis" not in str(hub.status()["reason"])
            await until_mode(hub, "memory")
            await passes_by_the_layer(stream, 2)

    asyncio.run(scene())


@pytest.mark.usefixtures("memory")
def test_a_busy_loop_in_memory_mode_is_no_outage(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(link, "PUBLISH_SECONDS", 0.02)
    monkeypatch.setattr(link, "PROBE_EVERY_SECONDS", 0.1)
    monkeypatch.setattr(link, "DEAF_AFTER_SECONDS", 0.2)

    async def scene() -> None:
        async with serving_hub() as hub, OpenedStream("a") as stream:
            await passes_by_the_layer(stream, 0)
            for number in range(1, 6):
                await enqueue_sse_message("a", typing(number), durable=False)
                # Once the hub is at it.
                for _ in range(2):
                    await asyncio.sleep(0)
                time.sleep(0.3)  # noqa: ASYNC251 - a loop that does not turn
                await stream.wait_for(f'"n":{number}')
            assert hub.status()["mode"] == "memory"
            assert hub.counts.outages == 0

    asyncio.run(scene())
    assert "Redis" not in caplog.text
