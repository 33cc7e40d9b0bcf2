"""This process's topics: where streams find theirs, and events their streams."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from sse.live.counts import Counts
from sse.live.outbox import Outgoing
from sse.live.topics import Follower, Topic
from sse.log import store
from sse.log.frames import Frame
from sse.process.runtime import Runtime

# Topics outlive their last reader for a while, since streams come back.
TOPIC_KEPT_SECONDS = 15.0


class Exchange:
    """Used on the hub's loop."""

    def __init__(
        self,
        runtime: Runtime,
        topics: dict[str, Topic],
        counts: Counts,
        *,
        fill_soon: Callable[[Topic], None],
    ) -> None:
        """`topics`, by their names, are kept here; `fill_soon` reads from the log what one of
        them misses."""
        self._runtime = runtime
        self._topics = topics
        self._counts = counts
        self._fill_soon = fill_soon
        self._joining: dict[str, asyncio.Future[Topic]] = {}

    def deliver(self, event: Outgoing) -> None:
        """Fan an event out to this process's streams."""
        topic = self._topics.get(event.target)
        if topic is None:
            joining = self._joining.get(event.target)
            if joining is not None and event.seq:
                # Not yet known where the topic stands: it is looked at again once it is.
                joining.add_done_callback(lambda _: self.deliver(event))
            return
        if topic.epoch != event.epoch:
            if event.seq:
                topic.doubted = True
                self._fill_soon(topic)
                return
            if event.epoch:
                return
        frame = Frame(
            topic.epoch, event.seq, event.data, barrier=event.barrier, since=event.since
        )
        before = topic.end
        complete = topic.offer(frame)
        if topic.end != before and topic.followers:
            topic.notify()
            self._counts.latency.observe(max(0.0, time.time() - frame.timestamp))
        if not complete:
            self._fill_soon(topic)

    async def join(self, name: str, follower: Follower) -> Topic:
        """Have the follower notified of a target's events; the topic, placed in the log."""
        topic = self._topics.get(name)
        if topic is None:
            joining = self._joining.get(name)
            if joining is None:
                joining = self._runtime.loop.create_future()
                self._joining[name] = joining
                self._runtime.spawn(self._place(name, joining), "place")
            topic = await asyncio.shield(joining)
        topic.followers.add(follower)
        return topic

    def leave(self, topic: Topic, follower: Follower) -> None:
        topic.followers.discard(follower)
        topic.idle_since = time.monotonic()

    def forget_idle(self) -> None:
        long_ago = time.monotonic() - TOPIC_KEPT_SECONDS
        for topic in list(self._topics.values()):
            if not topic.followers and topic.idle_since < long_ago:
                del self._topics[topic.name]

    async def _place(self, name: str, joining: asyncio.Future[Topic]) -> None:
        try:
            at = await self._runtime.database(store.position, name, purpose="log")
        except Exception as error:  # noqa: BLE001 - handed to everyone who waits for the topic
            del self._joining[name]
            joining.set_exception(error)
            joining.exception()
            return
        topic = self._topics[name] = Topic(name, at)
        del self._joining[name]
        joining.set_result(topic)
