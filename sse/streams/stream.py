"""One open stream, from its request to its end."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from contextlib import suppress

from django.db import Error
from django.utils import timezone

from sse.conf import conf
from sse.live.hub import Hub
from sse.log.targets import storable
from sse.streams import refusals
from sse.streams.access import turn
from sse.streams.answers import Headers, Receive, Send
from sse.streams.grants import Grant
from sse.streams.transports import Transport
from sse.streams.writer import LOOK_SECONDS, Writer

logger = logging.getLogger("sse.streams")

# How long a client waits before it reconnects; spread, so that they do not come in step.
RETRY_MS = (1000, 3000)
# After a goodbye all clients come back at once: no second is to carry more than 15 % of them.
GOODBYE_RETRY_MS = (500, 10_500)
# Streams reach their age one by one, so their clients need not wait.
AGED_RETRY_MS = (100, 1000)
# How long a client may take to read the end of its stream.
FINISH_SECONDS = 1.0

_HEADERS: Headers = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


class Stream:
    """One open stream. Runs as the server's own task for the request, without another.

        opening ── started ──▶ open ── ended, the first reason counts ──▶ over
           └─────────────────── ended ─────────────────────────────────────┘

    What is over was ended in one of these ways, and leaves its client with

        any of them, while opening   a refusal
        disconnected                 nothing: it has gone
        goodbye                      a goodbye, and the end of the response
        shutdown (by the server)     a goodbye, and what the server makes of it
        revoked, failed, unreadable  the end of the response
        slow                         a connection that is dropped
    """

    __slots__ = (
        "_ended",
        "_expires_at",
        "_heartbeat",
        "_send",
        "_started",
        "_task",
        "_timer",
        "_transport",
        "_writer",
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
        self._send = send
        self._transport = transport
        self._writer = Writer(hub, self, send, transport, named=named)
        self._heartbeat = conf.SSE_HEARTBEAT_SECONDS
        self._timer: asyncio.TimerHandle | None = None
        self._task = asyncio.current_task()
        self._expires_at = 0.0
        self._started = False
        # Why it is over.
        self._ended = ""

    # --- its course -----------------------------------------------------------------------

    async def run(self, receive: Receive, after: str | None, headers: Headers) -> None:
        """Serve until the client goes, the stream is ended, or the server stops.

        Raises Refused if it cannot begin.
        """
        self.hub.census.arrive(self)
        try:
            await self._subscribe(after)
            await self._start(headers)
            await _disconnect(receive)
            self._ended = self._ended or "disconnected"
        except asyncio.CancelledError:
            if not self._ended:
                # The server is going down and did not say so before.
                if self._started:
                    self._write_goodbye(GOODBYE_RETRY_MS)
                self._ended = "shutdown"
                raise
            if self._task is not None:
                self._task.uncancel()
        finally:
            self._ended = self._ended or "failed"
            self._close()
        await self._take_leave(receive)

    async def _subscribe(self, after: str | None) -> None:
        try:
            async with turn(self.hub):
                channels = tuple(map(storable, self.targets))
                await self._writer.subscription.open(channels, after)
        except Error as error:
            raise refusals.no_database(error) from error

    async def _start(self, headers: Headers) -> None:
        self._transport.give_up_after(self._heartbeat)
        self._started = True
        start = {"type": "http.response.start", "status": 200, "headers": [*_HEADERS, *headers]}
        await self._send(start)
        cursor = self._writer.subscription.cursor
        retry_ms = random.randint(*RETRY_MS)  # noqa: S311 - no secret
        connected = {**self.connected, "cursor": cursor}
        self._writer.control("connected", connected, cursor=cursor, retry_ms=retry_ms)
        self._writer.begin()
        longest = conf.SSE_MAX_STREAM_SECONDS * random.uniform(0.8, 1)  # noqa: S311 - no secret
        self._expires_at = self.hub.loop.time() + longest
        self._arm()

    def say_goodbye(self, retry_ms: tuple[int, int] = GOODBYE_RETRY_MS) -> None:
        """End the stream on purpose: its client is to come back, to this process or another."""
        if not self._ended:
            if self._started and not self._writer.in_mid_frame:
                self._write_goodbye(retry_ms)
            self.end("goodbye")

    def _write_goodbye(self, between: tuple[int, int]) -> None:
        retry_ms = random.randint(*between)  # noqa: S311 - no secret
        self._writer.control("goodbye", {"retry_ms": retry_ms}, retry_ms=retry_ms)

    def end(self, reason: str) -> None:
        """End the stream from the server's side: nothing more is written to it."""
        if not self._ended:
            self._ended = reason
            self._writer.closed = True
            if self._task is not None:
                self._task.cancel()

    def _close(self) -> None:
        self._writer.close()
        self.hub.census.depart(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _take_leave(self, receive: Receive) -> None:
        if not self._started:
            if self._ended == "revoked":
                raise refusals.closed_meanwhile()
            raise refusals.going_away()
        match self._ended:
            case "disconnected":
                return
            case "slow":
                await self._drop(receive)
            case _:
                if not await self._finish():
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
                await _disconnect(receive)

    # --- while it is open -----------------------------------------------------------------

    def look(self) -> None:
        """Called now and then while the client is slow."""
        self._writer.look()

    def _arm(self) -> None:
        due = min(self._writer.written_at + self._heartbeat, self._expires_at)
        self._timer = self.hub.loop.call_at(due, self._beat)

    def _beat(self) -> None:
        try:
            self._give_a_sign()
        except Exception:
            # Nobody would look after it any more.
            logger.exception("a stream failed and is ended")
            self.end("failed")

    def _give_a_sign(self) -> None:
        now = self.hub.loop.time()
        if now >= self._expires_at:
            self.say_goodbye(AGED_RETRY_MS)
            return
        idle = now - self._writer.written_at
        if idle >= self._heartbeat * 0.99:
            if self._writer.busy:
                self._writer.written_at = now
            else:
                self._writer.control("heartbeat", {})
        self._arm()


def stream_subject(name: str) -> str:
    """What one stream can be revoked by."""
    return f"stream:{name}"


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
