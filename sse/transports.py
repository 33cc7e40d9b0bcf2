"""What the ASGI interface hides and a stream has to know of its connection.

daphne's `send` never waits: bytes for a client that has stopped reading pile up in the
transport. uvicorn's waits, but for ever. So the transport is looked up behind `send`; where a
server is not known, its own flow control has to do.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from functools import partial
from typing import Any

# Linux: how long sent bytes may stay unacknowledged before the connection is given up.
_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)


class Transport:
    """An unknown server's: nothing is known, and nothing can be done."""

    def pending(self) -> int:
        """Bytes that were sent and are still in this process."""
        return 0

    def write(self, chunk: bytes) -> bool:
        """Put an HTTP chunk on the connection without the server's own ceremony, which costs
        several times as much as the write. False, and nothing done, unless the response is a
        chunked one in mid-stream; then `send` has to do it."""
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
    __slots__ = ("_request",)

    def __init__(self, request: Any) -> None:
        self._request = request

    @property
    def _connection(self) -> Any:
        channel = self._request.channel
        return None if channel is None else channel.transport

    def pending(self) -> int:
        connection = self._connection
        if connection is None:
            return 0
        return (
            len(connection.dataBuffer) - int(connection.offset) + int(connection._tempDataLen)
        )

    def write(self, chunk: bytes) -> bool:
        request = self._request
        connection = self._connection
        if (
            connection is None
            or request.finished
            or not request.chunked
            or not request.startedWriting
            or not connection.connected
            or connection.disconnecting
            or getattr(connection, "TLS", True)
            or connection._tempDataLen
            or connection.dataBuffer
        ):
            return False
        # Through the reactor it would be one `send` and two changes of its selector.
        try:
            sent = connection.socket.send(chunk)
        except BlockingIOError:
            sent = 0
        except OSError:
            # The reactor finds it out for itself, and ends the connection properly.
            return False
        if sent < len(chunk):
            connection.write(chunk[sent:])
        return True

    def abort(self) -> None:
        connection = self._connection
        if connection is not None:
            connection.abortConnection()

    def handle(self) -> socket.socket | None:
        connection = self._connection
        found: socket.socket | None = None if connection is None else connection.getHandle()
        return found


class UvicornTransport(Transport):
    __slots__ = ("_cycle",)

    def __init__(self, cycle: Any) -> None:
        self._cycle = cycle

    def pending(self) -> int:
        size: int = self._cycle.transport.get_write_buffer_size()
        return size

    def write(self, chunk: bytes) -> bool:
        cycle = self._cycle
        if (
            not cycle.response_started
            or cycle.response_complete
            or cycle.disconnected
            or cycle.flow.write_paused
            or not getattr(cycle, "chunked_encoding", False)
        ):
            return False
        cycle.transport.write(chunk)
        return True

    def abort(self) -> None:
        self._cycle.transport.abort()

    def handle(self) -> socket.socket | None:
        wrapped = self._cycle.transport.get_extra_info("socket")
        # asyncio hands out a wrapper without some of a socket's methods.
        found: socket.socket | None = getattr(wrapped, "_sock", wrapped)
        return found


def behind(send: Any) -> Transport:
    """The transport behind an ASGI `send`."""
    if isinstance(send, partial):
        request = send.args[0] if send.args else None
        connection = getattr(getattr(request, "channel", None), "transport", None)
        if all(hasattr(connection, name) for name in ("dataBuffer", "offset", "_tempDataLen")):
            return DaphneTransport(request)
    cycle = getattr(send, "__self__", None)
    if hasattr(cycle, "scope") and hasattr(
        getattr(cycle, "transport", None), "get_write_buffer_size"
    ):
        return UvicornTransport(cycle)
    return Transport()
