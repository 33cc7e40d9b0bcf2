"""Work that lasts as long as its process: started anew when it fails, and known to be well.

A piece of work that ends, raises, or falls silent is started again after a delay that grows,
and counted. How it fares is what health and readiness report.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Protocol

logger = logging.getLogger("sse.process.supervisor")


class Pulse(Protocol):
    """A sign of life. `well`: None leaves open how the work fares, False says that it fails and
    goes on trying, without being started anew for it."""

    def __call__(self, well: bool | None = True) -> None: ...


# Called with its pulse, which it has to give at every round of its loop, also of an idle one.
Work = Callable[[Pulse], Coroutine[Any, Any, None]]

# Before the first restart, and at the most; a run as long as STEADY_SECONDS starts over.
FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 30.0
STEADY_SECONDS = 60.0
# Work without a pulse for so long hangs: it is cancelled and started anew.
SILENCE_SECONDS = 60.0
LOOK_SECONDS = 1.0


class Kept:
    """One piece of work, and how it fares."""

    def __init__(self, name: str, work: Work, *, vital: bool, silence: float) -> None:
        self.name = name
        self.work = work
        self.vital = vital
        self.silence = silence
        self.failures = 0
        # False from a failure until the first good pulse after the restart.
        self.well = True
        self.pulse_at = 0.0
        self.run: asyncio.Task[None] | None = None
        self.keeper: asyncio.Task[None] | None = None


class Supervisor:
    """Keeps the long-running work of one event loop. Used on that loop, `ailing` anywhere."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._kept: dict[str, Kept] = {}
        self._watch: asyncio.TimerHandle | None = None
        self._stopping = False

    def keep(
        self, name: str, work: Work, *, vital: bool = False, silence: float = SILENCE_SECONDS
    ) -> None:
        """Run `work` for as long as the process serves. A name is kept once.

        `vital`: streams need it, so the process is not ready while it fails; other work that
        fails makes health `degraded`. `silence`: seconds without a pulse after which it hangs.
        """
        if name in self._kept or self._stopping:
            return
        kept = Kept(name, work, vital=vital, silence=silence)
        kept.pulse_at = self.loop.time()
        self._kept[name] = kept
        kept.keeper = self.loop.create_task(self._keep(kept), name=f"keep {name}")
        if self._watch is None:
            self._watch = self.loop.call_later(LOOK_SECONDS, self._look)

    def ailing(self, *, vital_only: bool = False) -> list[str]:
        """The names of work that failed and gave no sign of life since, or that hangs."""
        now = self.loop.time()
        return [
            kept.name
            for kept in list(self._kept.values())
            if (kept.vital or not vital_only)
            and (not kept.well or now - kept.pulse_at > kept.silence)
        ]

    def failures(self) -> Iterator[tuple[str, int, bool]]:
        """`(name, how often it failed, whether it is well)` of everything kept."""
        ailing = set(self.ailing())
        for kept in list(self._kept.values()):
            yield kept.name, kept.failures, kept.name not in ailing

    def stop(self) -> list[asyncio.Task[Any]]:
        """Restart nothing any more; the tasks that are to be cancelled and waited for."""
        self._stopping = True
        if self._watch is not None:
            self._watch.cancel()
        tasks = [task for kept in self._kept.values() for task in (kept.keeper, kept.run)]
        return [task for task in tasks if task is not None and not task.done()]

    async def _keep(self, kept: Kept) -> None:
        delay = FIRST_DELAY_SECONDS

        def pulse(well: bool | None = True) -> None:
            kept.pulse_at = self.loop.time()
            if well is not None:
                kept.well = well

        while not self._stopping:
            began = kept.pulse_at = self.loop.time()
            kept.run = self.loop.create_task(kept.work(pulse), name=f"sse {kept.name}")
            await asyncio.wait([kept.run])
            if self._stopping:
                return  # type: ignore[unreachable] # set while this waited
            error = None if kept.run.cancelled() else kept.run.exception()
            if isinstance(error, (SystemExit, KeyboardInterrupt)):
                raise error
            kept.failures += 1
            kept.well = False
            if self.loop.time() - began > STEADY_SECONDS:
                delay = FIRST_DELAY_SECONDS
            logger.error(
                "%s %s; it is started again in %.1f s",
                kept.name,
                "failed" if error else "ended",
                delay,
                exc_info=error,
            )
            await asyncio.sleep(delay * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
            delay = min(2 * delay, LONGEST_DELAY_SECONDS)

    def _look(self) -> None:
        now = self.loop.time()
        for kept in self._kept.values():
            running = kept.run is not None and not kept.run.done()
            if running and kept.run is not None and now - kept.pulse_at > kept.silence:
                logger.error("%s has been silent for %.0f s", kept.name, now - kept.pulse_at)
                kept.pulse_at = now
                kept.well = False
                kept.run.cancel()
        self._watch = self.loop.call_later(LOOK_SECONDS, self._look)
