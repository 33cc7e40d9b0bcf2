"""Stretches of the log for streams that are behind, read once for all of them."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass

from sse.live.counts import Counts
from sse.live.topics import Topic
from sse.log import store
from sse.log.frames import Frame
from sse.process.runtime import Runtime

PAGE_EVENTS = 256
PAGE_CHARACTERS = 256 * 1024
# Of all targets together. A reader that is behind holds on to one page more.
PAGES_KEPT = 512
PAGES_KEPT_BYTES = 32 * 1024 * 1024
# A page that could have grown is read again after so long.
PAGE_SECONDS = 5.0
# Pages outlive their last reader for a while, since streams come back.
UNREAD_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Page:
    """A stretch of a target's log."""

    frames: list[Frame]
    weight: int  # in bytes
    full: bool  # it ends where it does because of its size: it cannot grow

    def after(self, seq: int) -> list[Frame]:
        for index, frame in enumerate(self.frames):
            if frame.seq > seq:
                return self.frames[index:]
        return []


class Pages:
    """Used on the hub's loop."""

    def __init__(self, runtime: Runtime, counts: Counts) -> None:
        self._runtime = runtime
        self._counts = counts
        # By target, epoch and first number: when it was asked for, and its reading.
        self._kept: OrderedDict[tuple[int, str, int], tuple[float, asyncio.Task[Page]]]
        self._kept = OrderedDict()

    async def after(self, topic: Topic, seq: int) -> list[Frame]:
        """Frames from the log, beginning with the one after `seq` if the log has it.

        Pages begin at fixed numbers, or where a heavy one ended, and are kept for seconds, so
        that a thousand clients that come back at once read each of them once.
        """
        start = seq - seq % PAGE_EVENTS
        while True:
            page = await self._page(topic, start, seq)
            if not page.full or page.frames[-1].seq > seq:
                return page.after(seq)
            start = page.frames[-1].seq

    def forget_unread(self) -> None:
        long_ago = time.monotonic() - UNREAD_SECONDS
        for key, (asked_at, _) in list(self._kept.items()):
            if asked_at < long_ago:
                del self._kept[key]

    async def _page(self, topic: Topic, start: int, seq: int) -> Page:
        key = (topic.id, topic.epoch, start)
        now = time.monotonic()
        kept = self._kept.get(key)
        if kept is not None:
            asked_at, reading = kept
            stale = now - asked_at > PAGE_SECONDS
            if reading.done() and not stale:
                stale = reading.cancelled() or reading.exception() is not None
                if not stale:
                    page = reading.result()
                    stale = not page.full and not page.after(seq)
            if not stale:
                self._kept.move_to_end(key)
                return await asyncio.shield(reading)
        reading = self._runtime.spawn(self._read(topic, start), "page")
        self._kept[key] = (now, reading)
        while len(self._kept) > PAGES_KEPT:
            self._kept.popitem(last=False)
        page = await asyncio.shield(reading)
        self._drop_heavy()
        return page

    async def _read(self, topic: Topic, start: int) -> Page:
        epoch = topic.epoch
        self._counts.pages_read += 1
        rows = await self._runtime.database(read_page, topic.id, epoch, start, purpose="log")
        size = sum(len(row.data) for row in rows)
        frames = [Frame(epoch, row.seq, row.data, barrier=row.barrier, since=0) for row in rows]
        return Page(
            frames,
            weight=sum(len(frame.wire) for frame in frames),
            full=len(rows) == PAGE_EVENTS or size >= PAGE_CHARACTERS,
        )

    def _drop_heavy(self) -> None:
        """Keep the pages used last, as many as have room."""
        weight = 0
        for key, (_, reading) in reversed(list(self._kept.items())):
            if reading.done() and not reading.cancelled() and reading.exception() is None:
                weight += reading.result().weight
                if weight > PAGES_KEPT_BYTES:
                    del self._kept[key]


def read_page(target_id: int, epoch: str, after: int) -> list[store.Row]:
    return store.read(target_id, epoch, after=after, limit=PAGE_EVENTS, most=PAGE_CHARACTERS)
