"""A hub's place in the Channels layer: one channel of its own, in a few groups.

The layer may be shared with a project's own consumers. Only what is the hub's is joined and
left, and a connection that is renewed keeps what anybody else has subscribed to.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

Message = dict[str, Any]

# Of channels_redis' pub/sub layer, beyond what a layer promises.
_PARTS = {
    "RedisPubSubChannelLayer": ("_get_layer",),
    "RedisPubSubLoopLayer": ("_get_shard", "_get_group_channel_name"),
    "RedisSingleShardConnection": ("flush", "_ensure_redis", "_ensure_receiver"),
}

# The part of its life after which a membership that expires is renewed.
RENEWED_AFTER = 0.25


class Membership:
    """Used on the hub's loop. Its methods raise whatever the layer's client does."""

    def __init__(
        self,
        layer: Any,
        groups: tuple[str, ...],
        *,
        heard: Callable[[Message], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """`heard` is called with each message, `failed` when no more can be received."""
        self.layer = layer
        self.groups = groups
        self._heard = heard
        self._failed = failed
        self._channel = ""
        self._receiver: asyncio.Task[None] | None = None
        self._renewed_at = 0.0
        self._life = math.inf

    async def join(self, suspects: set[str], greeting: Callable[[str], Message]) -> None:
        """Be in every group, and send each its greeting, which proves it when it comes back.

        `suspects` are groups whose connection may be broken without its client's noticing: when
        the hub has joined before, it is opened anew.
        """
        again = bool(self._channel)
        await self._receive_anew()

        async def enter(shard: Any, groups: list[str]) -> None:
            if again and shard is not None and suspects.intersection(groups):
                await _reopen(shard)
            for group in groups:
                await self.layer.group_add(group, self._channel)
                await self.layer.group_send(group, greeting(group))

        # One server that is away does not keep the hub from the others.
        entered = await asyncio.gather(
            *(enter(shard, groups) for shard, groups in self._by_shard()),
            return_exceptions=True,
        )
        for outcome in entered:
            if isinstance(outcome, BaseException):
                raise outcome
        self._renewed_at = time.monotonic()
        self._life = getattr(self.layer, "group_expiry", math.inf)

    @property
    def expires(self) -> bool:
        """Whether it is time to `renew`: some layers forget a member after a time."""
        return time.monotonic() - self._renewed_at > self._life * RENEWED_AFTER

    async def renew(self) -> None:
        for group in self.groups:
            await self.layer.group_add(group, self._channel)
        self._renewed_at = time.monotonic()

    async def leave(self) -> None:
        if self._channel:
            for group in self.groups:
                await self.layer.group_discard(group, self._channel)

    def stop(self) -> list[asyncio.Task[None]]:
        """The task that is to be cancelled and waited for at the end."""
        return [] if self._receiver is None or self._receiver.done() else [self._receiver]

    async def _receive_anew(self) -> None:
        receiver = self._receiver
        pubsub = _pubsub(self.layer)
        if receiver is not None and not receiver.done():
            if pubsub is not None:
                # It waits for a queue of this process, whatever becomes of the connection.
                return
            receiver.cancel()
            await asyncio.wait([receiver])
        if not self._channel:
            # The pub/sub layer makes a channel by receiving on it. Its `new_channel` leaves a
            # queue behind each time that it cannot subscribe.
            own = f"sse.{secrets.token_hex(8)}"
            self._channel = await self.layer.new_channel() if pubsub is None else own
        self._receiver = asyncio.create_task(self._receive(), name="sse receive")
        self._receiver.add_done_callback(self._done)
        # Until it is known to the layer.
        await asyncio.sleep(0)

    async def _receive(self) -> None:
        while True:
            self._heard(await self.layer.receive(self._channel))

    def _done(self, receiver: asyncio.Task[None]) -> None:
        if not receiver.cancelled() and (error := receiver.exception()):
            self._failed(error)

    def _by_shard(self) -> Iterable[tuple[Any, list[str]]]:
        """The groups by the connection they are reached through, where that is known."""
        pubsub = _pubsub(self.layer)
        if pubsub is None:
            return [(None, list(self.groups))]
        shards: dict[Any, list[str]] = {}
        for group in self.groups:
            shard = pubsub._get_shard(pubsub._get_group_channel_name(group))
            shards.setdefault(shard, []).append(group)
        return shards.items()


def _pubsub(layer: Any) -> Any:
    """channels_redis' pub/sub layer of this loop, if it is one and has the parts used here.

    Any other is joined by what all layers have, and its connections are its own affair.
    """
    module = sys.modules.get("channels_redis.pubsub")
    if module is None or not isinstance(layer, module.RedisPubSubChannelLayer):
        return None
    for owner, parts in _PARTS.items():
        kind = getattr(module, owner, None)
        if not all(hasattr(kind, part) for part in parts):
            return None
    return layer._get_layer()


async def _reopen(shard: Any) -> None:
    """Give up a connection of channels_redis' pub/sub layer, and open another one.

    Its client opens one anew only when it meets an error, a second later, and never for a peer
    that is silently gone. The layer's own `flush` would forget all groups and channels.
    """
    kept = set(shard._subscribed_to)
    try:
        await shard.flush()
        async with shard._lock:
            if kept:
                shard._ensure_redis()
                shard._ensure_receiver()
                await shard._pubsub.subscribe(*kept)
    finally:
        # For the next attempt, if this one failed.
        shard._subscribed_to |= kept
