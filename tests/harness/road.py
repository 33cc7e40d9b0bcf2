"""A road to a TCP server that can be blocked, in the two ways in which a network is lost."""

import socket
import threading
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from tests.harness.ports import free_port


class Road:
    """Listens on a loopback port and passes everything on, until it is told otherwise.

    `swallow()`: connections stay open and new ones are accepted, and nothing arrives any more.
    `refuse()`: connections end and new ones are refused. `open()`: as in the beginning; what
    was swallowed arrives late.
    """

    def __init__(self, host: str, port: int) -> None:
        self.port = free_port()
        self._onto = (host, port)
        self._passing = threading.Event()
        self._listener: socket.socket | None = None
        self._ends: set[socket.socket] = set()
        self._lock = threading.Lock()
        # Woken by every connection that is accepted.
        self.arrived = threading.Semaphore(0)
        self.open()

    @classmethod
    def to(cls, url: str) -> Self:
        parts = urlsplit(url)
        return cls(parts.hostname or "127.0.0.1", parts.port or 5432)

    def redirect(self, url: str) -> str:
        """The URL, by way of this road."""
        parts = urlsplit(url)
        user = parts.netloc.rpartition("@")[0]
        at = f"{user}@" if user else ""
        return urlunsplit(parts._replace(netloc=f"{at}127.0.0.1:{self.port}"))

    def open(self) -> None:
        self._passing.set()
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port), backlog=200)
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def swallow(self) -> None:
        self._passing.clear()

    def refuse(self) -> None:
        if self._listener is not None:
            # Wakes the thread that accepts; closing alone does not.
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        with self._lock:
            ends = list(self._ends)
        for end in ends:
            _shut(end)

    def close(self) -> None:
        self.refuse()
        self._passing.set()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            self.arrived.release()
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        self._passing.wait()
        try:
            far = socket.create_connection(self._onto, timeout=10)
        except OSError:
            near.close()
            return
        far.settimeout(None)
        with self._lock:
            self._ends |= {near, far}
        for source, sink in ((near, far), (far, near)):
            threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while piece := source.recv(65536):
                self._passing.wait()
                sink.sendall(piece)
        except OSError:
            # What ends one side ends the other.
            pass
        finally:
            for end in (source, sink):
                _shut(end)
            with self._lock:
                self._ends.discard(source)
            source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _shut(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        # It has ended already.
        return
