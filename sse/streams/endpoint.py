"""The stream endpoint: an ASGI application that stands before Django's request cycle.

In Django's cycle an open stream would hold a thread and its database connection. Here it is one
waiting task and a place in its topics; the hub writes to it directly.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import random
import secrets
import types
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
)
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from django.conf import settings
from django.db import Error
from django.http import parse_cookie
from django.http.request import split_domain_port, validate_host
from django.utils import timezone

from sse.conf import conf
from sse.exceptions import StreamRefused
from sse.live.addresses import network
from sse.live.hub import Hub, get_hub
from sse.live.topics import Subscription
from sse.log import frames
from sse.log.frames import Frame
from sse.log.targets import storable
from sse.process import outages
from sse.process.database import NoDatabaseThread
from sse.process.registry import Opened
from sse.streams.transports import Transport, behind

logger = logging.getLogger("sse.streams")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

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
# More than any client sends back to us; what is longer was never a cursor of ours.
CURSOR_MAX_CHARACTERS = 4000


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """What an authoriser may look at."""

    path: Mapping[str, str]
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    cookies: Mapping[str, str]
    address: str

    @property
    def bearer(self) -> str:
        """The token from `Authorization: Bearer`, else from `?token=`, else ""."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token:
            return token.strip()
        return self.query.get("token", [""])[-1]

    @property
    def last_event_id(self) -> str | None:
        """The cursor to resume from: the header, which a browser sends on its own, wins.

        `last_event_id` may be repeated in the address, one cursor for each target.
        """
        given = self.headers.get("last-event-id")
        if given is None:
            given = "~".join(c for c in self.query.get("last_event_id", []) if c)
        return given[:CURSOR_MAX_CHARACTERS] or None


@dataclass(frozen=True, slots=True)
class Grant:
    """What an authorised stream may read.

    `connected` goes into the first frame. `subjects` are what `close_streams` can name to end
    it. A stream with a `presence` counts as a sign that this subject is there, one with a
    `user_id`, a key as text, that this user is.
    """

    targets: tuple[str, ...]
    connected: Mapping[str, Any]
    subjects: frozenset[str] = field(default_factory=frozenset)
    presence: str = ""
    user_id: str = ""


# Called on a database thread. Raises StreamRefused.
Authorize = Callable[[StreamRequest], Grant]


class EventStream:
    """ASGI application for one kind of event stream; see docs/events.md for the wire."""

    def __init__(self, authorize: Authorize) -> None:
        self.authorize = authorize

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        hub = get_hub()
        request = _read(scope)
        allowed = _cors(request.headers)
        transport = behind(send)
        try:
            _check_host(request.headers)
            if scope["method"] == "OPTIONS":
                await _answer(send, 204, allowed, b"")
                return
            _check_method(scope["method"])
            _check_staying(hub)
            grant = await self._grant(hub, request)
            # What began to stop meanwhile has told its streams already.
            _check_staying(hub)
            _check_limits(hub, grant, request.address)
            stream = Stream(hub, send, transport, grant, request.address)
            after = request.last_event_id
            del request, grant
            await stream.run(receive, after, allowed)
        except StreamRefused as refusal:
            refused = hub.counts.refused
            refused[refusal.code] = refused.get(refusal.code, 0) + 1
            await refuse(send, refusal, allowed)

    async def _grant(self, hub: Hub, request: StreamRequest) -> Grant:
        try:
            async with _turn(hub):
                while True:
                    began = hub.loop.time()
                    grant = await hub.runtime.database(
                        self.authorize, request, purpose="access"
                    )
                    # A revocation that came while the right was looked up has not ended this
                    # stream, which the hub does not know yet.
                    if not hub.revoked_since(began, grant.subjects):
                        return grant
        except Error as error:
            raise _no_database(error) from error


class Stream:
    """One open stream. Runs as the server's own task for the request, without another."""

    __slots__ = (
        "_blocked",
        "_catching_up",
        "_ended",
        "_expires_at",
        "_heartbeat",
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
        self, hub: Hub, send: Send, transport: Transport, grant: Grant, address: str
    ) -> None:
        self.hub = hub
        self.name = secrets.token_hex(8)
        self.targets = grant.targets
        self.connected = grant.connected
        self.subjects = grant.subjects | {stream_subject(self.name)}
        self.presence = grant.presence
        self.user_id = grant.user_id
        self.address = address
        self.opened_at = timezone.now()
        self._send = send
        self._transport = transport
        self._subscription = Subscription(hub, self._pump)
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

    @property
    def opened(self) -> Opened:
        channels = tuple(map(storable, self.targets))
        return Opened(
            self.name,
            channels[0],
            self.presence,
            self.address,
            self.opened_at,
            self.user_id,
            channels,
        )

    async def run(
        self, receive: Receive, after: str | None, headers: list[tuple[bytes, bytes]]
    ) -> None:
        """Serve until the client goes, the stream is ended, or the server stops.

        Raises StreamRefused if it cannot begin.
        """
        self.hub.arrive(self)
        try:
            try:
                async with _turn(self.hub):
                    await self._subscription.open(tuple(map(storable, self.targets)), after)
            except Error as error:
                raise _no_database(error) from error
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
                frames.control(
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
            raise going_away()
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
        self._write(frames.control("goodbye", {"retry_ms": retry_ms}, retry_ms=retry_ms))

    def _close(self) -> None:
        self._subscription.close()
        self.hub.depart(self)
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
                if self._transport.write(frame.chunk):
                    self.hub.counts.delivered_directly += 1
                    self._written_at = self.hub.loop.time()
                    self._note_pending()
                else:
                    self._write(frame.wire)
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
        self._write(frames.control("reset", {"reason": reason}, cursor=subscription.cursor))

    def _wire(self, taken: tuple[Frame, str]) -> bytes:
        frame, cursor = taken
        if len(self.targets) == 1 or not cursor:
            return frame.wire
        return b"id: " + cursor.encode() + b"\n" + frame.body

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
            self.hub.stalled.add(self)

    def look(self) -> None:
        """Whether a paused stream's client reads again. If it took nothing at all for
        STALLED_SECONDS it is cut; it may come back with its cursor."""
        pending = self._transport.pending()
        now = self.hub.loop.time()
        if pending <= PENDING_BYTES // 2 and not self._blocked:
            self._stalled_since = 0.0
            self.hub.stalled.discard(self)
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
                self._write(frames.control("heartbeat", {}))
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


def _read(scope: Scope) -> StreamRequest:
    headers = {
        name.decode("latin-1").lower(): value.decode("latin-1")
        for name, value in scope["headers"]
    }
    query = parse_qs(
        scope["query_string"].decode("latin-1"), keep_blank_values=True, errors="replace"
    )
    client = scope.get("client")
    return StreamRequest(
        path=scope.get("url_route", {}).get("kwargs", {}),
        query=query,
        headers=headers,
        cookies=parse_cookie(headers.get("cookie", "")),
        address=_address(client[0]) if client else "",
    )


def _address(text: object) -> str:
    """An IP address in its one way of writing; "" for what is none. Behind a proxy it is what
    X-Forwarded-For says, and so anything at all."""
    try:
        return str(ipaddress.ip_address(str(text).partition("%")[0]))
    except ValueError:
        return ""


@asynccontextmanager
async def _turn(hub: Hub) -> AsyncIterator[None]:
    """One of the few that are let in at a time. Where the database keeps those, the others wait
    for a turn as long as for a thread and no longer."""
    try:
        async with asyncio.timeout(conf.SSE_DATABASE_SECONDS):
            await hub.newcomers.acquire()
    except TimeoutError:
        raise NoDatabaseThread("too many streams wait to be let in") from None
    try:
        yield
    finally:
        hub.newcomers.release()


def _check_host(headers: Mapping[str, str]) -> None:
    allowed = settings.ALLOWED_HOSTS
    if settings.DEBUG and not allowed:
        allowed = [".localhost", "127.0.0.1", "[::1]"]
    domain, _ = split_domain_port(headers.get("host", ""))
    if not validate_host(domain, allowed):
        raise StreamRefused(400, "BAD_REQUEST", "This host name is not served here.")


def _check_method(method: str) -> None:
    if method != "GET":
        raise StreamRefused(
            405,
            "METHOD_NOT_ALLOWED",
            "A stream is opened by GET.",
            headers={"Allow": "GET, OPTIONS"},
        )


def _check_staying(hub: Hub) -> None:
    if hub.closing:
        raise going_away()


def going_away() -> StreamRefused:
    return StreamRefused(
        503, "GOING_AWAY", "This process is stopping.", headers={"Retry-After": "1"}
    )


def _no_database(error: Error) -> StreamRefused:
    outages.note("a stream is refused", error)
    return StreamRefused(
        503,
        "DATABASE_UNAVAILABLE",
        "The database does not answer.",
        details={"reason": outages.kind(error)},
        headers={"Retry-After": "2"},
    )


def _check_limits(hub: Hub, grant: Grant, address: str) -> None:
    of_target = conf.SSE_MAX_STREAMS_PER_TARGET
    of_address = conf.SSE_MAX_STREAMS_PER_ADDRESS
    if of_target and hub.streams_of[grant.targets[0]] >= of_target:
        raise _too_many("for this session or agent", of_target)
    if of_address and hub.streams_from[network(address)] >= of_address:
        raise _too_many("from this address", of_address)


def _too_many(whose: str, limit: int) -> StreamRefused:
    return StreamRefused(
        429,
        "TOO_MANY_STREAMS",
        f"There are {limit} open streams {whose} already.",
        details={"limit": limit},
        headers={"Retry-After": "10"},
    )


def _cors(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    origin = headers.get("origin", "")
    if not origin or origin not in settings.CORS_ALLOWED_ORIGINS:
        return [(b"vary", b"origin")] if settings.CORS_ALLOWED_ORIGINS else []
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-allow-headers", b"authorization, cache-control, last-event-id"),
        (b"access-control-allow-methods", b"GET, OPTIONS"),
        (b"vary", b"origin"),
    ]


async def refuse(
    send: Send, refusal: StreamRefused, headers: list[tuple[bytes, bytes]]
) -> None:
    error = {
        "code": refusal.code, "message": refusal.message, "details": refusal.details,
    }  # fmt: skip
    extra = [(k.lower().encode(), v.encode()) for k, v in refusal.headers.items()]
    await _answer(
        send,
        refusal.status,
        [(b"content-type", b"application/json"), *extra, *headers],
        json.dumps({"error": error}).encode(),
    )


async def _answer(
    send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body, "more_body": False})
