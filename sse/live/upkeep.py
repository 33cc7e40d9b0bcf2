"""What a process that listens does again and again, each duty by itself."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from sse.conf import conf
from sse.live.beats import Beats
from sse.live.census import Census
from sse.live.counts import Counts
from sse.live.exchange import Exchange
from sse.live.gaps import Gaps
from sse.live.link import Link
from sse.live.pages import Pages
from sse.live.revocations import Revocations
from sse.log import store
from sse.process import registry
from sse.process.duties import Duty
from sse.process.runtime import Runtime
from sse.process.supervisor import Pulse

logger = logging.getLogger("sse.live.upkeep")

TAIL_SECONDS = 0.25
TICK_SECONDS = 0.1
CHECK_SECONDS = 4.0
HEARTBEAT_SECONDS = 5.0
PEERS_SECONDS = 1.0
PRUNE_SECONDS = 600.0
# Pruning a log that has grown for long takes many small transactions.
PRUNING_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Calls:
    """Set to have a duty begin its next round now."""

    beat: asyncio.Event = field(default_factory=asyncio.Event)
    tail: asyncio.Event = field(default_factory=asyncio.Event)
    check: asyncio.Event = field(default_factory=asyncio.Event)

    def in_an_outage(self) -> None:
        self.beat.set()
        self.tail.set()


class Upkeep:
    """Used on the hub's loop."""

    def __init__(
        self,
        runtime: Runtime,
        counts: Counts,
        calls: Calls,
        *,
        link: Link,
        exchange: Exchange,
        gaps: Gaps,
        pages: Pages,
        census: Census,
        beats: Beats,
        revocations: Revocations,
    ) -> None:
        self._runtime = runtime
        self._counts = counts
        self._calls = calls
        self._link = link
        self._exchange = exchange
        self._gaps = gaps
        self._pages = pages
        self._census = census
        self._beats = beats
        self._revocations = revocations
        self.duties: dict[str, Duty] = {}

    def begin(self) -> None:
        """Have the process's supervisor keep all of it."""
        keep = self._runtime.supervisor.keep
        keep("join", self._link.keep_joined, vital=True)
        keep("watch", self._watch, vital=True)
        for name, duty in self._vital_duties():
            self.duties[name] = duty
            keep(name, duty.run, vital=True)
        first = PRUNE_SECONDS * (0.5 + random.random())  # noqa: S311 - no secret
        prune = Duty("pruning", self._prune, every=PRUNE_SECONDS, first=first)
        self.duties["prune"] = prune
        # It gives no sign of life in mid-round, which has a bound of its own.
        keep("prune", prune.run, silence=2 * PRUNING_SECONDS)

    def _vital_duties(self) -> Iterator[tuple[str, Duty]]:
        calls = self._calls
        yield (
            "control",
            Duty("heeding revocations", self._revocations.heed, every=CHECK_SECONDS),
        )
        yield (
            "tail",
            Duty("tailing the log", self._tail, every=TAIL_SECONDS, called=calls.tail),
        )
        yield (
            "check",
            Duty("checking positions", self._check, every=CHECK_SECONDS, called=calls.check),
        )
        yield (
            "beat",
            Duty(
                "the process's beat",
                self._beats.beat,
                every=HEARTBEAT_SECONDS,
                called=calls.beat,
            ),
        )
        yield (
            "peers",
            Duty("looking for other processes", self._look_around, every=PEERS_SECONDS),
        )

    async def _watch(self, pulse: Pulse) -> None:
        """Look after slow streams, and at how late the loop is. Waits for nothing else."""
        while True:
            pulse()
            self._census.look_after_stalled()
            due = time.monotonic() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            self._counts.lag.observe(max(0.0, time.monotonic() - due))

    async def _tail(self) -> None:
        """Where the layer does not bring everything, look into the log instead."""
        if not self._link.suffices:
            await self._gaps.check()

    async def _check(self) -> None:
        self._exchange.forget_idle()
        self._pages.forget_unread()
        await self._gaps.check()
        self._gaps.say_what_was_replaced()

    async def _look_around(self) -> None:
        name = self._runtime.name
        await self._link.meet(
            await self._runtime.database(registry.others, name, purpose="watch")
        )

    async def _prune(self) -> None:
        await self._runtime.database(_prune, purpose="pruning", seconds=PRUNING_SECONDS)


def _prune() -> None:
    pruned = store.prune(hours=conf.SSE_RETENTION_HOURS, events=conf.SSE_RETENTION_EVENTS)
    registry.forget_silent()
    if pruned:
        logger.info("%d events past their retention were deleted", pruned)
