"""The Channels layer that carries events between processes: of which kind it is.

What is not known to stay within its process is held to be shared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from channels.layers import InMemoryChannelLayer, channel_layers, get_channel_layer

from sse.conf import conf

# Over several servers the layer spreads groups; so many are enough to reach each of them.
GROUPS_OVER_SHARDS = 16
# The default of 100 would drop events in a burst.
MEMORY_CAPACITY = 10_000
REDIS_PORT = 6379


@dataclass(frozen=True, slots=True)
class Layer:
    """`mode` is what health says while all is well: `memory`, `redis` or `layer`."""

    channels: Any
    mode: str
    name: str
    groups: tuple[str, ...]
    # Where its servers are, without passwords, as far as that is known.
    addresses: tuple[str, ...] = ()

    @property
    def shared(self) -> bool:
        """Whether it may reach other processes."""
        return self.mode != "memory"


def configured_layer() -> Layer:
    """The one that SSE_CHANNEL_LAYER names, else one of this process's own.

    Raises InvalidChannelLayerError for one that cannot be made.
    """
    alias = conf.SSE_CHANNEL_LAYER
    channels = get_channel_layer(alias)
    if channels is None:
        return in_memory(InMemoryChannelLayer(capacity=MEMORY_CAPACITY))
    if isinstance(channels, InMemoryChannelLayer):
        return in_memory(channels)
    if not any(
        kind.__module__.startswith("channels_redis.") for kind in type(channels).__mro__
    ):
        return Layer(channels, "layer", f"The channel layer {alias!r}", _groups(1))
    hosts = channel_layers.configs.get(alias, {}).get("CONFIG", {}).get("hosts") or [
        f"redis://localhost:{REDIS_PORT}"
    ]
    addresses = tuple(_address(host) for host in hosts)
    return Layer(channels, "redis", "Redis", _groups(len(hosts)), addresses)


def in_memory(channels: InMemoryChannelLayer) -> Layer:
    return Layer(channels, "memory", "The in-memory layer", _groups(1))


def _groups(shards: int) -> tuple[str, ...]:
    names = range(GROUPS_OVER_SHARDS if shards > 1 else 1)
    return tuple(f"sse.{number}" for number in names)


def _address(host: Any) -> str:
    """One of channels_redis' `hosts`: a URL, a pair, or arguments of redis-py's client.

    Whatever else it is may hold a password, and is not shown.
    """
    if isinstance(host, Mapping):
        if "sentinels" in host:
            return f"sentinels of {host.get('master_name', 'mymaster')}"
        if "address" not in host:
            return _place(host.get("host", "localhost"), host.get("port"))
        host = host["address"]
    if isinstance(host, (tuple, list)) and len(host) == 2:
        return _place(*host)
    if isinstance(host, str) and "://" in host:
        return _of_url(host)
    return "?"


def _of_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "?"
    if parts.hostname is None:
        return parts.path
    return _place(parts.hostname, port) + parts.path


def _place(host: Any, port: Any) -> str:
    shown = f"[{host}]" if ":" in str(host) else host
    return f"{shown}:{port or REDIS_PORT}"
