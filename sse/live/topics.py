"""A target's recent events in memory, and those who read them.

A topic keeps one window of frames for all of a process's streams; a stream is a position in it.
Nothing is queued per stream, so a slow one costs no memory: it falls out of the window and
reads on from the log.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from sse.log import cursors
from sse.log.frames import Frame
from sse.log.store import Position

if TYPE_CHECKING:
    from sse.live.hub import Hub

WINDOW_FRAMES = 256
WINDOW_BYTES = 512 * 1024
# Events that came before their predecessor wait here for it; beyond this the log is read.
EARLY_EVENTS = 64


class Topic:
    """One target in one process. Touched on the hub's loop only."""

    __slots__ = (
        "barrier",
        "base",
        "contradicted",
        "doubted",
        "early",
        "epoch",
        "floor",
        "frames",
        "heard",
        "id",
        "idle_since",
        "name",
        "seq",
        "subscriptions",
        "weight",
    )

    def __init__(self, name: str, at: Position) -> None:
        self.name = name
        self.subscriptions: set[Subscription] = set()
        self.idle_since = time.monotonic()
        self.start(at)

    def start(self, at: Position) -> None:
        """Begin at a position of the log, with an empty window."""
        self.id = at.target_id
        self.epoch = at.epoch
        self.seq = at.seq  # the last durable event in the window or before it
        self.heard = at.seq  # the last durable event known to exist
        self.floor = at.seq  # the window holds every durable event after this one
        self.barrier = at.barrier
        # The log seems to be another one than this was read from: by a number that came up
        # again, or by another event under the same number, which is certain.
        self.doubted = self.contradicted = False
        self.early: dict[int, Frame] = {}
        self.frames: list[Frame] = []
        self.base = 0  # how many frames have left the window so far
        self.weight = 0

    @property
    def end(self) -> int:
        return self.base + len(self.frames)

    def offer(self, frame: Frame) -> bool:
        """Take a live frame. False if the log must be looked at: for a missing predecessor, or
        because the topic is `doubted`.

        A durable frame seen before is dropped, and so is an ephemeral one behind a barrier.
        """
        if not frame.seq:
            if frame.since >= self.barrier:
                self._append(frame)
            return True
        if frame.seq <= self.seq:
            return self._agrees_with(frame)
        self.heard = max(self.heard, frame.seq)
        if frame.seq > self.seq + 1:
            if len(self.early) < EARLY_EVENTS:
                self.early[frame.seq] = frame
            return False
        self._append(frame)
        while (following := self.early.pop(self.seq + 1, None)) is not None:
            self._append(following)
        if self.seq < self.heard:
            return False
        self.early.clear()
        return True

    def _agrees_with(self, again: Frame) -> bool:
        """Whether a frame seen before is the same as then, as far as the window shows it."""
        if again.seq <= self.floor:
            self.doubted = True
        else:
            same = any(frame.wire == again.wire for frame in reversed(self.frames))
            self.contradicted |= not same
            self.doubted |= not same
        return not self.doubted

    def _append(self, frame: Frame) -> None:
        self.frames.append(frame)
        self.weight += len(frame.wire)
        if frame.seq:
            self.seq = frame.seq
            if frame.barrier:
                self.barrier = frame.seq
        if len(self.frames) > 2 * WINDOW_FRAMES or self.weight > 2 * WINDOW_BYTES:
            self._trim()

    def _trim(self) -> None:
        keep, weight = 0, 0
        for frame in reversed(self.frames):
            weight += len(frame.wire)
            if keep == WINDOW_FRAMES or weight > WINDOW_BYTES:
                weight -= len(frame.wire)
                break
            keep += 1
        gone = len(self.frames) - keep
        for frame in self.frames[:gone]:
            if frame.seq:
                self.floor = frame.seq
        del self.frames[:gone]
        self.base += gone
        self.weight = weight

    def index_after(self, seq: int) -> int | None:
        """Where in the window a reader of everything up to `seq` goes on; None: in the log."""
        if seq < self.floor:
            return None
        if seq >= self.seq and not self.frames:
            return self.end
        for offset in range(len(self.frames) - 1, -1, -1):
            durable = self.frames[offset].seq
            if durable and durable <= seq:
                return self.base + offset + 1
        return self.base


class Reader:
    """A stream's place in one topic: the last durable event it has got, and in the window."""

    __slots__ = ("barrier", "index", "resuming", "seq", "topic")

    def __init__(self, topic: Topic, seq: int, index: int | None) -> None:
        self.topic = topic
        self.seq = seq
        self.index = index
        # A later one is met on the way.
        self.barrier = topic.barrier if topic.barrier <= seq else 0
        # The log is asked first whether it still has what follows a client's cursor.
        self.resuming = index is None


class Subscription:
    """What one stream reads: one or more topics, each in its order, under one cursor.

    `notify` is called on the hub's loop when there may be something to `take`.
    """

    __slots__ = ("_notify", "_readers", "_topics", "hub", "opened", "reset")

    def __init__(self, hub: Hub, notify: Callable[[], None]) -> None:
        self.hub = hub
        self._notify = notify
        self._topics: list[Topic] = []
        self._readers: list[Reader] = []
        self.opened = False
        self.reset: str | None = None

    async def open(self, targets: tuple[str, ...], after: str | None) -> None:
        """Join the topics and find the place in each; names as sse.log.targets.storable gives.

        Where `after` cannot be honoured, `reset` says why and the stream starts at "now".
        """
        known = cursors.parse(after) if after else {}
        if known is None:
            self.reset = "malformed"
            known = {}
        topics = self._topics
        for name in targets:
            topics.append(await self.hub.join(name, self))
        for topic in topics:
            # A cursor may know more than this process has heard of yet; only the log can say.
            strangers = known.keys() - {topic.epoch for topic in topics}
            if known.get(topic.epoch, 0) > topic.heard or (
                strangers and topic.epoch not in known
            ):
                await self.hub.look(topic)
        # No await from here on: the positions are all of one moment.
        if known.keys() - {topic.epoch for topic in topics}:
            self.reset = "unknown"
        for topic in topics:
            seq = known.get(topic.epoch)
            if seq is None or self.reset:
                self._readers.append(Reader(topic, topic.seq, topic.end))
            elif seq > max(topic.seq, topic.heard):
                self.reset = "future"
                self._readers.append(Reader(topic, topic.seq, topic.end))
            else:
                here = topic.end if seq >= topic.seq else None
                self._readers.append(Reader(topic, seq, here))
        if self.reset:
            self._go_live()
        self.opened = True

    def close(self) -> None:
        for topic in self._topics:
            self.hub.leave(topic, self)
        self._topics = []
        self._readers = []

    def notify(self) -> None:
        self._notify()

    @property
    def cursor(self) -> str:
        return cursors.join(
            cursors.one(reader.topic.epoch, reader.seq) for reader in self._readers
        )

    @property
    def behind(self) -> bool:
        """Whether something must come from the log before `take` goes on."""
        return self._lagging() is not None

    def take_next(self) -> Frame | None:
        """The one new frame of a stream of one target that is up to date: the usual case.

        None if it is any other, for `take` to look into.
        """
        if len(self._readers) != 1 or self.reset:
            return None
        reader = self._readers[0]
        topic = reader.topic
        if reader.index is None or reader.index != topic.base + len(topic.frames) - 1:
            return None
        frame = topic.frames[-1]
        if frame.seq:
            if frame.seq <= reader.seq:
                return None
            reader.seq = frame.seq
            if frame.barrier:
                reader.barrier = frame.seq
        elif frame.since < reader.barrier:
            return None
        reader.index += 1
        return frame

    def take(self, most_bytes: int) -> list[tuple[Frame, str]]:
        """What the windows hold for this stream, with the cursor after each frame.

        At least one frame if there is any, and no more once they have `most_bytes` together.
        The cursor is empty for ephemeral frames. Empty when nothing is new, or `behind`.
        """
        taken: list[tuple[Frame, str]] = []
        size = 0
        alone = len(self._readers) == 1
        for reader in self._readers:
            topic = reader.topic
            if reader.index is None:
                continue
            if reader.index < topic.base:
                reader.index = topic.index_after(reader.seq)
                if reader.index is None:
                    continue
            for frame in topic.frames[reader.index - topic.base :]:
                if size >= most_bytes:
                    return taken
                reader.index += 1
                if frame.seq:
                    if frame.seq <= reader.seq:
                        continue
                    reader.seq = frame.seq
                    if frame.barrier:
                        reader.barrier = frame.seq
                    taken.append((frame, frame.cursor if alone else self.cursor))
                elif frame.since >= reader.barrier:
                    taken.append((frame, ""))
                else:
                    continue
                size += len(frame.wire)
        return taken

    async def catch_up(self) -> list[tuple[Frame, str]]:
        """The next page from the log for a reader that is behind, with cursors as `take`.

        Sets `reset` and goes live if the log no longer has what comes next.
        """
        reader = self._lagging()
        if reader is None:
            return []
        topic = reader.topic
        if not reader.resuming:
            reader.index = topic.index_after(reader.seq)
            if reader.index is not None:
                return []
        reader.resuming = False
        epoch = topic.epoch
        page = await self.hub.page(topic, reader.seq)
        if topic.epoch != epoch or not page or page[0].seq != reader.seq + 1:
            self.lose("trimmed")
            return []
        alone = len(self._readers) == 1
        taken = []
        for frame in page:
            reader.seq = frame.seq
            if frame.barrier:
                reader.barrier = frame.seq
            taken.append((frame, frame.cursor if alone else self.cursor))
        reader.index = topic.index_after(reader.seq)
        return taken

    def lose(self, reason: str) -> None:
        """Give up the place in the log: the client is told by a `reset` and reads live."""
        self.reset = reason
        self._go_live()

    def _go_live(self) -> None:
        for reader in self._readers:
            reader.seq = reader.topic.seq
            reader.barrier = reader.topic.barrier
            reader.index = reader.topic.end

    def _lagging(self) -> Reader | None:
        for reader in self._readers:
            if reader.index is None:
                return reader
            if reader.index < reader.topic.base:
                reader.index = reader.topic.index_after(reader.seq)
                if reader.index is None:
                    return reader
        return None
