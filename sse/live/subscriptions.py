"""Those who read topics: each has a place in one or more of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sse.live.topics import Follower, Topic
from sse.log import cursors
from sse.log.frames import Frame


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


@dataclass(frozen=True, slots=True)
class Source:
    """Where a subscription gets its topics from, and what their windows lack."""

    join: Callable[[str, Follower], Awaitable[Topic]]
    leave: Callable[[Topic, Follower], None]
    look: Callable[[Topic], Awaitable[None]]
    page: Callable[[Topic, int], Awaitable[list[Frame]]]


class Subscription:
    """What one stream reads: one or more topics, each in its order, under one cursor.

    `notify` is called on the hub's loop when there may be something to `take`.
    """

    __slots__ = ("_readers", "_source", "_topics", "notify", "opened", "reset")

    def __init__(self, source: Source, notify: Callable[[], None]) -> None:
        self.notify = notify
        self._source = source
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
            topics.append(await self._source.join(name, self))
        for topic in topics:
            # A cursor may know more than this process has heard of yet; only the log can say.
            strangers = known.keys() - {topic.epoch for topic in topics}
            if known.get(topic.epoch, 0) > topic.heard or (
                strangers and topic.epoch not in known
            ):
                await self._source.look(topic)
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
            self._source.leave(topic, self)
        self._topics = []
        self._readers = []

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
        page = await self._source.page(topic, reader.seq)
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
