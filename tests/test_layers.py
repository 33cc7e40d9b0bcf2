"""Of which kind the Channels layer is, and what follows for how events travel."""

import asyncio
import logging
from typing import Any

import pytest
from channels.exceptions import InvalidChannelLayerError
from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.utils import timezone
from pytest_django import Settings

from sse import enqueue_sse_message
from sse.live import metrics, peers, upkeep
from sse.live.counts import Histogram
from sse.live.hub import Hub
from sse.live.layers import MEMORY_CAPACITY, configured_layer
from sse.log import encoding, store
from sse.models import Process
from sse.process import registry
from tests.hubs import OpenedStream, on_a_thread, serving_hub, until

PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"
CORE = "channels_redis.core.RedisChannelLayer"
on_database = pytest.mark.django_db(transaction=True)


class Kept(InMemoryChannelLayer):
    """A project's own, still of one process."""


class Elsewhere:
    """A layer that nobody here knows, which hands on to another."""

    def __init__(self, url: str = "") -> None:
        self.within = InMemoryChannelLayer(capacity=1000)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.within, name)


def use(settings: Settings, backend: str, **config: Any) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": config}}


def test_a_layer_is_known_by_its_class_and_not_by_other_settings(settings: Settings) -> None:
    settings.USE_REDIS_SSE = True
    use(settings, "tests.test_layers.Kept")
    layer = configured_layer()
    assert (layer.mode, layer.shared, layer.groups) == ("memory", False, ("sse.0",))
    assert layer.channels is get_channel_layer()

    use(settings, "tests.test_layers.Elsewhere", url="redis://:secret@there")
    layer = configured_layer()
    assert (layer.mode, layer.shared, layer.addresses) == ("layer", True, ())

    settings.USE_REDIS_SSE = False
    use(settings, PUBSUB, hosts=["redis://there"])
    assert configured_layer().mode == "redis"


def test_a_layer_of_another_alias_is_taken(settings: Settings) -> None:
    memory = {"BACKEND": "channels.layers.InMemoryChannelLayer"}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": CORE}, "events": memory}
    settings.SSE_CHANNEL_LAYER = "events"
    assert configured_layer().channels is get_channel_layer("events")


@pytest.mark.parametrize("layers", [{}, None])
def test_without_a_layer_there_is_one_of_the_process_own(
    settings: Settings, layers: dict[str, Any] | None
) -> None:
    if layers is None:
        del settings.CHANNEL_LAYERS
    else:
        settings.CHANNEL_LAYERS = layers
    layer = configured_layer()
    assert (layer.mode, layer.channels.capacity) == ("memory", MEMORY_CAPACITY)
    assert layer.channels is not configured_layer().channels


def test_a_layer_that_cannot_be_made_is_an_error(settings: Settings) -> None:
    use(settings, "nowhere.Layer")
    with pytest.raises(InvalidChannelLayerError):
        configured_layer()


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("redis://user:secret@redis.example:6380/1?password=secret", "redis.example:6380/1"),
        ("redis://localhost", "localhost:6379"),
        ("rediss://:secret@[::1]:7000/0", "[::1]:7000/0"),
        ("unix:///run/redis.sock", "/run/redis.sock"),
        ({"address": "redis://:secret@there:1/2", "socket_timeout": 5}, "there:1/2"),
        ({"host": "there", "port": 1, "password": "secret"}, "there:1"),
        (("there", 1), "there:1"),
        ({"sentinels": [("there", 1)], "master_name": "m"}, "sentinels of m"),
        ({"address": ("there", 1), "password": "secret"}, "there:1"),
        ("redis://:secret@there:port", "?"),
    ],
)  # fmt: skip
def test_addresses_are_shown_without_passwords(
    settings: Settings, host: Any, shown: str
) -> None:
    use(settings, CORE, hosts=[host])
    assert configured_layer().addresses == (shown,)


@pytest.mark.parametrize("backend", [CORE, PUBSUB])
@pytest.mark.parametrize(
    ("config", "addresses", "groups"),
    [
        ({}, ("localhost:6379",), 1),
        ({"hosts": ["redis://a"]}, ("a:6379",), 1),
        ({"hosts": ["redis://a", "redis://b"]}, ("a:6379", "b:6379"), 16),
    ],
)
def test_several_servers_are_reached_by_several_groups(
    settings: Settings,
    backend: str,
    config: dict[str, Any],
    addresses: tuple[str, ...],
    groups: int,
) -> None:
    use(settings, backend, **config)
    layer = configured_layer()
    assert (layer.addresses, len(layer.groups)) == (addresses, groups)


@on_database
def test_a_layer_that_nobody_knows_carries_events(settings: Settings) -> None:
    use(settings, "tests.test_layers.Elsewhere")

    async def scene() -> None:
        async with serving_hub() as hub, OpenedStream("a") as stream:
            await until(lambda: hub.mode == "layer")
            await enqueue_sse_message("a", {"type": "typing"}, durable=False)
            await stream.wait_for('"typing"')
            assert (hub.link.listens, hub.link.suffices) == (True, True)

    asyncio.run(scene())


# --- in memory: the layer reaches this process alone -------------------------------------


@pytest.fixture
def no_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "CHECK_SECONDS", 3600.0)


@on_database
@pytest.mark.usefixtures("no_checks")
def test_in_memory_the_log_is_tailed_for_what_others_send(settings: Settings) -> None:
    settings.CHANNEL_LAYERS = {}

    async def scene() -> None:
        async with serving_hub() as hub, OpenedStream("a") as stream:
            for number in range(3):
                data = encoding.encode(f"n{number}", {})
                await on_a_thread(lambda data=data: store.append("a", data))
                await stream.wait_for(f'"n{number}"')
            assert hub.counts.outages == 0
            assert hub.status()["reason"] is None

    asyncio.run(scene())


@pytest.fixture
def quick_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "PEERS_SECONDS", 0.05)
    monkeypatch.setattr(peers, "FRESH_SECONDS", 1.0)


@on_database
@pytest.mark.usefixtures("quick_peers")
def test_in_memory_beside_others_says_so_once_and_is_well(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One that was left behind by a crash, and does not write, is nobody."""

    def another() -> None:
        registry.beat("another", True, False, 0, [], [])

    def silent() -> None:
        Process.objects.create(name="silent", started_at=timezone.now(), seen_at=timezone.now())

    async def scene() -> None:
        async with serving_hub() as hub:
            await on_a_thread(silent)
            await until(lambda: "silent" in hub.link.peers._watched)
            assert hub.status()["reason"] is None
            for _ in range(2):
                await until_said(hub)
                assert "does not reach 1 other processes" in hub.status()["reason"]
                assert hub.mode == "memory"
                await until(lambda: hub.status()["reason"] is None)
            assert hub.counts.outages == 0

    async def until_said(hub: Hub) -> None:
        async with asyncio.timeout(15):
            while hub.status()["reason"] is None:
                await on_a_thread(another)

    with caplog.at_level(logging.WARNING, logger="sse.live"):
        asyncio.run(scene())
    (record,) = caplog.records
    assert "reaches this process alone, and 1 more are running" in record.getMessage()


# --- numbers ------------------------------------------------------------------------------


def test_a_distribution_counts_each_value_by_the_first_bound_it_does_not_exceed() -> None:
    seen = Histogram(1, 2)
    for value in (0.5, 1, 1.5, 3):
        seen.observe(value)
    assert (seen.counts, seen.total) == ([2, 1, 1], 6.0)


@on_database
def test_numbers_are_those_of_the_moment_of_the_scrape() -> None:
    async def scene() -> None:
        async with serving_hub() as hub:
            scraped = metrics.registry(hub.snapshot).get_sample_value
            async with OpenedStream("a") as stream:
                await enqueue_sse_message("a", {"type": "note"})
                await stream.wait_for('"note"')
                assert scraped("sse_open_streams") == 1
                assert scraped("sse_published_total") == 1
                assert scraped("sse_delivered_total") == 1
                for bound in ("10.0", "+Inf"):
                    seen = scraped("sse_publish_to_write_seconds_bucket", {"le": bound})
                    assert seen == 1
                assert scraped("sse_publish_to_write_seconds_count") == 1
                kept = hub.snapshot()
            await until(lambda: scraped("sse_open_streams") == 0)
            assert kept.streams == 1

    asyncio.run(scene())
