"""Where requests are counted for limits: in Redis for all processes, else in this one."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import floor
from zlib import crc32

from django.conf import settings
from limits import RateLimitItemPerSecond
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from redis import BlockingConnectionPool, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

logger = logging.getLogger(__name__)

# What a request waits for Redis at most, and for how long a Redis that failed is left alone.
REDIS_SECONDS = 0.05
PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
REDIS_CONNECTIONS = 16

# Some 15 MB.
MOST_CALLERS = 50_000
SWEEP_SECONDS = 60.0


@dataclass(slots=True)
class _Window:
    period: float
    begun: float
    count: int = 0
    # The window before this one, which fades out while this one lasts.
    before: int = 0

    def move_to(self, now: float) -> None:
        passed = int((now - self.begun) // self.period)
        if passed:
            self.before = self.count if passed == 1 else 0
            self.count = 0
            self.begun += passed * self.period

    def over(self, now: float) -> bool:
        return now >= self.begun + 2 * self.period


class ProcessCounter:
    """In this process's memory, of bounded size.

    What is live is never forgotten: once `most` callers are counted, new ones share one
    counter for each scope.
    """

    def __init__(self, most: int = MOST_CALLERS) -> None:
        self._most = most
        self._windows: dict[tuple[str, str], _Window] = {}
        self._lock = threading.Lock()
        self._sweep_at = 0.0

    def hit(self, scope: str, who: str, amount: int, period: float) -> float:
        """0 if the request is within the limit; else it was not counted, and the seconds
        until one may be."""
        now = time.monotonic()
        with self._lock:
            window = self._window((scope, who), period, now)
            window.move_to(now)
            left = window.begun + period - now
            if floor(window.before * left / period) + window.count < amount:
                window.count += 1
                return 0.0
            return left if window.count >= amount else min(left, period / window.before)

    def _window(self, key: tuple[str, str], period: float, now: float) -> _Window:
        known = self._windows.get(key)
        if known is not None:
            return known
        if now >= self._sweep_at:
            self._windows = {k: w for k, w in self._windows.items() if not w.over(now)}
            full = len(self._windows) >= self._most
            self._sweep_at = now + (PAUSE_SECONDS if full else SWEEP_SECONDS)
        if len(self._windows) >= self._most:
            key = (key[0], "")
        return self._windows.setdefault(key, _Window(period, now))


class RedisCounter:
    """In one Redis. One that does not answer at once is left alone for a while, and then asked
    again by one request only, so that it costs the others nothing."""

    def __init__(self, url: str, prefix: str, *, seconds: float = REDIS_SECONDS) -> None:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=REDIS_CONNECTIONS,
            timeout=seconds,
            socket_connect_timeout=seconds,
            socket_timeout=seconds,
            retry=Retry(NoBackoff(), 0),
        )
        storage = RedisStorage(url, connection_pool=pool, key_prefix=f"{prefix}:limit")
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._lock = threading.Lock()
        self._pause = 0.0
        self._ask_at = 0.0

    def hit(self, scope: str, who: str, amount: int, period: float) -> float | None:
        """As ProcessCounter.hit; None while Redis does not answer."""
        with self._lock:
            now = time.monotonic()
            if now < self._ask_at:
                return None
            if self._pause:
                self._ask_at = now + self._pause
        limit = RateLimitItemPerSecond(amount, int(period), namespace=scope)
        wait = 0.0
        try:
            if not self._limiter.hit(limit, who):
                free_at = self._limiter.get_window_stats(limit, who).reset_time
                wait = max(free_at - time.time(), 0.001)
        except RedisError as error:
            self._leave_alone(error)
            return None
        if self._pause:
            self._pause = 0.0
            logger.info("limits are counted in Redis again")
        return wait

    def _leave_alone(self, error: RedisError) -> None:
        with self._lock:
            if not self._pause:
                logger.warning("limits are counted by each process alone: %s", error)
            self._pause = min(max(PAUSE_SECONDS, 2 * self._pause), LONGEST_PAUSE_SECONDS)
            self._ask_at = time.monotonic() + self._pause


class Counter:
    """The process's one. Callers are spread over several Redis servers by name."""

    def __init__(self, urls: Sequence[str], prefix: str) -> None:
        self._shards = [RedisCounter(url, prefix) for url in urls]
        self._here = ProcessCounter()

    def hit(self, scope: str, who: str, amount: int, period: float) -> float:
        if self._shards:
            shard = self._shards[crc32(who.encode()) % len(self._shards)]
            wait = shard.hit(scope, who, amount, period)
            if wait is not None:
                return wait
        return self._here.hit(scope, who, amount, period)


def counter() -> Counter:
    with _making:
        return _made()


@lru_cache(maxsize=1)
def _made() -> Counter:
    urls = settings.REDIS_URLS if settings.USE_REDIS_SSE else []
    return Counter(urls, settings.REDIS_PREFIX)


# Of a process's first requests at once, two must not count in a counter each.
_making = threading.Lock()
