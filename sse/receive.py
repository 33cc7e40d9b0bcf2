"""Events for Python code."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypedDict, TypeVar, cast

from sse.live.hub import Hub, get_hub
from sse.live.subscriptions import Subscription
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
        self._hub = hub
        self._news = asyncio.Event()
        self._subscription: Subscription | None = None

    async def open(self, name: str, after: str | None) -> None:
        self._subscription = self._hub.subscribe(self._news.set)
        await self._subscription.open((name,), after)

    async def next(self) -> list[ReceivedEvent]:
        """The next events, at least one."""
        subscription = self._subscription
        if subscription is None:
            raise RuntimeError("A feed is opened before it is read.")
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
        if self._subscription is not None:
            self._subscription.close()


async def _on_loop(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    if asyncio.get_running_loop() is loop:
        return await work
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))
