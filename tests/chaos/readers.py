"""Clients that read event streams and come back by themselves, as a browser's EventSource does.

Hundreds of them run in one loop, on raw sockets; h11 knows HTTP.
"""

import asyncio
import json
import random
import ssl
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import h11

from tests.harness.streams import Frame, parse_frames

# Until the server tells them its own.
FIRST_RETRY_SECONDS = 1.0
CONNECT_SECONDS = 10.0
# Many times the heartbeat: a connection that is silent for so long is dead.
SILENCE_SECONDS = 30.0


class Refused(Exception):
    """The server answered, and not with a stream."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as a stream brought it."""

    message_id: int
    client_id: str
    enqueued: float  # time.time()
    seconds: float  # from then to its arrival


@dataclass
class Tally:
    """What readers and senders met with."""

    opened: int = 0
    lost: int = 0
    # Answers of the server that were none, by their status: to streams, and to messages.
    refused: Counter[int] = field(default_factory=Counter)
    unsent: Counter[int] = field(default_factory=Counter)
    # Messages that got no answer at all in the time that a client waits.
    unanswered: int = 0
    # How long the server asked to stay away, in seconds.
    goodbyes: list[float] = field(default_factory=list)
    resets: list[str] = field(default_factory=list)


class Reader:
    """One client of one stream; several processes serve it, and any of them will do."""

    def __init__(
        self,
        path: str,
        token: str,
        sessions: Sequence[str],
        *,
        ports: Sequence[int],
        after: str,
        chance: random.Random,
        tally: Tally,
        tls: ssl.SSLContext | None = None,
        on_reset: Callable[["Reader"], None] | None = None,
    ) -> None:
        """`sessions`: whose messages it is to get. `after`: the cursor to begin with.
        `on_reset`: has the state read anew, as a client must whom the stream tells so."""
        self.path = path
        self.token = token
        self.sessions = tuple(sessions)
        self.deliveries: list[Delivery] = []
        # `(id, client_id)` of the messages that came, or that the state had after a reset.
        self.seen: set[tuple[int, str]] = set()
        self.reread: set[tuple[int, str]] = set()
        self.resets = 0
        # What others than senders with a client_id said, the AI for one: payloads.
        self.said: list[dict[str, Any]] = []
        self.statuses: list[str] = []
        self.replies = 0  # begun
        self.ids: list[str] = []  # of everything durable, in the order of arrival
        self.last_id = after
        self.first_cursor: str | None = None
        self.connected = asyncio.Event()
        self.is_open = False
        self.tally = tally
        self._ports = ports
        self._tls = tls
        self._on_reset = on_reset
        self._chance = chance
        self._retry = FIRST_RETRY_SECONDS
        self._writer: asyncio.StreamWriter | None = None

    async def run(self) -> None:
        """Read, and come back whenever the stream ends, until cancelled."""
        while True:
            try:
                await self._read_one_stream()
            except Refused as refusal:
                self.tally.refused[refusal.status] += 1
            except (OSError, TimeoutError, h11.RemoteProtocolError):
                self.tally.lost += 1
            await asyncio.sleep(self._retry)

    def cut(self) -> None:
        """Drop the connection, as a network does that changes under a phone."""
        if self._writer is not None:
            self._writer.transport.abort()

    async def _read_one_stream(self) -> None:
        port = self._chance.choice(self._ports)
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, self._writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=self._tls
            )
        http = h11.Connection(our_role=h11.CLIENT)
        unfinished = b""
        try:
            self._writer.write(self._request(http))
            while True:
                event = http.next_event()
                if event is h11.NEED_DATA:
                    async with asyncio.timeout(SILENCE_SECONDS):
                        http.receive_data(await reader.read(65536))
                elif isinstance(event, h11.Response):
                    self._check(event)
                elif isinstance(event, h11.Data):
                    *blocks, unfinished = (unfinished + bytes(event.data)).split(b"\n\n")
                    for block in blocks:
                        for frame in parse_frames([block + b"\n\n"]):
                            self._take(frame)
                else:
                    return
        finally:
            self.is_open = False
            writer, self._writer = self._writer, None
            await abort(writer)

    def _request(self, http: h11.Connection) -> bytes:
        headers = [
            ("Host", "127.0.0.1"),
            ("Accept", "text/event-stream"),
            ("Authorization", f"Bearer {self.token}"),
        ]
        if self.last_id:
            headers.append(("Last-Event-ID", self.last_id))
        request = h11.Request(method="GET", target=self.path, headers=headers)
        sent = http.send(request), http.send(h11.EndOfMessage())
        return b"".join(part for part in sent if part)

    def _check(self, response: h11.Response) -> None:
        if response.status_code != 200:
            raise Refused(response.status_code)
        self.is_open = True
        self.tally.opened += 1

    def _take(self, frame: Frame) -> None:
        if frame.retry is not None:
            self._retry = frame.retry / 1000
        if frame.data is None:
            return
        event: dict[str, Any] = json.loads(frame.data)
        if event["type"] == "connected":
            self.first_cursor = self.first_cursor or frame.id
            self.connected.set()
        elif event["type"] == "reset":
            self.tally.resets.append(event["payload"]["reason"])
            self.resets += 1
            if self._on_reset is not None:
                self._on_reset(self)
        elif event["type"] == "goodbye":
            self.tally.goodbyes.append(self._retry)
        elif frame.id is not None:
            self.ids.append(frame.id)
        if frame.id is not None:
            self.last_id = frame.id
        if event["type"] == "message":
            self._take_message(event["payload"], event["timestamp"])
        elif event["type"] == "reply_started":
            self.replies += 1
        elif event["type"] == "status_change":
            self.statuses.append(event["payload"]["status"])

    def _take_message(self, message: dict[str, Any], enqueued: float) -> None:
        if not message["client_id"]:
            self.said.append(message)
            return
        late = time.time() - enqueued
        self.seen.add((message["id"], message["client_id"]))
        self.deliveries.append(Delivery(message["id"], message["client_id"], enqueued, late))

    def unaccounted(self) -> int:
        """By how many durable events the cursor moved on without one of them arriving; below 0
        where more arrived than it moved. Messages are only some of these events. A reset moves
        it by what the state has instead."""
        if self.first_cursor is None or self.resets:
            return 0
        return _sum(self.last_id) - _sum(self.first_cursor) - len(self.ids)


def _sum(cursor: str) -> int:
    # A cursor is opaque to clients; a tool that looks for lost events may look inside.
    return sum(int(part.rpartition("-")[2]) for part in cursor.split("~"))


async def abort(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()


async def stop(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task
