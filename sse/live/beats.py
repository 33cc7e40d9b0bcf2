"""The process's beats: it writes to the database that it lives, and which streams it has."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from sse.live.census import Census, News, opened
from sse.process import outages, registry
from sse.process.duties import brief
from sse.process.runtime import Runtime


class Reach(Protocol):
    """How this process stands to the others, as registry.Peer says it."""

    @property
    def unheard(self) -> bool: ...
    @property
    def listens(self) -> bool: ...


class Beats:
    """Used on the hub's loop; read by any thread."""

    def __init__(self, runtime: Runtime, census: Census, reach: Reach) -> None:
        # Why the last one failed; "" after one that succeeded.
        self.error = ""
        # The same as sse.process.outages names it.
        self.trouble = ""
        self._runtime = runtime
        self._census = census
        self._reach = reach
        self._at: float | None = None
        self._known = False
        self._beating = asyncio.Lock()

    def age(self) -> float | None:
        """Seconds since this process last wrote to the database that it lives; None before the
        first time."""
        at = self._at
        return None if at is None else time.monotonic() - at

    @property
    def under_way(self) -> bool:
        return self._beating.locked()

    async def beat(self) -> None:
        async with self._beating:
            news = self._census.take_news()
            try:
                unknown = await self._tell(news)
                if unknown and self._known:
                    # Silent for so long that others took this process for dead.
                    await self._tell(News(set(self._census.streams), []))
            except BaseException as error:
                self._census.put_back(news)
                self.error = brief(error) if isinstance(error, Exception) else "it hangs"
                self.trouble = outages.kind(error)
                raise
            self._known = True
            self._at = time.monotonic()
            self.error = self.trouble = ""

    async def _tell(self, news: News) -> bool:
        return await self._runtime.database(
            registry.beat,
            self._runtime.name,
            self._reach.unheard,
            self._reach.listens,
            len(self._census.streams),
            [opened(stream) for stream in news.arrived],
            news.departed,
            purpose="watch",
        )
