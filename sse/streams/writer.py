"""What a stream writes, and at what pace: that at which its client reads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.db import Error

from sse.live.census import Stream
from sse.live.hub import Hub
from sse.log import frames
from sse.log.frames import Frame
from sse.process import outages
from sse.streams.answers import Send
from sse.streams.steps import Stepped
from sse.streams.transports import REFUSED, Transport

logger = logging.getLogger("sse.streams")

# Written at once at the most; a frame may be larger.
WRITE_BYTES = 64 * 1024
# What may wait in a connection before the stream pauses, and for how long nothing may move.
PENDING_BYTES = 512 * 1024
STALLED_SECONDS = 8.0
LOOK_SECONDS = 0.1


class Writer:
    """Writes what its subscription has, from the hub's own calls and without a task.

    While something is under way that has to come first, nothing else is written: a `send` that
    waits, a replay from the log, or bytes that the client has not taken.
    """

    __slots__ = (
        "_blocked",
        "_catching_up",
        "_counts",
        "_hub",
        "_named",
        "_now",
        "_owner",
        "_send",
        "_stalled_bytes",
        "_stalled_since",
        "_transport",
        "closed",
        "subscription",
        "written_at",
    )

    def __init__(
        self, hub: Hub, owner: Stream, send: Send, transport: Transport, *, named: bool
    ) -> None:
        self._hub = hub
        self._counts = hub.counts
        self._now = hub.loop.time
        self._owner = owner
        self._send = send
        self._transport = transport
        self._named = named
        self._blocked: asyncio.Task[None] | None = None
        self._catching_up: asyncio.Task[None] | None = None
        self._stalled_since = 0.0
        self._stalled_bytes = 0
        self.closed = False
        self.subscription = hub.subscribe(_not_yet)
        # By the hub's loop.
        self.written_at = 0.0

    @property
    def in_mid_frame(self) -> bool:
        """Whether what is written now could come between the parts of something else."""
        return self._blocked is not None or self._catching_up is not None

    @property
    def busy(self) -> bool:
        return self.in_mid_frame or self._stalled_since > 0

    def begin(self) -> None:
        """From now on, write what there is."""
        self.subscription.notify = self.pump
        self.pump()

    def close(self) -> None:
        """Write nothing more."""
        self.closed = True
        self.subscription.close()
        for work in (self._blocked, self._catching_up):
            if work is not None:
                work.cancel()
        self._blocked = self._catching_up = None

    # --- events ---------------------------------------------------------------------------

    def pump(self) -> None:
        """Write what is there to be written, unless something has to come first."""
        if self._blocked or self._catching_up or self.closed or self._stalled_since:
            return
        subscription = self.subscription
        try:
            frame = subscription.take_next()
            if frame is not None:
                counts = self._counts
                counts.delivered += 1
                left = self._transport.write(frame.named_chunk if self._named else frame.chunk)
                if left == REFUSED:
                    self.write(frame.named_wire if self._named else frame.wire)
                    return
                counts.delivered_directly += 1
                self.written_at = self._now()
                if left:
                    self._note_pending(left)
                return
            while not (self._blocked or self._stalled_since):
                if subscription.reset and subscription.opened:
                    self._write_reset()
                elif subscription.behind:
                    self._catching_up = self._hub.runtime.spawn(self._catch_up(), "catch-up")
                    return
                elif taken := subscription.take(WRITE_BYTES):
                    self._hub.counts.delivered += len(taken)
                    self.write(b"".join(map(self._wire, taken)))
                else:
                    return
        except Exception:
            # One stream's trouble must not reach the others that the hub is serving.
            logger.exception("a stream failed and is ended")
            self._owner.end("failed")

    def _wire(self, taken: tuple[Frame, str]) -> bytes:
        """With the cursor of all of the stream's channels."""
        frame, cursor = taken
        if not cursor or cursor == frame.cursor:
            return frame.named_wire if self._named else frame.wire
        body = frame.named_body if self._named else frame.body
        return b"id: " + cursor.encode() + b"\n" + body

    async def _catch_up(self) -> None:
        subscription = self.subscription
        try:
            while subscription.behind and not self.closed:
                async with self._hub.latecomers:
                    taken = await subscription.catch_up()
                if self.closed or subscription.reset:
                    break
                self._hub.counts.replayed += len(taken)
                for body in _chunks(map(self._wire, taken)):
                    await self._write_at_leisure(body)
        except Error as error:
            # The client comes back with its cursor.
            outages.note("a stream is ended, its log cannot be read", error)
            self._owner.end("unreadable")
        finally:
            self._catching_up = None
        self.pump()

    async def _write_at_leisure(self, body: bytes) -> None:
        """A part of a replay, at the pace at which the client reads."""
        self.write(body)
        if self._blocked:
            await asyncio.wait([self._blocked])
        while self._stalled_since and not self.closed:  # noqa: ASYNC110 - `look` polls, too
            await asyncio.sleep(LOOK_SECONDS)

    # --- about the stream itself ----------------------------------------------------------

    def control(
        self, kind: str, payload: Mapping[str, Any], *, cursor: str = "", retry_ms: int = 0
    ) -> None:
        self.write(
            frames.control(kind, payload, cursor=cursor, retry_ms=retry_ms, named=self._named)
        )

    def _write_reset(self) -> None:
        subscription = self.subscription
        reason, subscription.reset = subscription.reset, None
        self._hub.counts.resets += 1
        self.control("reset", {"reason": reason}, cursor=subscription.cursor)

    # --- bytes ----------------------------------------------------------------------------

    def write(self, body: bytes) -> None:
        """Send without a task: a server's send rarely has to wait. If it does (the client reads
        too slowly), the rest is a task, and nothing more is written until then."""
        self.written_at = self._now()
        sending = Stepped(
            self._send({"type": "http.response.body", "body": body, "more_body": True})
        )
        if not sending.run():
            self._blocked = self._hub.runtime.spawn(sending.rest(), "write")
            self._blocked.add_done_callback(self._unblock)
        self._note_pending(self._transport.pending())

    def _unblock(self, task: asyncio.Task[None]) -> None:
        self._blocked = None
        if not task.cancelled() and task.exception() is None:
            self.look()

    # --- slow clients ---------------------------------------------------------------------

    def _note_pending(self, pending: int) -> None:
        """Pause when too much of what was sent has not left the process yet."""
        counts = self._counts
        if pending > counts.pending_high_water:
            counts.pending_high_water = pending
        if not self._stalled_since and (pending > PENDING_BYTES or self._blocked):
            self._stalled_since = self._now()
            self._stalled_bytes = pending
            self._hub.census.stalled.add(self._owner)

    def look(self) -> None:
        """Whether a paused stream's client reads again. If it took nothing at all for
        STALLED_SECONDS it is cut; it may come back with its cursor."""
        pending = self._transport.pending()
        now = self._now()
        if pending <= PENDING_BYTES // 2 and not self._blocked:
            self._stalled_since = 0.0
            self._hub.census.stalled.discard(self._owner)
            self.pump()
        elif pending < self._stalled_bytes:
            self._stalled_bytes = pending
            self._stalled_since = now
        elif now - self._stalled_since > STALLED_SECONDS:
            logger.info("stream %s is cut: its client does not read", self._owner.name)
            self._hub.counts.slow_cut += 1
            self._owner.end("slow")


def _not_yet() -> None:
    """The first frame comes first."""


def _chunks(wires: Iterable[bytes]) -> Iterator[bytes]:
    """Joined to pieces of about WRITE_BYTES."""
    waiting: list[bytes] = []
    size = 0
    for wire in wires:
        waiting.append(wire)
        size += len(wire)
        if size >= WRITE_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)
