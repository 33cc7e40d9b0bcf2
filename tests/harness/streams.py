"""Reading an event stream as a client does, with every frame kept as it came."""

import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx

from tests.harness.tls import NO_TLS

_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")


@dataclass
class Frame:
    """One block of the wire. A field that the block does not have is None."""

    data: str | None = None
    id: str | None = None
    event: str | None = None
    retry: int | None = None
    comments: list[str] = field(default_factory=list)


def parse_frames(chunks: Iterable[bytes]) -> Iterator[Frame]:
    """Frames as they complete. An unfinished last one is dropped, as the standard says.

    httpx-sse carries the last id over to the frames that have none, as a browser does; here
    an ephemeral event is told from a durable one by it.
    """
    pending, frame, empty = b"", Frame(), True
    for chunk in chunks:
        *lines, pending = _LINE_END.split(pending + chunk)
        for line in lines:
            if line:
                _add_field(frame, line.decode("utf-8"))
                empty = False
            elif not empty:
                yield frame
                frame, empty = Frame(), True


def _add_field(frame: Frame, line: str) -> None:
    name, _, value = line.partition(":")
    value = value.removeprefix(" ")
    if name == "":
        frame.comments.append(value)
    elif name == "data":
        frame.data = value if frame.data is None else f"{frame.data}\n{value}"
    elif name == "id":
        frame.id = value
    elif name == "event":
        frame.event = value
    elif name == "retry":
        frame.retry = int(value)


@dataclass(frozen=True)
class Event:
    type: str
    payload: dict[str, Any]
    timestamp: float  # the server's, Unix seconds
    id: str | None
    arrived: float  # time.monotonic() when its last byte was read
    received_at: float  # time.time() at the same moment, to compare with `timestamp`
    retry: int | None
    event: str | None  # the SSE event name; the contract leaves it out


Wanted = str | Callable[[Event], bool]


class StreamRefused(Exception):
    """The server answered with something other than a stream."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.status = response.status_code
        self.body = response.text
        super().__init__(f"{response.status_code} for {response.url}: {self.body[:2000]}")

    def json(self) -> Any:
        return self.response.json()


class EventStream:
    """Opened by its constructor, which returns once the server has accepted it.

    A thread reads it until `close()`; what arrives stays in `received`, across reconnects.
    """

    def __init__(
        self,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        last_event_id: str | None = None,
        timeout: float = 15.0,
        verify: ssl.SSLContext = NO_TLS,
    ) -> None:
        """`timeout`: to connect, and to wait for an answer. Raises StreamRefused."""
        self.url = url
        self.params = dict(params or {})
        self.headers = {"Accept": "text/event-stream", **(headers or {})}
        self.last_id = last_event_id
        self.received: list[Event] = []
        # Why it ended, once it has: "" when the server closed it properly.
        self.ended: str | None = None
        self._timeout = timeout
        self._verify = verify
        self._changed = threading.Condition()
        self._closing = False
        self._open()

    def _open(self) -> None:
        headers = dict(self.headers)
        if self.last_id is not None:
            headers["Last-Event-ID"] = self.last_id
        self.ended, self._closing = None, False
        self._client = httpx.Client(timeout=self._timeout, trust_env=False, verify=self._verify)
        try:
            request = self._client.build_request(
                "GET", self.url, params=self.params, headers=headers
            )
            self._response = self._client.send(request, stream=True)
            self._socket: socket.socket = self._response.extensions[
                "network_stream"
            ].get_extra_info("socket")
            _require_stream(self._response)
        except BaseException:
            self._client.close()
            raise
        # The body may pause for as long as it likes; every wait of a test has its own bound.
        request.extensions["timeout"]["read"] = None
        self._thread = threading.Thread(
            target=self._read, name=f"reads {self.url}", daemon=True
        )
        self._thread.start()

    def _read(self) -> None:
        ended = ""
        try:
            for frame in parse_frames(self._response.iter_bytes()):
                self._record(frame)
        except (httpx.HTTPError, ValueError) as error:
            ended = f"{type(error).__name__}: {error}"
        finally:
            with self._changed:
                self.ended = ended
                self._changed.notify_all()

    def _record(self, frame: Frame) -> None:
        if frame.data is None:
            return
        data = json.loads(frame.data)
        event = Event(
            type=data["type"],
            payload=data["payload"],
            timestamp=data["timestamp"],
            id=frame.id,
            arrived=time.monotonic(),
            received_at=time.time(),
            retry=frame.retry,
            event=frame.event,
        )
        with self._changed:
            self.received.append(event)
            if event.id is not None:
                self.last_id = event.id
            self._changed.notify_all()

    @property
    def response_headers(self) -> httpx.Headers:
        return self._response.headers

    def events(self, *types: str) -> list[Event]:
        """Everything received so far, or only these types, in order of arrival."""
        with self._changed:
            return [event for event in self.received if not types or event.type in types]

    def types(self, *, without: Iterable[str] = ("connected", "heartbeat")) -> list[str]:
        ignored = set(without)
        return [event.type for event in self.events() if event.type not in ignored]

    def wait_for(self, wanted: Wanted, *, timeout: float = 30.0, after: int = 0) -> Event:
        """The first event of this type, or for which this is true, received now or earlier.

        `after`: how many of the events received to skip; `len(stream.received)` taken before
        an action finds only what follows it.
        """
        return self.wait_for_count(wanted, 1, timeout=timeout, after=after)[0]

    def wait_for_count(
        self, wanted: Wanted, count: int, *, timeout: float = 30.0, after: int = 0
    ) -> list[Event]:
        """The first `count` such events."""

        def matches() -> list[Event]:
            return [event for event in self.received[after:] if _is_wanted(event, wanted)]

        deadline = time.monotonic() + timeout
        with self._changed:
            while len(found := matches()) < count:
                left = deadline - time.monotonic()
                if left <= 0 or self.ended is not None:
                    raise TimeoutError(self._complaint(wanted, count, found, timeout))
                self._changed.wait(left)
        return found[:count]

    def wait_ended(self, *, timeout: float = 30.0) -> str:
        """Until the server has closed it; "" for a proper end, else what broke it."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.ended is not None, timeout):
                raise TimeoutError(f"{self.url} is still open after {timeout:g} s")
            assert self.ended is not None
            return self.ended

    def _complaint(self, wanted: Wanted, count: int, found: list[Event], timeout: float) -> str:
        why = f"in {timeout:g} s" if self.ended is None else f"before it ended ({self.ended!r})"
        lines = [f"{len(found)} of {count} × {wanted} on {self.url} {why}; received:"]
        lines += [f"  {event.type} id={event.id} {event.payload}" for event in self.received]
        return "\n".join(lines)

    def close(self) -> None:
        """Safe to call twice, and on a stream that has ended by itself."""
        if self._closing:
            return
        self._closing = True
        if self._thread.is_alive():
            # Wakes the reading thread, which closing the response alone would not.
            with suppress(OSError):  # the server was quicker
                self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._response.close()
        self._client.close()

    def reconnect(self) -> None:
        """Close and open again, with the last id received as Last-Event-ID."""
        self.close()
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _require_stream(response: httpx.Response) -> None:
    content_type = response.headers.get("content-type", "")
    if response.status_code != httpx.codes.OK or "text/event-stream" not in content_type:
        response.read()
        raise StreamRefused(response)


def _is_wanted(event: Event, wanted: Wanted) -> bool:
    return event.type == wanted if isinstance(wanted, str) else wanted(event)
