"""Connections that give up at a deadline, and the pool that requests take turns with.

Not psycopg's pool: that one connects in the background and backs off for longer and longer
while the server is away, so that requests go on failing for up to a minute after it is back.
"""

from __future__ import annotations

import select
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus

T = TypeVar("T")

# While the server is away one caller in so many seconds tries it; the others hear at once.
RETRY_SECONDS = 0.5
# For a connection that others have, and of how many callers.
PATIENCE_SECONDS = 5.0
WAITING_AT_MOST = 500
# Beyond the least number an idle connection is closed, and any one that is so old.
IDLE_SECONDS = 60.0
LIFETIME_SECONDS = 3600.0


class Connection(psycopg.Connection[Any]):
    """Closes itself, and raises OperationalError, when it has waited for too long.

    `wait` is the one place where psycopg blocks, be it for a query, a commit or a rollback. The
    database's own time-outs are shorter; this is for when nothing comes from it at all.
    """

    # Seconds that it may wait: at a time, or with `in_all` altogether. None: without end.
    allowed: float | None = None
    in_all = False
    server: Server | None = None
    generation = 0
    idle_since = 0.0
    _pool: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.born = monotonic()

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        allowed = self.allowed
        if allowed is None or timeout is not None:
            return super().wait(gen, interval, timeout)
        began = monotonic()
        try:
            return super().wait(gen, interval, max(0.0, allowed))
        except errors._WaitTimeout:
            self.pgconn.finish()
            if self.server is not None:
                self.server.suspect()
            raise errors.OperationalError("the database does not answer") from None
        finally:
            if self.in_all:
                self.allowed = allowed - (monotonic() - began)

    @property
    def good(self) -> bool:
        """Whether it can be used again, as far as that is known without asking the server.

        What an idle connection has to read is its end, in all cases that matter.
        """
        if self.closed or monotonic() - self.born > LIFETIME_SECONDS:
            return False
        if self.server is not None and self.generation != self.server.generation:
            return False
        ready = select.poll()
        ready.register(self.pgconn.socket, select.POLLIN)
        return not ready.poll(0)


class Server:
    """What this process knows of the database server: whether it let us in when last asked."""

    def __init__(self) -> None:
        # Connections of an earlier generation are not trusted.
        self.generation = 0
        self._lock = threading.Lock()
        self._away = ""
        self._try_after = 0.0

    def connect(self, open_connection: Callable[[], Connection]) -> Connection:
        """A new connection; at once an OperationalError if others were just refused one."""
        with self._lock:
            now = monotonic()
            if self._away and now < self._try_after:
                raise errors.OperationalError(f"the database is away: {self._away}")
            self._try_after = now + RETRY_SECONDS
        generation = self.generation
        try:
            connection = open_connection()
        except errors.OperationalError as error:
            self._away = str(error).strip() or type(error).__name__
            raise
        self._away = ""
        connection.server = self
        connection.generation = generation
        return connection

    def suspect(self) -> None:
        """A connection fell silent. The others are not waited for, too: new ones will tell."""
        self.generation += 1


class Direct:
    """In the place of a pool, for a thread that has a connection to itself."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect

    def open(self) -> None:
        """There is nothing to open."""

    def close(self) -> None:
        """There is nothing to close."""

    def getconn(self) -> Connection:
        connection = self._connect()
        connection._pool = self
        return connection

    def putconn(self, connection: Connection) -> None:
        connection.close()


class Pool:
    """At most `size` connections, of which `keep` idle ones are kept for longer.

    They are made by the threads that need them: there is nothing in the background that has to
    notice, sooner or later, that the server is back.
    """

    def __init__(self, connect: Callable[[], Connection], *, size: int, keep: int) -> None:
        self.size = size
        self.keep = keep
        self._connect = connect
        self._idle: deque[Connection] = deque()
        # In use, or being made.
        self._out = 0
        self._waiting = 0
        self._closed = False
        self._changed = threading.Condition()

    def open(self) -> None:
        self._closed = False

    def close(self) -> None:
        """Close what is idle; what is in use is closed when it comes back."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, deque()
        for connection in idle:
            connection.close()

    def getconn(self) -> Connection:
        """Raises OperationalError if there is none to be had within PATIENCE_SECONDS."""
        with self._changed:
            self._wait_for_room()
            self._out += 1
            found = self._take_idle()
        if found is None:
            try:
                found = self._connect()
            except BaseException:
                self._free_place()
                raise
        found._pool = self
        return found

    def putconn(self, connection: Connection) -> None:
        connection._pool = None
        try:
            if connection.pgconn.transaction_status in (
                TransactionStatus.INTRANS,
                TransactionStatus.INERROR,
            ):
                connection.rollback()
        except errors.Error:
            connection.close()
        finally:
            if connection.pgconn.transaction_status != TransactionStatus.IDLE:
                connection.close()
            with self._changed:
                if self._closed or connection.closed:
                    connection.close()
                else:
                    connection.idle_since = monotonic()
                    self._idle.append(connection)
                    self._close_long_idle()
            self._free_place()

    def _wait_for_room(self) -> None:
        if self._out < self.size:
            return
        if self._waiting >= WAITING_AT_MOST:
            raise errors.OperationalError("too many wait for a connection to the database")
        self._waiting += 1
        try:
            room = self._changed.wait_for(lambda: self._out < self.size, PATIENCE_SECONDS)
        finally:
            self._waiting -= 1
        if not room:
            raise errors.OperationalError(
                f"all {self.size} connections to the database were taken for "
                f"{PATIENCE_SECONDS:g} s"
            )

    def _take_idle(self) -> Connection | None:
        while self._idle:
            # The one used last: the others grow old enough to be closed.
            connection = self._idle.pop()
            if connection.good:
                return connection
            connection.close()
        return None

    def _close_long_idle(self) -> None:
        before = monotonic() - IDLE_SECONDS
        while len(self._idle) > self.keep and self._idle[0].idle_since < before:
            self._idle.popleft().close()

    def _free_place(self) -> None:
        with self._changed:
            self._out -= 1
            self._changed.notify()
