"""What runs in a process beside its requests: one event loop, and what is kept on it.

The loop is the server's where there is one. Elsewhere (a shell, a command, a worker) it has a
thread of its own, begun when it is first needed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from django.db import connections

from sse.conf import conf
from sse.process.database import Pools
from sse.process.supervisor import Supervisor

logger = logging.getLogger("sse.process")

T = TypeVar("T")

# How often, and for how long each time, what ends asks its tasks to end.
CANCEL_ATTEMPTS = 4
CANCEL_SECONDS = 0.5


class Runtime:
    """Used on its loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        # What other processes and the database know this one by.
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self.supervisor = Supervisor(loop)
        self.pools = Pools(loop, conf.database_threads(), seconds=conf.SSE_DATABASE_SECONDS)
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any], what: str) -> asyncio.Task[Any]:
        """Run a task of the process on this loop; its failure is logged."""
        task = self.loop.create_task(work, name=f"sse {what}")
        self._tasks.add(task)
        task.add_done_callback(self._reap)
        return task

    def _reap(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.error("%s failed", task.get_name(), exc_info=error)

    async def database(
        self,
        work: Callable[..., T],
        *args: Any,
        purpose: str = "work",
        seconds: float | None = None,
    ) -> T:
        """Run blocking database work on one of the threads for its purpose: one of
        SSE_DATABASE_THREADS.

        Raises DatabaseError once it has taken `seconds`, else SSE_DATABASE_SECONDS.
        """
        return await self.pools[purpose].run(work, *args, seconds=seconds)

    def let_go_of_connections(self) -> None:
        """Called on a thread that was borrowed for database work, at its end."""
        connections.close_all()

    async def end_tasks(self, more: Callable[[], list[asyncio.Task[Any]]]) -> None:
        """Cancel what is kept or was spawned, and `more`; takes two seconds at most."""
        for _ in range(CANCEL_ATTEMPTS):
            ending = [*self._tasks, *self.supervisor.stop(), *more()]
            for task in ending:
                task.cancel()
            # The layer's client may swallow a cancellation that comes while it closes.
            if not ending or not (await asyncio.wait(ending, timeout=CANCEL_SECONDS))[1]:
                return


# --- this process's -------------------------------------------------------------------------

_lock = threading.Lock()
_runtime: Runtime | None = None
_pid = 0


def get_runtime() -> Runtime:
    """This process's; where no server runs, one on a thread of its own is started."""
    global _runtime, _pid
    with _lock:
        if _runtime is None or _pid != os.getpid() or _runtime.loop.is_closed():
            _runtime = Runtime(_start_loop_thread())
            _pid = os.getpid()
        return _runtime


def run_on(loop: asyncio.AbstractEventLoop) -> Runtime:
    """Make `loop`, a server's, the one of this process."""
    global _runtime, _pid
    with _lock:
        if _runtime is None or _runtime.loop is not loop or _pid != os.getpid():
            _runtime = Runtime(loop)
            _pid = os.getpid()
        return _runtime


def stand_in(runtime: Runtime | None) -> Runtime | None:
    """Make another one that of this process, as tests do; the one before."""
    global _runtime, _pid
    with _lock:
        before, _runtime, _pid = _runtime, runtime, os.getpid()
        return before


def _begin_anew() -> None:
    """In a forked child: the parent's threads are not here, and one may have held the lock."""
    global _lock, _runtime
    _lock = threading.Lock()
    _runtime = None


os.register_at_fork(after_in_child=_begin_anew)


def _start_loop_thread() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="sse-hub", daemon=True).start()
    return loop
