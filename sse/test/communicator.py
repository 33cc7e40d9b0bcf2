"""A stream in a test, without a server."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http.cookies import Morsel
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from asgiref.sync import sync_to_async
from django.conf import settings
from django.test import Client
from django.utils.datastructures import CaseInsensitiveMapping

from sse.streams.routes import Routes
from sse.test import hub

Application = Callable[[Any, Any, Any], Awaitable[None]]

# Until a stream has opened or was refused, and until it has ended.
START_SECONDS = 10.0
END_SECONDS = 5.0

_CONNECTED = {"connected", "sse-connected"}
_HEARTBEATS = {"heartbeat", "sse-heartbeat"}


class StreamEnded(Exception):
    """Nothing more will come: the stream was refused, or has ended."""


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """`data` as the handlers of sse.js get it: what JSON stands for, else the text. `id` is the
    cursor after it, "" of an ephemeral one."""

    name: str
    data: Any
    id: str


@dataclass(slots=True)
class Response:
    """The beginning of a stream, or the whole answer that was given instead."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(default=b"")

    def json(self) -> Any:
        return json.loads(self.body)


class StreamCommunicator:
    """Opens a stream for as long as the block lasts.

        async with StreamCommunicator("/events/42/", user=ann) as stream:
            await asend_event("room-42", "message", {"text": "hello"})
            event = await stream.receive()

    With one argument, the stream that the URLconf has at this address; with two, what the ASGI
    application answers there. `headers` as Django's test client takes them, `cookies` as it has
    them, and `user` is logged in first. `response` says how it was answered: a refused stream
    opens the block all the same. `connected` is what the first frame holds.

    Meanwhile the test's own connection to the database is that of the stream, and the hub of
    the process is one that delivers in this test alone; streams that are open at once share it.
    In a TestCase, `captureOnCommitCallbacks(execute=True)` within the block delivers.
    """

    def __init__(
        self,
        application: Application | str,
        path: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, Any] | None = None,
        user: Any = None,
    ) -> None:
        if isinstance(application, str):
            self.application: Application = _stream_alone
            self.path = application
        else:
            self.application, self.path = application, path
        self.headers = dict(headers or {})
        self.cookies = {name: _value(each) for name, each in (cookies or {}).items()}
        self.user = user
        self.response: Response | None = None
        self.connected: Any = None
        self._events: deque[StreamEvent] = deque()
        self._text = ""
        self._asked = self._is_stream = False
        self._news = asyncio.Event()
        self._gone = asyncio.Event()
        self._running: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        self._setting = await hub.enter()
        try:
            if self.user is not None:
                self.cookies |= await sync_to_async(_logged_in)(self.user)
            self._running = asyncio.ensure_future(
                self.application(self._scope(), self._receive, self._send)
            )
            self._running.add_done_callback(lambda _: self._news.set())
            async with asyncio.timeout(START_SECONDS):
                while self.connected is None and not self._over:
                    await self._next()
            if self._over:
                self._running.result()
            await self._setting.tell()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._end()
        if self._running is not None and not self._running.cancelled():
            self._running.result()

    async def receive(self, timeout: float = 1.0) -> StreamEvent:
        """The next event, those about the stream included (`sse-reset`, `sse-goodbye`), but for
        heartbeats.

        Raises TimeoutError after so many seconds, StreamEnded when none can come any more.
        """
        async with asyncio.timeout(timeout):
            while not self._events:
                if self._over:
                    raise StreamEnded(self._how_it_ended())
                await self._next()
        return self._events.popleft()

    async def receive_nothing(self, timeout: float = 0.1) -> bool:
        """Whether no event comes for so many seconds."""
        try:
            event = await self.receive(timeout)
        except (TimeoutError, StreamEnded):
            return True
        self._events.appendleft(event)
        return False

    async def ended(self, timeout: float = 1.0) -> None:
        """Wait until the stream ends, as by `close_streams`; raises TimeoutError."""
        async with asyncio.timeout(timeout):
            while not self._over:
                await self._next()

    @property
    def _over(self) -> bool:
        return self._running is None or self._running.done()

    def _how_it_ended(self) -> str:
        if self._is_stream or self.response is None:
            return "The stream has ended."
        shown = self.response.body[:500].decode(errors="replace")
        return f"There is no stream, the answer was {self.response.status}: {shown}"

    async def _next(self) -> None:
        self._news.clear()
        await self._news.wait()

    async def _end(self) -> None:
        try:
            self._gone.set()
            if self._running is not None:
                _, late = await asyncio.wait([self._running], timeout=END_SECONDS)
                for task in late:
                    task.cancel()
        finally:
            await hub.leave(self._setting)

    # --- the server's side --------------------------------------------------------------

    def _scope(self) -> dict[str, Any]:
        parts = urlsplit(self.path)
        headers = {"host": "testserver", **{k.lower(): v for k, v in self.headers.items()}}
        if self.cookies:
            given = [headers["cookie"]] if "cookie" in headers else []
            own = (f"{name}={value}" for name, value in self.cookies.items())
            headers["cookie"] = "; ".join([*given, *own])
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": unquote(parts.path),
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "root_path": "",
            "headers": [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()],
            "client": ("127.0.0.1", 40000),
            "server": ("testserver", 80),
        }

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            pairs = [
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in message.get("headers", ())
            ]
            self.response = Response(message["status"], CaseInsensitiveMapping(pairs))
            kind = self.response.headers.get("content-type", "")
            self._is_stream = message["status"] == 200 and kind.startswith("text/event-stream")
        elif message["type"] == "http.response.body" and self.response is not None:
            body: bytes = message.get("body", b"")
            if self._is_stream:
                self._read(body.decode())
            else:
                self.response.body += body
        self._news.set()

    def _read(self, text: str) -> None:
        *blocks, self._text = (self._text + text).split("\n\n")
        for block in blocks:
            event = _parsed(block)
            if event.name in _CONNECTED and self.connected is None:
                self.connected = event.data
            elif event.name not in _HEARTBEATS:
                self._events.append(event)


def _parsed(block: str) -> StreamEvent:
    """A frame as this app writes them, named or not."""
    found: dict[str, list[str]] = {"data": [], "event": [], "id": []}
    for line in block.split("\n"):
        name, _, value = line.partition(": ")
        found.get(name, []).append(value)
    text, cursor = "\n".join(found["data"]), "".join(found["id"])
    try:
        data = json.loads(text)
    except ValueError:
        data = text
    if found["event"]:
        return StreamEvent(found["event"][0], data, cursor)
    payload = data["payload"]["data"] if "form" in data else data["payload"]
    return StreamEvent(data["type"], payload, cursor)


async def _stream_alone(scope: Any, receive: Any, send: Any) -> None:
    found = Routes().find(scope)
    if found is None:
        raise LookupError(f"The URLconf has no stream at {scope['path']}.")
    endpoint, match = found
    await endpoint.serve(scope, receive, send, match)


def _logged_in(user: Any) -> dict[str, str]:
    """The cookie of a session of this user's."""
    client = Client()
    client.force_login(user)
    name = settings.SESSION_COOKIE_NAME
    return {name: client.cookies[name].value}


def _value(cookie: Any) -> str:
    return cookie.coded_value if isinstance(cookie, Morsel) else str(cookie)
