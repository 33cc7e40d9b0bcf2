"""One hub per process: between the Channels layer, the log and this process's streams.

The log is the truth and the layer its doorbell. An event that the layer brings is fanned out at
once if it is the next of its target; anything missing is read from the log. While the layer is
away the hub tails the log instead, so that events still cross processes, later and not lost.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import random
import threading
import time
import zlib
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from channels.layers import get_channel_layer
from django.conf import settings
from django.db import Error

from sse.conf import conf
from sse.live import metrics
from sse.live.addresses import network
from sse.live.membership import Membership
from sse.live.peers import Peers
from sse.live.topics import Subscription, Topic
from sse.log import store
from sse.log.frames import Frame
from sse.log.store import Position
from sse.log.targets import CONTROL, storable
from sse.process import outages, registry
from sse.process.duties import Duty, brief
from sse.process.runtime import Runtime, get_runtime, run_on
from sse.process.supervisor import Pulse

if TYPE_CHECKING:
    from sse.streams.stream import Stream

logger = logging.getLogger("sse.live.hub")

T = TypeVar("T")

# Over several Redis servers the layer spreads groups; so many are enough to reach each of them.
GROUPS_OVER_SHARDS = 16
# A publication that takes longer is given up, and the layer held to be away.
PUBLISH_SECONDS = 1.0
JOIN_SECONDS = 2.0
# How long the layer may be silent before it is asked for a sign of life, and may owe it.
PROBE_EVERY_SECONDS = 1.0
DEAF_AFTER_SECONDS = 3.0
# A loop that was busy or stood still for so long has not been listening. It has to have turned.
SILENT_TURNS = 10
RETRY_SECONDS = 0.5
TAIL_SECONDS = 0.25
TICK_SECONDS = 0.1
CHECK_SECONDS = 4.0
HEARTBEAT_SECONDS = 5.0
PEERS_SECONDS = 1.0
# A check compares one by one what contradicts the log. The next one goes on.
LOOKS_SECONDS = 10.0
PRUNE_SECONDS = 600.0
TOPIC_KEPT_SECONDS = 15.0
# A missing predecessor usually comes right behind; only then is the log asked.
GAP_SECONDS = 0.02
PAGE_EVENTS = 256
PAGE_CHARACTERS = 256 * 1024
# Of all targets together. A reader that is behind holds on to one page more.
PAGES_KEPT = 512
PAGES_KEPT_BYTES = 32 * 1024 * 1024
PAGE_SECONDS = 5.0
OUTBOX_EVENTS = 20_000
# For streams that are being opened meanwhile.
REVOCATIONS_KEPT = 256
TOPICS_AT_ONCE = 200
BATCH_EVENTS = 200
BATCH_BYTES = 256 * 1024
# When a thousand clients come back, live events and the hub's own reads pass between these.
STREAMS_AT_ONCE = 8
# Pruning a log that has grown for long takes many small transactions.
PRUNING_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Page:
    """A stretch of a target's log."""

    frames: list[Frame]
    weight: int  # in bytes
    full: bool  # it ends where it does because of its size: it cannot grow

    def after(self, seq: int) -> list[Frame]:
        for index, frame in enumerate(self.frames):
            if frame.seq > seq:
                return self.frames[index:]
        return []


@dataclass(frozen=True, slots=True)
class Revocation:
    at: float
    subject: str | None  # None: everyone
    unless: str = ""

    def concerns(self, subjects: Set[str]) -> bool:
        return self.subject is None or (
            self.subject in subjects and self.unless not in subjects
        )


@dataclass(slots=True)
class Outgoing:
    """An event on its way to the layer."""

    target: str
    epoch: str
    seq: int
    data: str
    barrier: bool
    since: int

    def as_list(self) -> list[Any]:
        return [self.target, self.epoch, self.seq, self.data, self.barrier, self.since]


class Hub:
    """All methods run on the hub's loop, except `publish`, `status` and `drain`."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.loop = runtime.loop
        self.name = runtime.name
        self.topics: dict[str, Topic] = {}
        self.streams: set[Stream] = set()
        self.streams_of: Counter[str] = Counter()
        self.streams_from: Counter[str] = Counter()
        self.listening = False
        self._redis = settings.USE_REDIS_SSE
        self._layer = get_channel_layer()
        self._outbox: deque[Outgoing] = deque(maxlen=OUTBOX_EVENTS)
        self._publishing: asyncio.Task[None] | None = None
        # Whether the layer brings this hub its own messages; in memory until it does not.
        self._healthy = not self._redis
        self._down_since: float | None = None
        self._down_why = ""
        self._filled_when_heard = 0
        shards = len(settings.REDIS_URLS) if self._redis else 1
        names = range(GROUPS_OVER_SHARDS if shards > 1 else 1)
        self._groups = tuple(f"sse.{number}" for number in names)
        self._membership = Membership(
            self._layer, self._groups, heard=self._heard, failed=self._receiving_failed
        )
        self._peers = Peers(self._groups)
        self._apart: frozenset[str] = frozenset()
        # When this hub last heard itself in each group.
        self._heard_at = dict.fromkeys(self._groups, 0.0)
        self._probed_at = 0.0
        # For how many turns of the probing loop the most silent group has been silent.
        self._silent_turns = 0
        # Those that proved to work, and that nothing has been said against since.
        self._proven: set[str] = set()
        self._echo = asyncio.Event()
        self._joining: dict[str, asyncio.Future[Topic]] = {}
        self._filling: set[str] = set()
        self._replaced_said = 0
        self._pages: OrderedDict[tuple[int, str, int], tuple[float, asyncio.Task[Page]]]
        self._pages = OrderedDict()
        self._beating = asyncio.Lock()
        self._beat_at: float | None = None
        # Why the last beat failed; "" after one that succeeded.
        self.beat_error = ""
        # The same as sse.process.outages names it.
        self.beat_trouble = ""
        self._beats = Duty("the process's beat", self._beat, every=HEARTBEAT_SECONDS)
        self._tails = Duty("tailing the log", self._tail, every=TAIL_SECONDS)
        self._checks = Duty("checking positions", self._check, every=CHECK_SECONDS)
        self.duties: dict[str, Duty] = {}
        self._arrived: set[Stream] = set()
        self._departed: list[str] = []
        self._known = False
        self.stalled: set[Stream] = set()
        self.counts = metrics.Counts()
        self.registry = metrics.registry(self)
        self._control = Subscription(self, self._revocations)
        self._revoked: deque[Revocation] = deque(maxlen=REVOCATIONS_KEPT)
        self.closing = False
        # Streams that are being let in, and those that read on from the log.
        self.newcomers = asyncio.Semaphore(STREAMS_AT_ONCE)
        self.latecomers = asyncio.Semaphore(STREAMS_AT_ONCE)

    # --- for any thread -----------------------------------------------------------------

    def publish(self, event: Outgoing) -> None:
        """Hand over an event that is committed, or ephemeral. Never waits, never raises."""
        self._outbox.append(event)
        self.counts.published += 1
        waiting = len(self._outbox)
        if waiting > self.counts.outbox_high_water:
            self.counts.outbox_high_water = waiting
        try:
            self.loop.call_soon_threadsafe(self._wake_publisher)
        except RuntimeError:
            # The loop has ended with its process; what is durable is in the log.
            logger.debug("event left to the log: the hub's loop is closed")

    @property
    def mode(self) -> str:
        """`memory`, `redis`, or `degraded`: the log carries the events."""
        if not self._sound:
            return "degraded"
        return "redis" if self._redis else "memory"

    @property
    def _sound(self) -> bool:
        return self._healthy and not self._apart

    @property
    def busy(self) -> bool:
        """Whether something published has not reached the layer yet."""
        return bool(self._outbox) or self._publishing is not None

    def status(self) -> dict[str, Any]:
        down = self._down_since
        return {
            "mode": self.mode,
            "streams": len(self.streams),
            "targets": len(self.topics),
            "degraded_seconds": round(time.monotonic() - down, 1) if down else 0,
            "reason": self._reason,
        }

    @property
    def _reason(self) -> str | None:
        if self._down_since is None:
            return None
        if self._healthy and self._apart:
            return f"{len(self._apart)} other processes are not heard through it"
        return self._down_why

    def beat_age(self) -> float | None:
        """Seconds since this process last wrote to the database that it lives; None before the
        first time."""
        at = self._beat_at
        return None if at is None else time.monotonic() - at

    # --- life ---------------------------------------------------------------------------

    def listen(self) -> None:
        """Begin to receive: join the layer, keep watch over it, heed revocations."""
        if self.listening:
            return
        self.listening = True
        self.runtime.supervisor.keep("join", self._keep_joined, vital=True)
        self.runtime.supervisor.keep("watch", self._watch, vital=True)
        first_prune = PRUNE_SECONDS * (0.5 + random.random())  # noqa: S311 - no secret
        heed = Duty("heeding revocations", self._heed, every=CHECK_SECONDS)
        look = Duty("looking for other processes", self._look_around, every=PEERS_SECONDS)
        prune = Duty("pruning", self._prune, every=PRUNE_SECONDS, first=first_prune)
        for name, duty in (
            ("control", heed),
            ("tail", self._tails),
            ("check", self._checks),
            ("beat", self._beats),
            ("peers", look),
        ):
            self.duties[name] = duty
            self.runtime.supervisor.keep(name, duty.run, vital=True)
        self.duties["prune"] = prune
        # It gives no sign of life in mid-round, which has a bound of its own.
        self.runtime.supervisor.keep("prune", prune.run, silence=2 * PRUNING_SECONDS)

    async def read_log(self, work: Callable[..., T], *args: Any) -> T:
        """For what every stream needs, and what therefore never waits for a lock."""
        return await self.runtime.database(work, *args, purpose="log")

    def begin_closing(self) -> None:
        """Take no more streams, and send those that are open elsewhere, spread over time."""
        if not self.closing:
            self.closing = True
            for stream in list(self.streams):
                stream.say_goodbye()

    async def close(self) -> None:
        """End the streams, give the layer what was published, sign off. Takes a few seconds at
        the most, whatever the layer and the database do."""
        self.begin_closing()
        try:
            await asyncio.wait_for(self.drain(), 2 * PUBLISH_SECONDS)
        except TimeoutError:
            logger.info("closing before the layer has taken the last events; the log has them")
        if self.listening and self._healthy:
            await self._leave_layer()
        await self.runtime.end_tasks(self._membership.stop)
        if self.listening:
            try:
                leaving = self.runtime.database(
                    registry.leave, self.name, purpose="watch", seconds=2
                )
                await leaving
            except Error as error:
                logger.info("could not sign off in the database: %s", error)
        self.runtime.pools.shutdown()

    async def _leave_layer(self) -> None:
        try:
            async with asyncio.timeout(PUBLISH_SECONDS):
                await self._membership.leave()
        except Exception as error:  # noqa: BLE001 - whatever the layer's client raises, it is away
            logger.info("could not leave the layer: %s", brief(error))

    async def drain(self) -> None:
        """Wait until everything published so far has been given to the layer."""
        while self._outbox or self._publishing:
            if self._publishing is None:
                self._wake_publisher()
            if self._publishing is not None:
                await asyncio.wait([self._publishing])

    # --- publishing ---------------------------------------------------------------------

    def _wake_publisher(self) -> None:
        if self._publishing is None and self._outbox:
            self._publishing = self.loop.create_task(self._publish_all(), name="sse publish")
            self._publishing.add_done_callback(self._publisher_done)

    def _publisher_done(self, task: asyncio.Task[None]) -> None:
        self._publishing = None
        if not task.cancelled() and (error := task.exception()):
            logger.error("publishing failed", exc_info=error)
        if self._outbox and not self.loop.is_closed():
            self._wake_publisher()

    async def _publish_all(self) -> None:
        while self._outbox:
            batch: list[Outgoing] = []
            size = 0
            while self._outbox and len(batch) < BATCH_EVENTS and size < BATCH_BYTES:
                event = self._outbox.popleft()
                batch.append(event)
                size += len(event.data)
            if not await self._ring(batch):
                for event in batch:
                    self._deliver(event)

    async def _ring(self, batch: list[Outgoing]) -> bool:
        """Give a batch to the layer; False if it is away, and the log must do."""
        if not self._healthy and (self.listening or not self._may_retry()):
            return False
        shares: dict[str, list[list[Any]]] = {}
        for event in batch:
            shares.setdefault(self._group_of(event.target), []).append(event.as_list())
        for group, events in shares.items():
            if not await self._send(group, "sse.events", events=events):
                return False
        return True

    def _group_of(self, target: str) -> str:
        if len(self._groups) == 1:
            return self._groups[0]
        return self._groups[zlib.crc32(target.encode()) % len(self._groups)]

    def _may_retry(self) -> bool:
        """For a hub that only publishes, and so has nobody to watch the layer for it."""
        now = time.monotonic()
        if now - self._probed_at < PROBE_EVERY_SECONDS:
            return False
        self._probed_at = now
        return True

    async def _send(self, group: str, kind: str, **content: Any) -> bool:
        message = {"type": kind, "hub": self.name, "group": group, **content}
        try:
            # Not wait_for: before Python 3.12 it loses a cancellation that meets the result.
            # In memory it is not the layer that one would wait for, but a busy loop.
            async with asyncio.timeout(PUBLISH_SECONDS if self._redis else None):
                await self._layer.group_send(group, message)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the layer's client raises, it is away
            self._degrade(f"publishing failed: {brief(error)}", group)
            return False
        if not self._healthy and not self.listening:
            self._recover()
        return True

    # --- receiving ----------------------------------------------------------------------

    def _heard(self, message: dict[str, Any]) -> None:
        own = message["hub"] == self.name
        now = time.monotonic()
        if own:
            self._heard_at[message["group"]] = now
            if self._down_since is None:
                self._filled_when_heard = self.counts.gaps_filled
        else:
            self._peers.hear(message["hub"], message["group"], now)
        if message["type"] == "sse.events":
            for fields in message["events"]:
                self._deliver(Outgoing(*fields))
        elif message["type"] == "sse.probe" and own:
            self._proven.add(message["group"])
            if len(self._proven) == len(self._groups):
                self._echo.set()
        elif message["type"] == "sse.check" and not own:
            self._checks.hurry()

    def _deliver(self, event: Outgoing) -> None:
        """Fan an event out to this process's streams."""
        topic = self.topics.get(event.target)
        if topic is None:
            joining = self._joining.get(event.target)
            if joining is not None and event.seq:
                # Not yet known where the topic stands: it is looked at again once it is.
                joining.add_done_callback(lambda _: self._deliver(event))
            return
        if topic.epoch != event.epoch:
            if event.seq:
                topic.doubted = True
                self._fill_soon(topic)
                return
            if event.epoch:
                return
        frame = Frame(
            topic.epoch, event.seq, event.data, barrier=event.barrier, since=event.since
        )
        before = topic.end
        complete = topic.offer(frame)
        if topic.end != before and topic.subscriptions:
            self._notify(topic)
            metrics.LATENCY.observe(max(0.0, time.time() - frame.timestamp))
        if not complete:
            self._fill_soon(topic)

    def _notify(self, topic: Topic) -> None:
        for subscription in list(topic.subscriptions):
            subscription.notify()

    def _fill_soon(self, topic: Topic) -> None:
        if topic.name not in self._filling:
            self._filling.add(topic.name)
            self.runtime.spawn(self._fill(topic, GAP_SECONDS), "fill")

    async def _fill(self, topic: Topic, delay: float = 0.0) -> None:
        """Read what a topic misses from the log."""
        try:
            if delay:
                await asyncio.sleep(delay)
            while topic.doubted or topic.heard > topic.seq:
                if topic.doubted:
                    await self.look(topic)
                    continue
                epoch, start = topic.epoch, topic.seq
                rows = await self.read_log(_read_page, topic.id, epoch, start)
                if topic.epoch != epoch:
                    break
                if (not rows or rows[0].seq != start + 1) and topic.seq == start:
                    await self.look(topic, trimmed=True)
                    break
                for row in rows:
                    if row.seq == topic.seq + 1:
                        self.counts.gaps_filled += 1
                        topic.offer(
                            Frame(epoch, row.seq, row.data, barrier=row.barrier, since=0)
                        )
                self._notify(topic)
        except Error as error:
            # The next check of positions finds what is missing.
            outages.note("events that the layer did not bring", error)
        finally:
            self._filling.discard(topic.name)

    async def look(self, topic: Topic, *, trimmed: bool = False) -> None:
        """Compare a topic with the log, and read what it misses.

        If the log is not the one the topic was read from, or, `trimmed`, no longer has what
        comes next, every stream must read its state again.
        """
        epoch, seq, contradicted = topic.epoch, topic.seq, topic.contradicted
        at = await self.read_log(store.position, topic.name)
        # The topic holds nothing that was not committed before the log was asked. What the log
        # lacks it has lost: an older database was put in its place. It may grow past the lost
        # numbers, so cursors that know them have to become foreign.
        if at.epoch == epoch and (contradicted or at.seq < seq):
            before = None if contradicted else seq
            at = await self.runtime.database(
                store.renew, topic.name, epoch, before, purpose="chores"
            )
        if topic.epoch != epoch:
            # It was compared by another meanwhile.
            return
        if at.epoch == epoch and not (trimmed and at.seq > topic.seq):
            topic.doubted = False
            topic.heard = max(topic.seq, at.seq)
            if topic.heard > topic.seq:
                self._fill_soon(topic)
            return
        self.counts.replaced += at.epoch != epoch
        topic.start(at)
        for subscription in list(topic.subscriptions):
            subscription.lose("log replaced")
            subscription.notify()

    # --- subscriptions ------------------------------------------------------------------

    async def join(self, name: str, subscription: Subscription) -> Topic:
        """Have the subscription notified of a target's events; the topic, placed in the log."""
        self.listen()
        topic = self.topics.get(name)
        if topic is None:
            joining = self._joining.get(name)
            if joining is None:
                joining = self.loop.create_future()
                self._joining[name] = joining
                self.runtime.spawn(self._place(name, joining), "place")
            topic = await asyncio.shield(joining)
        topic.subscriptions.add(subscription)
        return topic

    async def _place(self, name: str, joining: asyncio.Future[Topic]) -> None:
        try:
            at = await self.read_log(store.position, name)
        except Exception as error:  # noqa: BLE001 - handed to everyone who waits for the topic
            del self._joining[name]
            joining.set_exception(error)
            joining.exception()
            return
        topic = Topic(name, at)
        self.topics[name] = topic
        del self._joining[name]
        joining.set_result(topic)

    def leave(self, topic: Topic, subscription: Subscription) -> None:
        topic.subscriptions.discard(subscription)
        topic.idle_since = time.monotonic()

    def _forget_idle(self) -> None:
        """Topics and pages outlive their last reader for a while, since streams come back."""
        long_ago = time.monotonic() - TOPIC_KEPT_SECONDS
        for topic in list(self.topics.values()):
            if not topic.subscriptions and topic.idle_since < long_ago:
                del self.topics[topic.name]
        for key, (born, _) in list(self._pages.items()):
            if born < long_ago:
                del self._pages[key]

    async def page(self, topic: Topic, after: int) -> list[Frame]:
        """Frames from the log, beginning with the one after `after` if the log has it.

        Pages begin at fixed numbers, or where a heavy one ended, and are kept for seconds, so
        that a thousand clients that come back at once read each of them once.
        """
        start = after - after % PAGE_EVENTS
        while True:
            page = await self._page(topic, start, after)
            if not page.full or page.frames[-1].seq > after:
                return page.after(after)
            start = page.frames[-1].seq

    async def _page(self, topic: Topic, start: int, after: int) -> Page:
        key = (topic.id, topic.epoch, start)
        now = time.monotonic()
        kept = self._pages.get(key)
        if kept is not None:
            born, reading = kept
            stale = now - born > PAGE_SECONDS
            if reading.done() and not stale:
                stale = reading.cancelled() or reading.exception() is not None
                if not stale:
                    page = reading.result()
                    stale = not page.full and not page.after(after)
            if not stale:
                self._pages.move_to_end(key)
                return await asyncio.shield(reading)
        reading = self.runtime.spawn(self._read_page(topic, start), "page")
        self._pages[key] = (now, reading)
        while len(self._pages) > PAGES_KEPT:
            self._pages.popitem(last=False)
        page = await asyncio.shield(reading)
        self._drop_heavy_pages()
        return page

    async def _read_page(self, topic: Topic, start: int) -> Page:
        epoch = topic.epoch
        self.counts.pages_read += 1
        rows = await self.read_log(_read_page, topic.id, epoch, start)
        size = sum(len(row.data) for row in rows)
        frames = [Frame(epoch, row.seq, row.data, barrier=row.barrier, since=0) for row in rows]
        return Page(
            frames,
            weight=sum(len(frame.wire) for frame in frames),
            full=len(rows) == PAGE_EVENTS or size >= PAGE_CHARACTERS,
        )

    def _drop_heavy_pages(self) -> None:
        """Keep the pages used last, as many as have room."""
        weight = 0
        for key, (_, reading) in reversed(list(self._pages.items())):
            if reading.done() and not reading.cancelled() and reading.exception() is None:
                weight += reading.result().weight
                if weight > PAGES_KEPT_BYTES:
                    del self._pages[key]

    # --- watching the layer -------------------------------------------------------------

    async def _watch(self, pulse: Pulse) -> None:
        """Look after slow streams, and at how late the loop is. Waits for nothing else."""
        while True:
            pulse()
            for stream in list(self.stalled):
                try:
                    stream.look()
                except Exception:
                    # Its transport's trouble must not keep the others waiting.
                    logger.exception("a slow stream failed and is ended")
                    stream.end("failed")
            due = time.monotonic() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            metrics.LOOP_LAG.observe(max(0.0, time.monotonic() - due))

    async def _heed(self) -> None:
        """Have revocations reach this process's streams."""
        if not self._control.opened:
            await self._control.open((storable(CONTROL),), None)

    async def _tail(self) -> None:
        """While the layer does not bring everything, look into the log instead."""
        if not self._sound or self._peers.unheard:
            await self._check_positions()

    async def _check(self) -> None:
        self._forget_idle()
        await self._check_positions()
        if replaced := self.counts.replaced - self._replaced_said:
            self._replaced_said += replaced
            logger.warning(
                "the logs of %d targets are not those of before, and their streams read their "
                "state again. After restoring an older database run manage.py renew_epochs",
                replaced,
            )

    async def _look_around(self) -> None:
        others = await self.runtime.database(registry.others, self.name, purpose="watch")
        listening = self._redis and self._healthy
        self._peers.look(others, time.monotonic(), listening=listening)
        before, self._apart = self._apart, self._peers.apart
        if self._apart == before:
            return
        self._beats.hurry()
        if self._apart and not before:
            # Each of them may be well with a Redis of its own.
            self._begin_outage("other processes are not heard through it")
        elif not self._apart and self._healthy:
            await self._catch_up()

    async def _prune(self) -> None:
        await self.runtime.database(_prune, purpose="pruning", seconds=PRUNING_SECONDS)

    async def _keep_joined(self, pulse: Pulse) -> None:
        """Join the layer, and join it again whenever it is found away or deaf."""
        joined = False
        while True:
            pulse()
            if self._healthy and joined:
                await self._probe(time.monotonic())
                await asyncio.sleep(TICK_SECONDS)
            else:
                await self._try_join()
                joined = True
                if not self._healthy:
                    await asyncio.sleep(RETRY_SECONDS)

    async def _probe(self, now: float) -> None:
        heard_at = min(self._heard_at.values())
        silence = now - heard_at
        if silence < PROBE_EVERY_SECONDS:
            self._silent_turns = 0
        else:
            self._silent_turns += 1
        if self._membership.expires:
            await self._stay()
        if silence > DEAF_AFTER_SECONDS and self._silent_turns > SILENT_TURNS:
            deaf = (g for g, at in self._heard_at.items() if now - at > PROBE_EVERY_SECONDS)
            self._degrade("it does not bring back what is sent to it", *deaf)
        elif silence > PROBE_EVERY_SECONDS and now - self._probed_at > PROBE_EVERY_SECONDS:
            self._probed_at = now
            for group, heard_at in self._heard_at.items():
                if now - heard_at > PROBE_EVERY_SECONDS:
                    await self._send(group, "sse.probe")

    async def _stay(self) -> None:
        """Renew a membership that the layer would forget after a time."""
        try:
            async with asyncio.timeout(JOIN_SECONDS):
                await self._membership.renew()
        except Exception as error:  # noqa: BLE001 - whatever the layer's client raises, it is away
            self._degrade(f"joining failed: {brief(error)}", *self._groups)

    async def _try_join(self) -> None:
        """Join the layer afresh and wait for an echo, which alone proves that it works."""
        suspects = set(self._groups) - self._proven
        self._proven.clear()
        self._echo.clear()
        try:
            async with asyncio.timeout(JOIN_SECONDS):
                await self._membership.join(suspects, self._probe_of)
            # The layer's client may have swallowed the timeout that was around that.
            async with asyncio.timeout(JOIN_SECONDS):
                await self._echo.wait()
        except Exception as error:  # noqa: BLE001 - whatever the layer's client raises, it is away
            self._degrade(f"joining failed: {brief(error)}")
            return
        self._recover()
        self._beats.hurry()
        if not self._apart:
            await self._catch_up()

    def _probe_of(self, group: str) -> dict[str, Any]:
        return {"type": "sse.probe", "hub": self.name, "group": group}

    def _receiving_failed(self, error: BaseException) -> None:
        self._degrade(f"receiving failed: {brief(error)}", *self._groups)

    def _degrade(self, why: str, *suspects: str) -> None:
        """The layer is away. `suspects`: the groups that showed it."""
        self._healthy = False
        self._proven.difference_update(suspects)
        self._begin_outage(why)

    def _begin_outage(self, why: str) -> None:
        if self._down_since is None:
            self._down_since = time.monotonic()
            self._down_why = why
            self.counts.outages += 1
            self._beats.hurry()
            self._tails.hurry()
            logger.warning(
                "%s is away (%s): degraded, the log in the database carries events between "
                "processes until it is back",
                self._layer_name,
                why,
            )

    def _recover(self) -> None:
        self._healthy = True
        self._probed_at = time.monotonic()
        self._heard_at = dict.fromkeys(self._groups, self._probed_at)
        if not self.listening:
            self._announce_recovery()

    async def _catch_up(self) -> None:
        """What came before the layer was back may have passed this process by, and others."""
        try:
            await self._check_positions()
        except Error as error:
            # The next check of positions finds it.
            logger.warning("the event log cannot be read: %s", brief(error))
        self._announce_recovery()
        await self._send(self._groups[0], "sse.check")

    def _announce_recovery(self) -> None:
        if self._down_since is not None:
            logger.info(
                "%s is back after %.1f s; %d events were caught up from the log",
                self._layer_name,
                time.monotonic() - self._down_since,
                self.counts.gaps_filled - self._filled_when_heard,
            )
            self.counts.degraded_seconds = self.degraded_seconds()
            self._down_since = None

    @property
    def _layer_name(self) -> str:
        return "Redis" if self._redis else "The in-memory layer"

    def degraded_seconds(self) -> float:
        """Without the layer since the hub's start, the present outage included."""
        down = self._down_since
        return self.counts.degraded_seconds + (time.monotonic() - down if down else 0)

    async def _check_positions(self) -> None:
        """Compare every topic with the log and read what is missing."""
        asked = [(topic, topic.epoch, topic.seq) for topic in self.topics.values()]
        if not asked:
            return
        found = await self.read_log(_positions, [topic.id for topic, _, _ in asked])
        behind: list[Topic] = []
        strange: list[Topic] = []
        for topic, epoch, seq in asked:
            at = found.get(topic.id)
            if topic.epoch != epoch or self.topics.get(topic.name) is not topic:
                continue
            if at is None or at.epoch != epoch or at.seq < seq or topic.doubted:
                strange.append(topic)
            elif at.seq > topic.seq:
                topic.heard = max(topic.heard, at.seq)
                if topic.name not in self._filling:
                    behind.append(topic)
        await self._fill_many(behind)
        failure: Error | None = None
        until = time.monotonic() + LOOKS_SECONDS
        # So that a few that take long are not the first each time.
        random.shuffle(strange)
        for topic in strange:
            try:
                await self.look(topic)
            except Error as error:
                # Its row may be locked; the others' are not.
                failure = error
            if time.monotonic() >= until:
                break
        if failure is not None:
            raise failure

    async def _fill_many(self, topics: list[Topic]) -> None:
        """Read what many topics miss, many at a time."""
        for start in range(0, len(topics), TOPICS_AT_ONCE):
            some = {topic.id: topic for topic in topics[start : start + TOPICS_AT_ONCE]}
            after = {topic.id: topic.seq for topic in some.values()}
            rows = await self.read_log(store.read_many, after, PAGE_EVENTS * 4)
            for target_id, row in rows:
                topic = some[target_id]
                if row.seq == topic.seq + 1:
                    self.counts.gaps_filled += 1
                    topic.offer(
                        Frame(topic.epoch, row.seq, row.data, barrier=row.barrier, since=0)
                    )
            for topic in some.values():
                if topic.seq > after[topic.id]:
                    self._notify(topic)
                if topic.heard > topic.seq:
                    self._fill_soon(topic)

    # --- presence and revocation --------------------------------------------------------

    def arrive(self, stream: Stream) -> None:
        """Count a stream in."""
        self.streams.add(stream)
        self.streams_of[stream.targets[0]] += 1
        self.streams_from[network(stream.address)] += 1
        self.counts.opened += 1
        self._arrived.add(stream)
        if stream.presence or stream.user_id:
            self._beats.hurry()

    def depart(self, stream: Stream) -> None:
        """Count a stream out."""
        self.streams.discard(stream)
        self.stalled.discard(stream)
        for counter, key in (
            (self.streams_of, stream.targets[0]),
            (self.streams_from, network(stream.address)),
        ):
            counter[key] -= 1
            if counter[key] <= 0:
                del counter[key]
        if stream in self._arrived:
            self._arrived.discard(stream)
        else:
            self._departed.append(stream.name)
        if stream.presence or stream.user_id:
            self._beats.hurry()

    async def _beat(self) -> None:
        async with self._beating:
            arrived, self._arrived = self._arrived, set()
            departed, self._departed = self._departed, []
            try:
                unknown = await self._tell(arrived, departed)
                if unknown and self._known:
                    # Silent for so long that others took this process for dead.
                    await self._tell(self.streams, [])
            except BaseException as error:
                self._arrived |= {stream for stream in arrived if stream in self.streams}
                self._departed += departed
                self.beat_error = brief(error) if isinstance(error, Exception) else "it hangs"
                self.beat_trouble = outages.kind(error)
                raise
            self._known = True
            self._beat_at = time.monotonic()
            self.beat_error = self.beat_trouble = ""

    async def _tell(self, arrived: set[Stream], departed: list[str]) -> bool:
        return await self.runtime.database(
            registry.beat,
            self.name,
            not (self._redis and self._sound),
            self._redis and self._healthy,
            len(self.streams),
            [stream.opened for stream in arrived],
            departed,
            purpose="watch",
        )

    def _revocations(self) -> None:
        if not self._control.opened:
            return
        if self._control.behind or self._control.reset:
            # Some were missed: whoever is connected has to prove itself again.
            self._control.lose("behind")
            self._control.reset = None
            self._revoke(Revocation(self.loop.time(), None))
        while taken := self._control.take(BATCH_BYTES):
            for frame, _ in taken:
                event = frame.data
                if event["type"] == "revoke":
                    self._revoke(Revocation(self.loop.time(), **event["payload"]))

    def _revoke(self, revocation: Revocation) -> None:
        self._revoked.append(revocation)
        for stream in list(self.streams):
            if revocation.concerns(stream.subjects):
                self.counts.revoked += 1
                stream.end("revoked")

    def revoked_since(self, moment: float, subjects: Set[str]) -> bool:
        """Whether a right that was looked up at this time of the loop may be gone since."""
        for revocation in reversed(self._revoked):
            if revocation.at < moment:
                return False
            if revocation.concerns(subjects):
                return True
        return len(self._revoked) == REVOCATIONS_KEPT


def _positions(target_ids: list[int]) -> dict[int, Position]:
    return {at.target_id: at for at in store.positions(target_ids)}


def _read_page(target_id: int, epoch: str, after: int) -> list[store.Row]:
    return store.read(target_id, epoch, after=after, limit=PAGE_EVENTS, most=PAGE_CHARACTERS)


def _prune() -> None:
    pruned = store.prune(hours=conf.SSE_RETENTION_HOURS, events=conf.SSE_RETENTION_EVENTS)
    registry.forget_silent()
    if pruned:
        logger.info("%d events past their retention were deleted", pruned)


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
    atexit.register(_drain_at_exit, hub)
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


def _drain_at_exit(hub: Hub) -> None:
    if hub.loop.is_running() and hub.busy:
        future = asyncio.run_coroutine_threadsafe(hub.drain(), hub.loop)
        try:
            future.result(timeout=2 * PUBLISH_SECONDS)
        except TimeoutError:
            logger.info("the process ends before the layer has taken its last events")
