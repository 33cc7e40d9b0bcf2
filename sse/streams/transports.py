"""What the ASGI interface hides and a stream has to know of its connection.

daphne's `send` never waits: bytes for a client that has stopped reading pile up in the
transport. uvicorn's waits, but for ever. So the transport is looked up behind `send`, by exact
types: of connections of any other make nothing is assumed, and their server's own flow control
has to do.

Writing past `send` rests on more than on types, on what these libraries do inside. It is done
in the versions in which that was read and tested, and nowhere over a wrapped connection.
"""

from __future__ import annotations

import logging
import socket
import sys
from contextlib import suppress
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from sse.conf import conf

logger = logging.getLogger(__name__)

# By library, how the versions begin in which direct writes were read and tested.
TESTED_VERSIONS = {
    "daphne": ("4.2.",),
    "Twisted": ("26.10.",),
    "uvicorn": ("0.54.",),
}

# The same of Python, for what asyncio does in a plain connection, and what is read of that.
TESTED_PYTHONS = ((3, 11),)
_ASYNCIO_PARTS = ("_sock", "_buffer", "_conn_lost", "_eof")

# What is read of Twisted's connections. Without them, too, a connection is unknown.
_SOCKET_PARTS = ("socket", "dataBuffer", "offset", "_tempDataLen")
_TLS_PARTS = ("_aggregator", "_appSendBuffer")

# In place of a number of bytes.
REFUSED = -1

# Linux: how long sent bytes may stay unacknowledged before the connection is given up.
_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)


class Transport:
    """An unknown server's: nothing is known, and nothing can be done."""

    def pending(self) -> int:
        """Bytes that were sent and are still in this process."""
        return 0

    def write(self, chunk: bytes) -> int:
        """Put an HTTP chunk on the connection without the server's own ceremony, which costs
        several times as much as the write; what is `pending` then. REFUSED, and nothing done,
        unless the response is a chunked one in mid-stream; then `send` has to do it."""
        return REFUSED

    def lingers(self) -> bool:
        """Whether the connection is still open and its server, told to stop, waits for it."""
        return False

    def abort(self) -> None:
        """Drop the connection at once, with what was not read of it."""

    def handle(self) -> socket.socket | None:
        return None

    def give_up_after(self, seconds: float) -> None:
        """Have the kernel end the connection once its peer is silent for so long."""
        sock = self.handle()
        if sock is not None and _USER_TIMEOUT is not None and sock.family != socket.AF_UNIX:
            # A client that has gone already leaves a closed socket; its disconnect follows.
            with suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, int(seconds * 1000))


class DaphneTransport(Transport):
    """Over TCP or a Unix socket."""

    __slots__ = ("_request",)

    def __init__(self, request: Any) -> None:
        self._request = request

    @property
    def _connection(self) -> Any:
        """Of Twisted's, or None once it is lost or the response has ended."""
        return getattr(getattr(self._request, "channel", None), "transport", None)

    @property
    def _socket_transport(self) -> Any:
        """What has the socket."""
        return self._connection

    def pending(self) -> int:
        transport = self._socket_transport
        if transport is None:
            return 0
        return len(transport.dataBuffer) - int(transport.offset) + int(transport._tempDataLen)

    def abort(self) -> None:
        connection = self._connection
        if connection is not None:
            connection.abortConnection()

    def handle(self) -> socket.socket | None:
        transport = self._socket_transport
        found: socket.socket | None = None if transport is None else transport.socket
        return found


class DaphneTlsTransport(DaphneTransport):
    """Bytes pass through Twisted's TLS: gathered, encrypted, and given to the TCP transport."""

    __slots__ = ()

    @property
    def _socket_transport(self) -> Any:
        connection = self._connection
        return None if connection is None else connection.transport

    def pending(self) -> int:
        connection = self._connection
        if connection is None:
            return 0
        gathered = getattr(connection._aggregator, "_buffer", ())
        waiting = (*gathered, *connection._appSendBuffer)
        return sum(map(len, waiting)) + super().pending()


class DirectDaphneTransport(DaphneTransport):
    """Over TCP and nothing else, in versions whose insides are known."""

    __slots__ = ()

    def write(self, chunk: bytes) -> int:
        request = self._request
        channel = getattr(request, "channel", None)
        connection = None if channel is None else channel.transport
        if (
            connection is None
            or request.finished
            or not request.chunked
            or not request.startedWriting
            or not connection.connected
            or connection.disconnecting
            or connection.TLS
            or connection._tempDataLen
            or connection.dataBuffer
        ):
            return REFUSED
        # Through the reactor it would be one `send` and two changes of its selector.
        return _put(chunk, connection.socket, connection)


class UvicornTransport(Transport):
    """Over any asyncio transport, of which only the public methods are used."""

    __slots__ = ("_cycle", "_protocol")

    def __init__(self, cycle: Any) -> None:
        self._cycle = cycle
        transport = self._transport
        self._protocol = None if transport is None else transport.get_protocol()

    @property
    def _transport(self) -> Any:
        """Asyncio's, or None once it is closed for good: over TLS it then bears no question."""
        transport = self._cycle.transport
        return None if getattr(transport, "_ssl_protocol", transport) is None else transport

    def pending(self) -> int:
        transport = self._transport
        if transport is None or self._cycle.disconnected:
            return 0
        size: int = transport.get_write_buffer_size()
        # Over TLS that is what has not been encrypted; the rest waits below it.
        below = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None)
        if below is not None:
            size += below.get_write_buffer_size()
        return size

    def lingers(self) -> bool:
        # With nothing pending, too: TLS waits for the client's goodbye. But a connection that
        # is kept may carry another request by now, which has to be answered.
        protocol = self._protocol
        return (
            protocol is not None
            and protocol.cycle is self._cycle
            and protocol in protocol.connections
        )

    def abort(self) -> None:
        self._cycle.transport.abort()

    def handle(self) -> socket.socket | None:
        transport = self._transport
        wrapped = None if transport is None else transport.get_extra_info("socket")
        # asyncio hands out a wrapper without some of a socket's methods.
        found: socket.socket | None = getattr(wrapped, "_sock", wrapped)
        return found


class DirectUvicornTransport(UvicornTransport):
    """With httptools, which has no state that a chunk written past it would upset; h11 has.
    TLS, where there is any, is below the transport that is written to."""

    __slots__ = ("_socket",)

    def __init__(self, cycle: Any) -> None:
        super().__init__(cycle)
        # Of a plain connection of asyncio, in versions whose insides are known.
        self._socket: socket.socket | None = None
        transport = cycle.transport
        if (
            sys.version_info[:2] in TESTED_PYTHONS
            and _is_a(transport, "asyncio.selector_events", "_SelectorSocketTransport")
            and _has(transport, *_ASYNCIO_PARTS)
        ):
            self._socket = transport._sock

    def write(self, chunk: bytes) -> int:
        cycle = self._cycle
        transport = cycle.transport
        if (
            not cycle.response_started
            or cycle.response_complete
            or cycle.disconnected
            or cycle.flow.write_paused
            or not cycle.chunked_encoding
            or transport.is_closing()
        ):
            return REFUSED
        sock = self._socket
        if sock is None or transport._buffer or transport._conn_lost or transport._eof:
            transport.write(chunk)
            return self.pending()
        return _put(chunk, sock, transport)


def _put(chunk: bytes, sock: socket.socket, transport: Any) -> int:
    """Put what the socket takes on it, and leave the rest to the transport that has it."""
    try:
        left = len(chunk) - sock.send(chunk)
    except BlockingIOError:
        left = len(chunk)
    except OSError:
        # The transport finds it out for itself, and ends the connection properly.
        return REFUSED
    if left:
        transport.write(chunk[-left:])
    return left


def behind(send: Any) -> Transport:
    """The transport behind an ASGI `send`."""
    if type(send) is partial:
        request = send.args[0] if send.args else None
        if _is_a(request, "daphne.http_protocol", "WebRequest"):
            return _daphnes(request)
    cycle = getattr(send, "__self__", None)
    if _is_a(cycle, "uvicorn.protocols.http.h11_impl", "RequestResponseCycle"):
        return UvicornTransport(cycle)
    if _is_a(cycle, "uvicorn.protocols.http.httptools_impl", "RequestResponseCycle"):
        if conf.SSE_DIRECT_WRITES and known("uvicorn"):
            return DirectUvicornTransport(cycle)
        return UvicornTransport(cycle)
    return Transport()


def _daphnes(request: Any) -> Transport:
    channel: Any = getattr(request, "channel", None)
    if not _is_a(channel, "twisted.web.http", "HTTPChannel"):
        # Such as a stream of HTTP/2.
        return Transport()
    connection = channel.transport
    below = connection
    if _is_a(connection, "twisted.protocols.tls", "BufferingTLSTransport"):
        below = connection.transport
        if not _has(connection, *_TLS_PARTS):
            return Transport()
    if not _has(below, *_SOCKET_PARTS):
        return Transport()
    if _is_a(connection, "twisted.internet.tcp", "Server"):
        # startTLS makes a connection a TLS one without changing its type.
        if connection.TLS:
            return Transport()
        if conf.SSE_DIRECT_WRITES and known("daphne", "Twisted"):
            return DirectDaphneTransport(request)
        return DaphneTransport(request)
    if _is_a(connection, "twisted.internet.unix", "Server"):
        return DaphneTransport(request)
    if below is not connection and _is_a(below, "twisted.internet.tcp", "Server"):
        return DaphneTlsTransport(request)
    return Transport()


def _has(thing: Any, *parts: str) -> bool:
    return all(hasattr(thing, part) for part in parts)


def _is_a(thing: Any, module: str, name: str) -> bool:
    """Whether it is of exactly this type, whose module is looked up but never imported."""
    loaded = sys.modules.get(module)
    return loaded is not None and type(thing) is getattr(loaded, name, None)


@cache
def known(*libraries: str) -> bool:
    """Whether all of them are of versions in which direct writes were tested; says it once."""
    for library in libraries:
        try:
            installed = version(library)
        except PackageNotFoundError:
            installed = "of no version"
        if not installed.startswith(TESTED_VERSIONS[library]):
            logger.warning(
                "%s %s is none of the versions whose connections are written to directly (%s); "
                "streams go through the server's send, which costs more",
                library,
                installed,
                ", ".join(f"{start}*" for start in TESTED_VERSIONS[library]),
            )
            return False
    return True
