"""The streams that are open in this process, and what others are to be told of them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sse.live.addresses import network
from sse.live.counts import Counts
from sse.log.targets import storable
from sse.process.registry import Opened

logger = logging.getLogger("sse.live.census")


class Stream(Protocol):
    """An open stream, as far as others than itself have to do with it."""

    @property
    def name(self) -> str: ...
    @property
    def targets(self) -> tuple[str, ...]: ...
    @property
    def subjects(self) -> Set[str]: ...
    @property
    def presence(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def user_id(self) -> str:
        """Of its reader; "" for one who is nobody's user."""

    @property
    def opened_at(self) -> datetime: ...

    def look(self) -> None:
        """Whether a paused stream's client reads again."""

    def say_goodbye(self) -> None:
        """End it on purpose: its client is to come back, here or elsewhere."""

    def end(self, reason: str) -> None:
        """End it without a word."""


@dataclass(slots=True)
class News:
    """What has changed since the others were told last."""

    arrived: set[Stream]
    departed: list[str]


class Census:
    """Used on the hub's loop. `stalled`: those that wait for their clients to read."""

    def __init__(self, counts: Counts, *, changed: Callable[[], None]) -> None:
        """`changed` is called when one who is looked for came or went."""
        self.streams: set[Stream] = set()
        self.stalled: set[Stream] = set()
        self._of_target: Counter[str] = Counter()
        self._from_network: Counter[str] = Counter()
        self._news = News(set(), [])
        self._counts = counts
        self._changed = changed

    def arrive(self, stream: Stream) -> None:
        self.streams.add(stream)
        self._of_target[stream.targets[0]] += 1
        self._from_network[network(stream.address)] += 1
        self._counts.opened += 1
        self._news.arrived.add(stream)
        if stream.presence or stream.user_id:
            self._changed()

    def depart(self, stream: Stream) -> None:
        self.streams.discard(stream)
        self.stalled.discard(stream)
        for counter, key in (
            (self._of_target, stream.targets[0]),
            (self._from_network, network(stream.address)),
        ):
            counter[key] -= 1
            if counter[key] <= 0:
                del counter[key]
        if stream in self._news.arrived:
            self._news.arrived.discard(stream)
        else:
            self._news.departed.append(stream.name)
        if stream.presence or stream.user_id:
            self._changed()

    def of_target(self, name: str) -> int:
        """How many are open whose first target this is."""
        return self._of_target[name]

    def from_address(self, address: str) -> int:
        """How many are open for the caller at this address."""
        return self._from_network[network(address)]

    def look_after_stalled(self) -> None:
        for stream in list(self.stalled):
            try:
                stream.look()
            except Exception:
                # Its transport's trouble must not keep the others waiting.
                logger.exception("a slow stream failed and is ended")
                stream.end("failed")

    def say_goodbye(self) -> None:
        for stream in list(self.streams):
            try:
                stream.say_goodbye()
            except Exception:
                # Nor may it keep the others from theirs.
                logger.exception("a stream cannot say goodbye and is ended")
                stream.end("failed")

    # --- for the others -----------------------------------------------------------------

    @property
    def told(self) -> bool:
        """Whether there is nothing to tell."""
        return not (self._news.arrived or self._news.departed)

    def take_news(self) -> News:
        news, self._news = self._news, News(set(), [])
        return news

    def put_back(self, news: News) -> None:
        """It did not reach the others."""
        self._news.arrived |= news.arrived & self.streams
        self._news.departed += news.departed


def opened(stream: Stream) -> Opened:
    """The stream as the others are told of it."""
    channels = tuple(map(storable, stream.targets))
    return Opened(
        name=stream.name,
        target=channels[0],
        subject=stream.presence,
        address=stream.address,
        opened_at=stream.opened_at,
        user_id=stream.user_id,
        channels=channels,
    )
