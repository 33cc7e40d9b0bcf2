"""One hub per process: between the Channels layer, the log and this process's streams.

The log is the truth and the layer its doorbell. An event that the layer brings is fanned out at
once if it is the next of its target; anything missing is read from the log. Where the layer
does not reach, the log is tailed instead, so that events still cross processes, later and not
lost.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any

from django.db import Error

from sse.live.beats import Beats
from sse.live.census import Census
from sse.live.counts import Counts, Distribution, Snapshot
from sse.live.exchange import Exchange
from sse.live.gaps import Gaps
from sse.live.layers import Layer, configured_layer
from sse.live.link import Link
from sse.live.outage import Outage
from sse.live.outbox import Outbox, Outgoing
from sse.live.pages import Pages
from sse.live.revocations import Revocations
from sse.live.subscriptions import Source, Subscription
from sse.live.topics import Topic
from sse.live.upkeep import Calls, Upkeep
from sse.process import registry
from sse.process.runtime import Runtime, get_runtime, run_on

logger = logging.getLogger("sse.live.hub")

# What closing and the end of the process give the layer for the last events.
DRAIN_SECONDS = 2.0
# When a thousand clients come back, live events and the hub's own reads pass between these.
STREAMS_AT_ONCE = 8


class Hub:
    """Makes the parts, and gives each the neighbours it needs. No part knows the hub.

    Used on its loop, except `publish`, `drain`, and what only tells how it is.
    """

    def __init__(self, runtime: Runtime, layer: Layer | None = None) -> None:
        """`layer`: else the one that the settings name."""
        self.runtime = runtime
        self.loop = runtime.loop
        self.name = runtime.name
        self.layer = layer or configured_layer()
        self.counts = counts = Counts()
        self.listening = False
        self.closing = False
        # Streams that are being let in, and those that read on from the log.
        self.newcomers = asyncio.Semaphore(STREAMS_AT_ONCE)
        self.latecomers = asyncio.Semaphore(STREAMS_AT_ONCE)
        calls = Calls()

        self.topics: dict[str, Topic] = {}
        self.pages = Pages(runtime, counts)
        self.gaps = Gaps(runtime, self.topics, counts)
        self.exchange = Exchange(runtime, self.topics, counts, fill_soon=self.gaps.fill_soon)
        self._source = Source(
            join=self.exchange.join,
            leave=self.exchange.leave,
            look=self.gaps.look,
            page=self.pages.after,
        )
        self.census = Census(counts, changed=calls.beat.set)
        self.revocations = Revocations(
            partial(Subscription, self._source), self.census.streams, counts, self.loop.time
        )
        self.outage = Outage(self.layer.name, counts, began=calls.in_an_outage)
        self.link = Link(
            self.layer,
            self.name,
            self.outage,
            deliver=self.exchange.deliver,
            catch_up=self.gaps.check,
            check_soon=calls.check.set,
            changed=calls.beat.set,
        )
        self.beats = Beats(runtime, self.census, self.link)
        self.outbox = Outbox(
            self.loop, counts, ring=self.link.ring, deliver=self.exchange.deliver
        )
        self.upkeep = Upkeep(
            runtime,
            counts,
            calls,
            link=self.link,
            exchange=self.exchange,
            gaps=self.gaps,
            pages=self.pages,
            census=self.census,
            beats=self.beats,
            revocations=self.revocations,
        )

    def publish(self, event: Outgoing) -> None:
        """Hand over an event that is committed, or ephemeral. Never waits, never raises."""
        self.outbox.put(event)

    def subscribe(self, notify: Callable[[], None]) -> Subscription:
        """One that is yet to be opened. On the hub's loop: from now on this process listens."""
        self.listen()
        return Subscription(self._source, notify)

    # --- how it is ----------------------------------------------------------------------

    @property
    def mode(self) -> str:
        """`memory`, `redis`, `layer`, or `degraded`: the log carries the events."""
        return self.link.mode

    def status(self) -> dict[str, Any]:
        return {
            "mode": self.link.mode,
            "streams": len(self.census.streams),
            "targets": len(self.topics),
            "degraded_seconds": round(self.outage.lasting(), 1),
            "reason": self.link.reason,
        }

    def snapshot(self) -> Snapshot:
        counts = self.counts
        totals = {
            each.name: value
            for each in fields(counts)
            if isinstance(value := getattr(counts, each.name), int)
        }
        return Snapshot(
            totals={**totals, "degraded_seconds": self.outage.seconds()},
            refused=dict(counts.refused),
            work=tuple(self.runtime.supervisor.failures()),
            duty_failures={name: duty.failures for name, duty in self.upkeep.duties.items()},
            streams=len(self.census.streams),
            topics=len(self.topics),
            degraded=self.link.mode == "degraded",
            latency=Distribution.of(counts.latency),
            lag=Distribution.of(counts.lag),
        )

    # --- life ---------------------------------------------------------------------------

    def listen(self) -> None:
        """Begin to receive: join the layer, keep watch over it, heed revocations."""
        if not self.listening:
            self.listening = self.link.kept = True
            self.upkeep.begin()

    def begin_closing(self) -> None:
        """Take no more streams, and send those that are open elsewhere, spread over time."""
        if not self.closing:
            self.closing = True
            self.census.say_goodbye()

    async def close(self) -> None:
        """End the streams, give the layer what was published, sign off. Takes a few seconds at
        the most, whatever the layer and the database do."""
        self.begin_closing()
        try:
            await asyncio.wait_for(self.outbox.drain(), DRAIN_SECONDS)
        except TimeoutError:
            logger.info("closing before the layer has taken the last events; the log has them")
        await self.link.leave()
        await self.runtime.end_tasks(self.link.stop)
        if self.listening:
            await self._sign_off()
        self.runtime.pools.shutdown()

    async def _sign_off(self) -> None:
        try:
            await self.runtime.database(registry.leave, self.name, purpose="watch", seconds=2)
        except Error as error:
            logger.info("could not sign off in the database: %s", error)


# --- this process's hub ---------------------------------------------------------------------

_lock = threading.Lock()
_hub: Hub | None = None


def get_hub() -> Hub:
    """The hub of this process's runtime."""
    runtime = get_runtime()
    hub = _hub
    if hub is not None and hub.runtime is runtime:
        return hub
    hub = _make(runtime)
    atexit.register(_drain_at_exit, hub, os.getpid())
    return hub


def serve_on(loop: asyncio.AbstractEventLoop) -> Hub:
    """Make `loop` (a server's) carry this process's hub, and start to listen."""
    hub = _make(run_on(loop))
    hub.listen()
    return hub


def _make(runtime: Runtime) -> Hub:
    global _hub
    with _lock:
        if _hub is None or _hub.runtime is not runtime:
            _hub = Hub(runtime)
        return _hub


def stand_in(hub: Hub | None) -> Hub | None:
    """Make another one, beside its runtime, that of this process; the one before."""
    global _hub
    with _lock:
        before, _hub = _hub, hub
        return before


def _begin_anew() -> None:
    """In a forked child: one of the parent's threads may have held the lock."""
    global _lock, _hub
    _lock = threading.Lock()
    _hub = None


os.register_at_fork(after_in_child=_begin_anew)


def _drain_at_exit(hub: Hub, pid: int) -> None:
    # A forked child inherits the call, but not the loop's thread.
    if pid == os.getpid() and hub.loop.is_running() and hub.outbox.busy:
        future = asyncio.run_coroutine_threadsafe(hub.outbox.drain(), hub.loop)
        try:
            future.result(timeout=DRAIN_SECONDS)
        except TimeoutError:
            logger.info("the process ends before the layer has taken its last events")
