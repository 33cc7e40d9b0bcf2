"""Enqueue and subscribe: what the other apps use."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Coroutine, Mapping
from typing import Any, TypedDict, TypeVar, cast

from asgiref.sync import sync_to_async
from django.db import transaction

from sse.live.hub import Hub, Outgoing, get_hub
from sse.live.topics import Subscription
from sse.log import cursors, frames, store
from sse.log.targets import storable

T = TypeVar("T")

# Read at once at the most.
FEED_BYTES = 256 * 1024


class ReceivedEvent(TypedDict):
    """An event as a subscriber gets it. `id` is the cursor after it, empty if ephemeral."""

    id: str
    type: str
    payload: dict[str, Any]
    timestamp: float


def enqueue_sse_message_sync(
    target: str,
    event: Mapping[str, Any],
    *,
    durable: bool = True,
    barrier: bool = False,
    since: str = "",
) -> str:
    """Send an event to every stream of `target`, as part of the current transaction.

    `target` is any non-empty string of up to 200 characters, `event` is
    `{"type": str, "payload": {…}}` with at most 64 KiB of payload. The event goes out after
    commit, or not at all. A durable one is stored in the transaction, holding the target's row
    lock until its end, and its cursor is returned; an ephemeral one (`durable=False`) may be
    lost, and returns "".

    `barrier` makes a durable event one that ephemeral events begun before it cannot overtake:
    an ephemeral event names in `since` the cursor of the durable event it belongs to, and no
    stream delivers it after a barrier that came later than that.

    Raises InvalidTarget, InvalidEvent or EventTooLarge, and then has sent nothing.
    """
    name = storable(target)
    data = frames.encode(event)
    if durable:
        at = store.append(name, data, barrier=barrier)
        outgoing = Outgoing(name, at.epoch, at.seq, data, barrier, 0)
        _publish_after_commit(outgoing)
        return cursors.one(at.epoch, at.seq)
    _publish_after_commit(_ephemeral(name, data, since))
    return ""


def _publish_after_commit(event: Outgoing) -> None:
    """At once, where there is no transaction. What then fails is logged and not raised: the
    change is made, and the event in the log."""
    transaction.on_commit(lambda: get_hub().publish(event), robust=True)


async def enqueue_sse_message(
    target: str,
    event: Mapping[str, Any],
    *,
    durable: bool = True,
    barrier: bool = False,
    since: str = "",
) -> str:
    """`enqueue_sse_message_sync` for async callers. An ephemeral event needs no thread."""
    if durable:
        return await sync_to_async(enqueue_sse_message_sync)(
            target, event, durable=True, barrier=barrier
        )
    get_hub().publish(_ephemeral(storable(target), frames.encode(event), since))
    return ""


def _ephemeral(name: str, data: str, since: str) -> Outgoing:
    epoch, seq = next(iter((cursors.parse(since) or {}).items()), ("", 0))
    return Outgoing(name, epoch, 0, data, False, seq)


async def subscribe_sse_events(
    target: str, *, after: str | None = None
) -> AsyncGenerator[ReceivedEvent, None]:
    """Every durable event of `target` after the cursor, once and in order, then live ones.

    Without a cursor, from now on. A cursor that cannot be honoured yields one event of type
    `reset` first. Endless: leave the loop, or close the generator, to unsubscribe.

    Raises InvalidTarget.
    """
    name = storable(target)
    hub = get_hub()
    feed = _Feed(hub)
    try:
        await _on_loop(hub.loop, feed.open(name, after))
        while True:
            for event in await _on_loop(hub.loop, feed.next()):
                yield event
    finally:
        hub.loop.call_soon_threadsafe(feed.close)


class _Feed:
    """A subscription for Python code, read on the hub's loop."""

    def __init__(self, hub: Hub) -> None:
        self._news = asyncio.Event()
        self._subscription = Subscription(hub, self._news.set)

    async def open(self, name: str, after: str | None) -> None:
        await self._subscription.open((name,), after)

    async def next(self) -> list[ReceivedEvent]:
        """The next events, at least one."""
        subscription = self._subscription
        while True:
            if subscription.reset:
                reason, subscription.reset = subscription.reset, None
                return [
                    {
                        "id": subscription.cursor,
                        "type": "reset",
                        "payload": {"reason": reason},
                        "timestamp": time.time(),
                    }
                ]
            self._news.clear()
            behind = subscription.behind
            taken = await subscription.catch_up() if behind else subscription.take(FEED_BYTES)
            if taken:
                return [cast(ReceivedEvent, {"id": c, **f.data}) for f, c in taken]
            if not behind:
                await self._news.wait()

    def close(self) -> None:
        self._subscription.close()


async def _on_loop(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    if asyncio.get_running_loop() is loop:
        return await work
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))
