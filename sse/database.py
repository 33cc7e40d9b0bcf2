"""Blocking database work for an event loop, on a few threads of the process."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from django.db import close_old_connections

T = TypeVar("T")


class DatabaseThreads:
    """Runs what it is given in the order given, on at most `count` threads.

    A thread that has nothing more to do gives its connection back, so that an idle process
    holds none; as long as work is waiting it keeps it, since a thousand clients that come back
    at once would otherwise open a thousand connections, one after the other.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, count: int) -> None:
        self.loop = loop
        self._count = count
        self._executor = ThreadPoolExecutor(count, thread_name_prefix="sse-database")
        self._waiting: deque[tuple[asyncio.Future[Any], Callable[[], Any]]] = deque()
        self._working = 0
        self._lock = threading.Lock()

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        """The result of `work`, or what it raises. Called on the loop."""
        future: asyncio.Future[T] = self.loop.create_future()
        with self._lock:
            self._waiting.append((future, lambda: work(*args)))
            begin = self._working < self._count
            self._working += begin
        if begin:
            self._executor.submit(self._work)
        return await future

    def shutdown(self) -> None:
        self._executor.shutdown(wait=False)

    def _work(self) -> None:
        close_old_connections()
        while True:
            with self._lock:
                if not self._waiting:
                    self._working -= 1
                    break
                future, work = self._waiting.popleft()
            if future.cancelled():
                continue
            try:
                result, error = work(), None
            except BaseException as raised:  # noqa: BLE001 - handed to who waits for it
                result, error = None, raised
                # It may have been the connection.
                close_old_connections()
            try:
                self.loop.call_soon_threadsafe(_settle, future, result, error)
            except RuntimeError:
                # The loop has ended with its process: nobody waits any more.
                continue
        close_old_connections()


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
