"""One open stream: what it writes, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import types
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from django.db import Error
from django.utils import timezone

from sse.conf import conf
from sse.live.hub import Hub
from sse.log import frames
from sse.log.frames import Frame
from sse.log.targets import storable
from sse.process import outages
from sse.streams import refusals
from sse.streams.access import turn
from sse.streams.answers import Headers, Receive, Send
from sse.streams.grants import Grant
from sse.streams.transports import Transport

logger = logging.getLogger("sse.streams")

# How long a client waits before it reconnects; spread, so that they do not come in step.
RETRY_MS = (1000, 3000)
# After a goodbye all clients come back at once: no second is to carry more than 15 % of them.
GOODBYE_RETRY_MS = (500, 10_500)
# Streams reach their age one by one, so their clients need not wait.
AGED_RETRY_MS = (100, 1000)
# Written at once at the most; a frame may be larger.
WRITE_BYTES = 64 * 1024
# What may wait in a connection before the stream pauses, and for how long nothing may move.
PENDING_BYTES = 512 * 1024
STALLED_SECONDS = 8.0
LOOK_SECONDS = 0.1
# How long a client may take to read the end of its stream.
FINISH_SECONDS = 1.0


class Stream:
    """One open stream. Runs as the server's own task for the request, without another."""

    __slots__ = (
        "_blocked",
        "_catching_up",
        "_ended",
        "_expires_at",
        "_heartbeat",
        "_named",
        "_send",
        "_stalled_bytes",
        "_stalled_since",
        "_started",
        "_subscription",
        "_task",
        "_timer",
        "_transport",
        "_written_at",
        "address",
        "connected",
        "hub",
        "name",
        "opened_at",
        "presence",
        "subjects",
        "targets",
        "user_id",
    )

    def __init__(
        self,
        hub: Hub,
        send: Send,
        transport: Transport,
        grant: Grant,
        address: str,
        *,
        named: bool,
    ) -> None:
        self.hub = hub
        self.name = secrets.token_hex(8)
        self.targets = grant.channels
        self.connected = grant.connected
        self.subjects = grant.subjects | {stream_subject(self.name)}
        self.presence = grant.presence
        self.user_id = grant.user_id
        self.address = address
        self.opened_at = timezone.now()
        self._named = named
        self._send = send
        self._transport = transport
        self._subscription = hub.subscribe(self._pump)
        self._heartbeat = conf.SSE_HEARTBEAT_SECONDS
        self._blocked: asyncio.Task[None] | None = None
        self._catching_up: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task = asyncio.current_task()
        self._written_at = 0.0
        self._expires_at = 0.0
        self._stalled_since = 0.0
        self._stalled_bytes = 0
        self._started = False
        self._ended = ""

    async def run(self, receive: Receive, after: str | None, headers: Headers) -> None:
        """Serve until the client goes, the stream is ended, or the server stops.

        Raises Refused if it cannot begin.
        """
        self.hub.census.arrive(self)
        try:
            try:
                async with turn(self.hub):
                    await self._subscription.open(tuple(map(storable, self.targets)), after)
            except Error as error:
                raise refusals.no_database(error) from error
            self._transport.give_up_after(self._heartbeat)
            self._started = True
            await self._send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [
                        (b"content-type", b"text/event-stream"),
                        (b"cache-control", b"no-cache, no-transform"),
                        (b"x-accel-buffering", b"no"),
                        *headers,
                    ],
                }
            )
            cursor = self._subscription.cursor
            self._write(
                self._control(
                    "connected",
                    {**self.connected, "cursor": cursor},
                    cursor=cursor,
                    retry_ms=random.randint(*RETRY_MS),  # noqa: S311
                )
            )
            self._pump()
            longest = conf.SSE_MAX_STREAM_SECONDS
            self._expires_at = self.hub.loop.time() + longest * random.uniform(0.8, 1)  # noqa: S311
            self._arm()
            while (await receive())["type"] != "http.disconnect":
                pass
            self._ended = self._ended or "disconnected"
        except asyncio.CancelledError:
            if not self._ended:
                # The server is going down and did not say so before.
                if self._started:
                    self._write_goodbye()
                self._ended = "shutdown"
                raise
            if self._task is not None:
                self._task.uncancel()
        finally:
            self._ended = self._ended or "failed"
            self._close()
        if not self._started:
            raise refusals.going_away()
        if self._ended == "slow" or not (self._ended == "disconnected" or await self._finish()):
            await self._drop(receive)

    async def _finish(self) -> bool:
        """End the response; False if the client does not take what is left. uvicorn would wait
        for it, and when it stops, for its connection too."""
        try:
            async with asyncio.timeout(FINISH_SECONDS):
                await self._send(
                    {"type": "http.response.body", "body": b"", "more_body": False}
                )
                # Unless the process stops, the connection may carry another request by now.
                while self.hub.closing and self._transport.lingers():  # noqa: ASYNC110 - it says nothing
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            return False
        return True

    async def _drop(self, receive: Receive) -> None:
        """Drop the connection, and wait until the server knows: it would complain of a response
        without an end."""
        self._transport.abort()
        with suppress(TimeoutError):
            async with asyncio.timeout(FINISH_SECONDS):
                while (await receive())["type"] != "http.disconnect":
                    pass

    def end(self, reason: str) -> None:
        """End the stream from the server's side: nothing more is written to it."""
        if not self._ended:
            self._ended = reason
            if self._task is not None:
                self._task.cancel()

    def say_goodbye(self, retry_ms: tuple[int, int] = GOODBYE_RETRY_MS) -> None:
        """End the stream on purpose: its client is to come back, to this process or another."""
        if not self._ended:
            if self._started and not self._blocked and not self._catching_up:
                self._write_goodbye(retry_ms)
            self.end("goodbye")

    def _write_goodbye(self, between: tuple[int, int] = GOODBYE_RETRY_MS) -> None:
        retry_ms = random.randint(*between)  # noqa: S311
        self._write(self._control("goodbye", {"retry_ms": retry_ms}, retry_ms=retry_ms))

    def _close(self) -> None:
        self._subscription.close()
        self.hub.census.depart(self)
        for work in (self._timer, self._blocked, self._catching_up):
            if work is not None:
                work.cancel()
        self._timer = self._blocked = self._catching_up = None

    # --- writing ------------------------------------------------------------------------

    def _pump(self) -> None:
        """Write what is there to be written, unless the client has yet to take the last."""
        if self._blocked or self._catching_up or self._ended or self._stalled_since:
            return
        subscription = self._subscription
        try:
            frame = subscription.take_next()
            if frame is not None:
                self.hub.counts.delivered += 1
                chunk = frame.named_chunk if self._named else frame.chunk
                if self._transport.write(chunk):
                    self.hub.counts.delivered_directly += 1
                    self._written_at = self.hub.loop.time()
                    self._note_pending()
                else:
                    self._write(frame.named_wire if self._named else frame.wire)
                return
            while not (self._blocked or self._stalled_since):
                if subscription.reset and subscription.opened:
                    self._write_reset()
                elif subscription.behind:
                    self._catching_up = self.hub.runtime.spawn(self._catch_up(), "catch-up")
                    return
                elif taken := subscription.take(WRITE_BYTES):
                    self.hub.counts.delivered += len(taken)
                    self._write(b"".join(map(self._wire, taken)))
                else:
                    return
        except Exception:
            # One stream's trouble must not reach the others that the hub is serving.
            logger.exception("a stream failed and is ended")
            self.end("failed")

    def _write_reset(self) -> None:
        subscription = self._subscription
        reason, subscription.reset = subscription.reset, None
        self.hub.counts.resets += 1
        self._write(self._control("reset", {"reason": reason}, cursor=subscription.cursor))

    def _wire(self, taken: tuple[Frame, str]) -> bytes:
        frame, cursor = taken
        if len(self.targets) == 1 or not cursor:
            return frame.named_wire if self._named else frame.wire
        body = frame.named_body if self._named else frame.body
        return b"id: " + cursor.encode() + b"\n" + body

    def _control(
        self, kind: str, payload: Mapping[str, Any], *, cursor: str = "", retry_ms: int = 0
    ) -> bytes:
        return frames.control(
            kind, payload, cursor=cursor, retry_ms=retry_ms, named=self._named
        )

    async def _catch_up(self) -> None:
        subscription = self._subscription
        try:
            while subscription.behind and not self._ended:
                async with self.hub.latecomers:
                    taken = await subscription.catch_up()
                if self._ended or subscription.reset:
                    break
                self.hub.counts.replayed += len(taken)
                for body in _chunks(map(self._wire, taken)):
                    await self._send_at_leisure(body)
        except Error as error:
            # The client comes back with its cursor.
            outages.note("a stream is ended, its log cannot be read", error)
            self.end("log unreadable")
        finally:
            self._catching_up = None
        self._pump()

    async def _send_at_leisure(self, body: bytes) -> None:
        """Send a part of a replay, at the pace at which the client reads."""
        self._write(body)
        if self._blocked:
            await asyncio.wait([self._blocked])
        while self._stalled_since and not self._ended:  # noqa: ASYNC110 - `look` polls, too
            await asyncio.sleep(LOOK_SECONDS)

    def _write(self, body: bytes) -> None:
        """Send without a task of its own: a server's send rarely has to wait.

        If it does (the client reads too slowly), the rest runs as a task and the stream writes
        nothing more until then.
        """
        self._written_at = self.hub.loop.time()
        steps = self._send(
            {"type": "http.response.body", "body": body, "more_body": True}
        ).__await__()
        try:
            waiting = next(steps)
        except StopIteration:
            self._note_pending()
            return
        self._blocked = self.hub.runtime.spawn(_resume(steps, waiting), "write")
        self._blocked.add_done_callback(self._unblock)
        self._note_pending()

    def _unblock(self, task: asyncio.Task[None]) -> None:
        self._blocked = None
        if not task.cancelled() and task.exception() is None:
            self.look()

    # --- slow clients -------------------------------------------------------------------

    def _note_pending(self) -> None:
        """Pause when too much of what was sent has not left the process yet."""
        pending = self._transport.pending()
        counts = self.hub.counts
        if pending > counts.pending_high_water:
            counts.pending_high_water = pending
        if not self._stalled_since and (pending > PENDING_BYTES or self._blocked):
            self._stalled_since = self.hub.loop.time()
            self._stalled_bytes = pending
            self.hub.census.stalled.add(self)

    def look(self) -> None:
        """Whether a paused stream's client reads again. If it took nothing at all for
        STALLED_SECONDS it is cut; it may come back with its cursor."""
        pending = self._transport.pending()
        now = self.hub.loop.time()
        if pending <= PENDING_BYTES // 2 and not self._blocked:
            self._stalled_since = 0.0
            self.hub.census.stalled.discard(self)
            self._pump()
        elif pending < self._stalled_bytes:
            self._stalled_bytes = pending
            self._stalled_since = now
        elif now - self._stalled_since > STALLED_SECONDS:
            logger.info("stream %s is cut: its client does not read", self.name)
            self.hub.counts.slow_cut += 1
            self.end("slow")

    # --- heartbeats and age -------------------------------------------------------------

    def _arm(self) -> None:
        due = min(self._written_at + self._heartbeat, self._expires_at)
        self._timer = self.hub.loop.call_at(due, self._beat)

    def _beat(self) -> None:
        now = self.hub.loop.time()
        if now >= self._expires_at:
            self.say_goodbye(AGED_RETRY_MS)
            return
        idle = now - self._written_at
        if idle >= self._heartbeat * 0.99:
            if self._blocked or self._catching_up or self._stalled_since:
                self._written_at = now
            else:
                self._write(self._control("heartbeat", {}))
        self._arm()


def stream_subject(name: str) -> str:
    """What one stream can be revoked by."""
    return f"stream:{name}"


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


async def _resume(steps: Generator[Any, None, None], waiting: Any) -> None:
    await _rest(steps, waiting)


@types.coroutine
def _rest(steps: Generator[Any, None, None], waiting: Any) -> Generator[Any, None, None]:
    """Go on with an awaitable that has been started by hand and waits for `waiting`."""
    try:
        yield waiting
    except BaseException as error:  # noqa: BLE001 - it belongs to `steps`, cancellation too
        try:
            waiting = steps.throw(error)
        except StopIteration:
            return
        yield waiting
    yield from steps
