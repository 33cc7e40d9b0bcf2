"""Streams of clients that do not read, or whose network is gone."""

import ctypes
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self

import h11

from tests.harness.client import Customer
from tests.harness.services import Service
from tests.harness.streams import parse_frames

SO_ATTACH_FILTER = 26
# After how many seconds a client that takes nothing is cut (tests.constants).
STALLED_AFTER = "sse.streams.writer.STALLED_SECONDS"


class RawStream:
    """A stream of which not one byte is read unless the test says so."""

    def __init__(self, service: Service, customer: Customer, *, after: str = "") -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        self.socket.settimeout(10)
        self.socket.connect(("127.0.0.1", service.port))
        if service.tls:
            context = service.tls.trusting
            self.socket = context.wrap_socket(self.socket, server_hostname="127.0.0.1")
        self._http = h11.Connection(our_role=h11.CLIENT)
        path = f"/api/sessions/{customer.session}/events?token={customer.token}"
        headers = [("Host", "127.0.0.1"), ("Last-Event-ID", after)]
        request = h11.Request(method="GET", target=path, headers=headers)
        for part in (request, h11.EndOfMessage()):
            self.socket.sendall(self._http.send(part) or b"")
        self.frames = parse_frames(self._read())
        self.connected = next(self.frames)

    def _read(self) -> Iterator[bytes]:
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(self.socket.recv(4096))
            elif isinstance(event, h11.Data):
                yield bytes(event.data)
            elif not isinstance(event, h11.Response):
                return

    def read_rest(self) -> tuple[str, int]:
        """What had been sent before the server dropped the connection: the last id, and how
        many durable events."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024 * 1024)
        ids = [self.connected.id]
        with suppress(ConnectionError, h11.RemoteProtocolError):
            ids.extend(frame.id for frame in self.frames if frame.id)
        return str(ids[-1]), len(ids) - 1

    def go_deaf(self) -> None:
        """From now on the kernel drops all that arrives for this socket, acknowledging none of
        it: so a peer looks whose network is gone."""
        instruction = struct.pack("HBBI", 0x06, 0, 0, 0)  # BPF: return 0 bytes
        program = ctypes.create_string_buffer(instruction)
        filtered = struct.pack("HP", 1, ctypes.addressof(program))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filtered)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.socket.close()
