"""A time without the layer: since when, why, and what is said of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from sse.live.counts import Counts

logger = logging.getLogger("sse.live.outage")


class Outage:
    """There is one or there is none. Used on the hub's loop; read by any thread."""

    def __init__(self, of: str, counts: Counts, *, began: Callable[[], None]) -> None:
        """`of` is the layer's name in the log."""
        self.since: float | None = None
        self.why = ""
        self._of = of
        self._counts = counts
        self._began = began
        self._seconds_before = 0.0
        self._filled_before = 0

    def begin(self, why: str) -> None:
        if self.since is not None:
            return
        self.since = time.monotonic()
        self.why = why
        self._counts.outages += 1
        self._began()
        logger.warning(
            "%s is away (%s): degraded, the log in the database carries events between "
            "processes until it is back",
            self._of,
            why,
        )

    def none_yet(self) -> None:
        """The layer has just brought something. What is caught up later, it did not bring."""
        if self.since is None:
            self._filled_before = self._counts.gaps_filled

    def end(self) -> None:
        if self.since is None:
            return
        seconds = self.lasting()
        logger.info(
            "%s is back after %.1f s; %d events were caught up from the log",
            self._of,
            seconds,
            self._counts.gaps_filled - self._filled_before,
        )
        self._seconds_before += seconds
        self.since = None

    def lasting(self) -> float:
        """Seconds of the present one."""
        since = self.since
        return 0.0 if since is None else time.monotonic() - since

    def seconds(self) -> float:
        """Of all since the hub's start, the present one included."""
        return self._seconds_before + self.lasting()
