"""What is counted, in plain numbers of the hub's one thread: a counter of a metrics library
costs as much as the write it counts."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


class Histogram:
    """How many observations were no greater than each bound; the last place is for the rest."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, *bounds: float) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


def _latency() -> Histogram:
    return Histogram(0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


def _lag() -> Histogram:
    return Histogram(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)


@dataclass(slots=True)
class Counts:
    """Since the hub's start."""

    published: int = 0
    delivered: int = 0
    delivered_directly: int = 0
    replayed: int = 0
    pages_read: int = 0
    gaps_filled: int = 0
    replaced: int = 0
    resets: int = 0
    slow_cut: int = 0
    revoked: int = 0
    opened: int = 0
    outbox_high_water: int = 0
    pending_high_water: int = 0
    outages: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    # Seconds from an event's enqueueing to its being written to this process's streams.
    latency: Histogram = field(default_factory=_latency)
    # Seconds by which the hub's loop runs late what is due.
    lag: Histogram = field(default_factory=_lag)


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram at one moment."""

    bounds: Sequence[float]
    counts: Sequence[int]
    total: float

    @classmethod
    def of(cls, histogram: Histogram) -> Distribution:
        return cls(histogram.bounds, tuple(histogram.counts), histogram.total)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A hub's numbers at one moment."""

    # The numbers of Counts, by name, and `degraded_seconds`.
    totals: Mapping[str, float]
    refused: Mapping[str, int]
    # `(name, how often it failed, whether it is well)`
    work: Sequence[tuple[str, int, bool]]
    duty_failures: Mapping[str, int]
    streams: int
    topics: int
    degraded: bool
    latency: Distribution
    lag: Distribution
