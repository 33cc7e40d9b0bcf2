"""What the layer did not bring: found by comparing topics with the log, and read from it."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Mapping

from django.db import Error

from sse.live.counts import Counts
from sse.live.pages import PAGE_EVENTS, read_page
from sse.live.topics import Topic
from sse.log import store
from sse.log.frames import Frame
from sse.log.store import Position
from sse.process import outages
from sse.process.runtime import Runtime

logger = logging.getLogger("sse.live.gaps")

# A missing predecessor usually comes right behind; only then is the log asked.
GAP_SECONDS = 0.02
# A check compares one by one what contradicts the log. The next one goes on.
LOOKS_SECONDS = 10.0
TOPICS_AT_ONCE = 200


class Gaps:
    """Used on the hub's loop."""

    def __init__(self, runtime: Runtime, topics: Mapping[str, Topic], counts: Counts) -> None:
        """`topics`, by their names, are those that are there now and later."""
        self._runtime = runtime
        self._topics = topics
        self._counts = counts
        self._filling: set[str] = set()
        self._replaced_said = 0

    @property
    def filling(self) -> bool:
        return bool(self._filling)

    def fill_soon(self, topic: Topic) -> None:
        if topic.name not in self._filling:
            self._filling.add(topic.name)
            self._runtime.spawn(self._fill(topic, GAP_SECONDS), "fill")

    async def look(self, topic: Topic, *, trimmed: bool = False) -> None:
        """Compare a topic with the log, and read what it misses.

        If the log is not the one the topic was read from, or, `trimmed`, no longer has what
        comes next, every stream must read its state again.
        """
        epoch, seq, contradicted = topic.epoch, topic.seq, topic.contradicted
        at = await self._runtime.database(store.position, topic.name, purpose="log")
        # The topic holds nothing that was not committed before the log was asked. What the log
        # lacks it has lost: an older database was put in its place. It may grow past the lost
        # numbers, so cursors that know them have to become foreign.
        if at.epoch == epoch and (contradicted or at.seq < seq):
            before = None if contradicted else seq
            at = await self._runtime.database(
                store.renew, topic.name, epoch, before, purpose="chores"
            )
        if topic.epoch != epoch:
            # It was compared by another meanwhile.
            return
        if at.epoch == epoch and not (trimmed and at.seq > topic.seq):
            topic.doubted = False
            topic.heard = max(topic.seq, at.seq)
            if topic.heard > topic.seq:
                self.fill_soon(topic)
            return
        self._counts.replaced += at.epoch != epoch
        topic.start(at)
        for follower in list(topic.followers):
            follower.lose("log replaced")
            follower.notify()

    async def check(self) -> None:
        """Compare every topic with the log and read what is missing."""
        asked = [(topic, topic.epoch, topic.seq) for topic in self._topics.values()]
        if not asked:
            return
        ids = [topic.id for topic, _, _ in asked]
        found = await self._runtime.database(_positions, ids, purpose="log")
        behind: list[Topic] = []
        strange: list[Topic] = []
        for topic, epoch, seq in asked:
            at = found.get(topic.id)
            if topic.epoch != epoch or self._topics.get(topic.name) is not topic:
                continue
            if at is None or at.epoch != epoch or at.seq < seq or topic.doubted:
                strange.append(topic)
            elif at.seq > topic.seq:
                topic.heard = max(topic.heard, at.seq)
                if topic.name not in self._filling:
                    behind.append(topic)
        await self._fill_many(behind)
        await self._look_at(strange)

    def say_what_was_replaced(self) -> None:
        """In one line for all that a check found."""
        if replaced := self._counts.replaced - self._replaced_said:
            self._replaced_said += replaced
            logger.warning(
                "the logs of %d targets are not those of before, and their streams read their "
                "state again. After restoring an older database run manage.py renew_epochs",
                replaced,
            )

    async def _look_at(self, strange: list[Topic]) -> None:
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

    async def _fill(self, topic: Topic, delay: float) -> None:
        """Read what a topic misses from the log."""
        try:
            await asyncio.sleep(delay)
            while topic.doubted or topic.heard > topic.seq:
                if topic.doubted:
                    await self.look(topic)
                    continue
                epoch, start = topic.epoch, topic.seq
                rows = await self._runtime.database(
                    read_page, topic.id, epoch, start, purpose="log"
                )
                if topic.epoch != epoch:
                    break
                if (not rows or rows[0].seq != start + 1) and topic.seq == start:
                    await self.look(topic, trimmed=True)
                    break
                for row in rows:
                    self._offer(topic, row)
                topic.notify()
        except Error as error:
            # The next check of positions finds what is missing.
            outages.note("events that the layer did not bring", error)
        finally:
            self._filling.discard(topic.name)

    async def _fill_many(self, topics: list[Topic]) -> None:
        """Read what many topics miss, many at a time."""
        for start in range(0, len(topics), TOPICS_AT_ONCE):
            some = {topic.id: topic for topic in topics[start : start + TOPICS_AT_ONCE]}
            after = {topic.id: topic.seq for topic in some.values()}
            rows = await self._runtime.database(
                store.read_many, after, PAGE_EVENTS * 4, purpose="log"
            )
            for target_id, row in rows:
                self._offer(some[target_id], row)
            for topic in some.values():
                if topic.seq > after[topic.id]:
                    topic.notify()
                if topic.heard > topic.seq:
                    self.fill_soon(topic)

    def _offer(self, topic: Topic, row: store.Row) -> None:
        if row.seq == topic.seq + 1:
            self._counts.gaps_filled += 1
            topic.offer(Frame(topic.epoch, row.seq, row.data, barrier=row.barrier, since=0))


def _positions(target_ids: list[int]) -> dict[int, Position]:
    return {at.target_id: at for at in store.positions(target_ids)}
