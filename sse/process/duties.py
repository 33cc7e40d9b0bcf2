"""What a hub does again and again: each duty by itself, so that one that fails or waits for the
database delays no other."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable

from django.db import Error

from sse.process.supervisor import Pulse

logger = logging.getLogger("sse.process.duties")

# After a failure, however long the duty's period is.
RETRY_SECONDS = 1.0
# Between two rounds at the least, however often the duty is asked to hurry.
PAUSE_SECONDS = 0.1
# At a stretch; it is said in between that nothing hangs.
SLEEP_SECONDS = 10.0
# A duty that has not succeeded for so long is not well.
PATIENCE_SECONDS = 20.0


class Duty:
    """`work`, every so many seconds, for a supervisor to keep. Used on one event loop.

    An error of the database is the duty's own affair: it is logged once, the work is tried
    again every second, and after PATIENCE_SECONDS the supervisor is told. Any other error is
    raised.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], Awaitable[None]],
        *,
        every: float,
        first: float = 0.0,
        called: asyncio.Event | None = None,
    ) -> None:
        """`first`: seconds before the first round. Whoever sets `called` lets the next one
        begin at once."""
        self.name = name
        self.work = work
        self.every = every
        self.failures = 0
        self._wait = first
        self._failing_since: float | None = None
        self._called = called or asyncio.Event()

    def hurry(self) -> None:
        """Let the next round begin now."""
        self._called.set()

    async def run(self, pulse: Pulse) -> None:
        while True:
            await self._rest(pulse)
            try:
                await self.work()
            except (Error, TimeoutError) as error:
                self._wait = RETRY_SECONDS
                pulse(None if self._fails(error) < PATIENCE_SECONDS else False)
            except RuntimeError:
                if sys.is_finalizing():
                    # The interpreter takes no more work for its threads: the process ends.
                    await asyncio.Event().wait()
                raise
            else:
                self._wait = self.every
                self._succeeds()
                pulse()

    async def _rest(self, pulse: Pulse) -> None:
        until = time.monotonic() + self._wait
        await asyncio.sleep(min(self._wait, PAUSE_SECONDS))
        while not self._called.is_set() and (left := until - time.monotonic()) > 0:
            pulse(None)
            try:
                async with asyncio.timeout(min(left, SLEEP_SECONDS)):
                    await self._called.wait()
            except TimeoutError:
                continue
        self._called.clear()

    def _fails(self, error: BaseException) -> float:
        """For how many seconds it has been failing."""
        self.failures += 1
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
            logger.warning("%s fails, and is tried again: %s", self.name, brief(error))
        return now - self._failing_since

    def _succeeds(self) -> None:
        if self._failing_since is not None:
            seconds = time.monotonic() - self._failing_since
            logger.info("%s succeeds again after %.1f s", self.name, seconds)
            self._failing_since = None


def brief(error: BaseException) -> str:
    text = str(error).splitlines()[0] if str(error) else ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
