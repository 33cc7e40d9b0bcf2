"""Blocking database work for an event loop, on a few threads for each purpose.

What waits in the database holds up its own purpose only: two streams whose authorisation waits
for a locked row leave the log's readers, and the process's sign of life, alone.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from django.db import (
    DEFAULT_DB_ALIAS,
    OperationalError,
    close_old_connections,
    connection,
    connections,
)

T = TypeVar("T")

logger = logging.getLogger(__name__)

# A thread without work gives its connection back, and later ends. Opening SQLite's file costs
# nothing worth keeping, and a file that was replaced must be noticed.
CONNECTION_KEPT_SECONDS = 30.0
THREAD_KEPT_SECONDS = 30.0
# Of one purpose. Far more than streams that are let in and caught up a few at a time.
WAITING_AT_MOST = 10_000


class NoDatabaseThread(OperationalError):
    """The work was not done in time, or there is no more room to wait for a thread."""


class _Job:
    """`work`, and who waits for it. Its caller is told at the deadline, whatever happens."""

    __slots__ = ("future", "work")

    def __init__(self, future: asyncio.Future[Any], work: Callable[[], Any]) -> None:
        self.future = future
        self.work = work


class DatabaseThreads:
    """Runs what it is given in the order given, on at most `count` threads.

    A thread that hangs keeps its place, since it keeps its connection: `stuck` says how many
    do, and those who wait behind them get NoDatabaseThread after `seconds`.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, count: int, *, purpose: str, seconds: float
    ) -> None:
        self.loop = loop
        self.purpose = purpose
        self.seconds = seconds
        self._count = count
        self._waiting: deque[_Job] = deque()
        self._threads = 0
        self._idle = 0
        # When each thread began with what it is at, by the thread's identity.
        self._busy_since: dict[int, tuple[float, float]] = {}
        self._closed = False
        self._changed = threading.Condition()

    async def run(self, work: Callable[..., T], *args: Any, seconds: float | None = None) -> T:
        """The result of `work`, or what it raises. Called on the loop.

        Raises NoDatabaseThread after `seconds`, the time in the queue included. Work that has
        begun is then finished all the same, without anyone to hear of it.
        """
        future: asyncio.Future[T] = self.loop.create_future()
        patience = self.seconds if seconds is None else seconds
        job = _Job(future, lambda: self._timed(work, args, patience))
        with self._changed:
            if self._closed or len(self._waiting) >= WAITING_AT_MOST:
                raise NoDatabaseThread(f"no database thread for {self.purpose}")
            self._waiting.append(job)
            begin = len(self._waiting) > self._idle and self._threads < self._count
            self._threads += begin
            if not begin:
                self._changed.notify()
        if begin:
            self._begin()
        timer = self.loop.call_later(patience, self._expire, future, patience)
        try:
            return await future
        finally:
            timer.cancel()

    @property
    def stuck(self) -> int:
        """How many threads have been at one piece of work for longer than it was given."""
        now = time.monotonic()
        return sum(
            now - since > patience for since, patience in list(self._busy_since.values())
        )

    def shutdown(self) -> None:
        """Take no more work. Threads end by themselves, after what is waiting."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _begin(self) -> None:
        thread = threading.Thread(
            target=self._serve, name=f"sse-database-{self.purpose}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            # The system gives no more threads. Those that run take up what waits.
            with self._changed:
                self._threads -= 1
            logger.warning("no thread for the database: %s", error)

    def _expire(self, future: asyncio.Future[Any], patience: float) -> None:
        if not future.done():
            future.set_exception(
                NoDatabaseThread(
                    f"not done within {patience:g} s on a database thread for {self.purpose}"
                )
            )

    # --- on the threads -----------------------------------------------------------------

    def _serve(self) -> None:
        ended = False
        try:
            while (job := self._next()) is not None:
                if not job.future.done():
                    self._do(job)
                del job
            ended = True
        finally:
            if not ended:
                # A place that is lost here would be lost for as long as the process lives.
                with self._changed:
                    self._threads -= 1

    def _next(self) -> _Job | None:
        """The next piece of work; None when the thread is to end."""
        keep = 0.0 if connection.vendor == "sqlite" else CONNECTION_KEPT_SECONDS
        if (job := self._wait(keep)) is not None:
            return job
        _give_back(self.purpose)
        with self._changed:
            if (job := self._wait(THREAD_KEPT_SECONDS)) is None:
                # Under the lock: what comes from now on starts another thread.
                self._threads -= 1
            return job

    def _wait(self, seconds: float) -> _Job | None:
        with self._changed:
            if not self._waiting and not self._closed and seconds:
                self._idle += 1
                self._changed.wait_for(lambda: self._waiting or self._closed, seconds)
                self._idle -= 1
            return self._waiting.popleft() if self._waiting else None

    def _timed(self, work: Callable[..., T], args: tuple[Any, ...], patience: float) -> T:
        me = threading.get_ident()
        self._busy_since[me] = (time.monotonic(), patience)
        try:
            _refresh(self.purpose)
            return work(*args)
        finally:
            del self._busy_since[me]

    def _do(self, job: _Job) -> None:
        result = error = None
        try:
            result = job.work()
        except BaseException as raised:  # noqa: BLE001 - handed to who waits for it
            error = raised
        try:
            self.loop.call_soon_threadsafe(_settle, job.future, result, error)
        except RuntimeError:
            # The loop has ended with its process: nobody waits any more.
            return


class Pools:
    """The threads of one process: so many for each purpose, whatever the others do."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, counts: Mapping[str, int], *, seconds: float
    ) -> None:
        self._of = {
            purpose: DatabaseThreads(loop, count, purpose=purpose, seconds=seconds)
            for purpose, count in counts.items()
        }

    def __getitem__(self, purpose: str) -> DatabaseThreads:
        return self._of[purpose]

    def stuck(self) -> list[str]:
        """The purposes that have a thread which hangs."""
        return [purpose for purpose, threads in self._of.items() if threads.stuck]

    def shutdown(self) -> None:
        for threads in self._of.values():
            threads.shutdown()


_this_thread = threading.local()


def _take_own_connection(purpose: str) -> None:
    """Give this thread a connection that it keeps, and that no pool counts: requests that have
    taken all of a pool's leave it alone. Its `purpose` is there for a backend to look at."""
    own = connections.create_connection(DEFAULT_DB_ALIAS)
    options = dict(own.settings_dict["OPTIONS"])
    options.pop("pool", None)
    own.settings_dict = {**own.settings_dict, "CONN_MAX_AGE": None, "OPTIONS": options}
    own.purpose = purpose  # type: ignore[attr-defined] # of ours
    connections[DEFAULT_DB_ALIAS] = own
    _this_thread.own = True


def _refresh(purpose: str) -> None:
    """Before each piece of work: a connection that is known to be broken is replaced."""
    if not hasattr(_this_thread, "own"):
        _take_own_connection(purpose)
        return
    try:
        close_old_connections()
    except Exception as error:  # noqa: BLE001 - whatever it is, the connection is no good
        logger.warning("a broken database connection is left behind: %s", error)
        _take_own_connection(purpose)


def _give_back(purpose: str) -> None:
    try:
        connections.close_all()
    except Exception as error:  # noqa: BLE001 - as above
        logger.warning("a database connection could not be closed: %s", error)
        _take_own_connection(purpose)


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
