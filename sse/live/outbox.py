"""What this process has published and the layer has not got yet."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from sse.live.counts import Counts

logger = logging.getLogger("sse.live.outbox")

# Beyond it the oldest are left to the log.
OUTBOX_EVENTS = 20_000
BATCH_EVENTS = 200
BATCH_BYTES = 256 * 1024


@dataclass(slots=True)
class Outgoing:
    """An event on its way through the layer."""

    target: str
    epoch: str
    seq: int
    data: str
    barrier: bool
    since: int

    def as_list(self) -> list[Any]:
        return [self.target, self.epoch, self.seq, self.data, self.barrier, self.since]


class Outbox:
    """Filled by any thread, emptied on the hub's loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        counts: Counts,
        *,
        ring: Callable[[list[Outgoing]], Awaitable[bool]],
        deliver: Callable[[Outgoing], None],
    ) -> None:
        """`ring` gives a batch to the layer, which brings it back; where it answers that it
        cannot, each event is given to `deliver`, for this process alone."""
        self._loop = loop
        self._counts = counts
        self._ring = ring
        self._deliver = deliver
        self._waiting: deque[Outgoing] = deque(maxlen=OUTBOX_EVENTS)
        self._emptying: asyncio.Task[None] | None = None

    def put(self, event: Outgoing) -> None:
        """Hand over an event that is committed, or ephemeral. Never waits, never raises."""
        self._waiting.append(event)
        self._counts.published += 1
        waiting = len(self._waiting)
        if waiting > self._counts.outbox_high_water:
            self._counts.outbox_high_water = waiting
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:
            # The loop has ended with its process; what is durable is in the log.
            logger.debug("event left to the log: the hub's loop is closed")

    @property
    def busy(self) -> bool:
        """Whether something has not reached the layer yet."""
        return bool(self._waiting) or self._emptying is not None

    async def drain(self) -> None:
        """Wait until everything so far has been given to the layer."""
        while self._waiting or self._emptying:
            if self._emptying is None:
                self._wake()
            if self._emptying is not None:
                await asyncio.wait([self._emptying])

    def _wake(self) -> None:
        if self._emptying is None and self._waiting:
            self._emptying = self._loop.create_task(self._empty(), name="sse publish")
            self._emptying.add_done_callback(self._emptied)

    def _emptied(self, task: asyncio.Task[None]) -> None:
        self._emptying = None
        if not task.cancelled() and (error := task.exception()):
            logger.error("publishing failed", exc_info=error)
        if self._waiting and not self._loop.is_closed():
            self._wake()

    async def _empty(self) -> None:
        while self._waiting:
            batch: list[Outgoing] = []
            size = 0
            while self._waiting and len(batch) < BATCH_EVENTS and size < BATCH_BYTES:
                event = self._waiting.popleft()
                batch.append(event)
                size += len(event.data)
            if not await self._ring(batch):
                for event in batch:
                    self._deliver(event)
