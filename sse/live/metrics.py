"""How Prometheus reads a hub's numbers. For whoever has prometheus_client installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from sse.live.counts import Distribution, Snapshot

_TOTALS = {
    "published": "Events handed to the hub for publication",
    "delivered": "Events written to live streams",
    "delivered_directly": "Of these, written past the server's own send",
    "replayed": "Events written to streams from the log",
    "pages_read": "Reads of the log for streams that were behind, shared between them",
    "gaps_filled": "Events that the layer did not bring and the log did",
    "replaced": "Times a target's log turned out to be another one, as of an older database",
    "resets": "Streams told to read their state again",
    "slow_cut": "Streams cut because their client did not read",
    "revoked": "Streams ended because their reader lost the right to them",
    "opened": "Streams opened",
    "outages": "Times the layer was found away",
    "degraded_seconds": "Seconds without the layer",
}


def registry(snapshot: Callable[[], Snapshot]) -> CollectorRegistry:
    """Of a hub's `snapshot`, which is taken at each scrape."""
    found = CollectorRegistry()
    found.register(SnapshotCollector(snapshot))
    return found


class SnapshotCollector(Collector):
    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self.snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        now = self.snapshot()
        for name, text in _TOTALS.items():
            yield CounterMetricFamily(f"sse_{name}", text, now.totals[name])
        refused = CounterMetricFamily("sse_refused", "Streams refused", labels=["code"])
        for code, count in now.refused.items():
            refused.add_metric([code], count)
        yield refused
        failures = CounterMetricFamily(
            "sse_work_failures", "Times long-running work failed", labels=["work"]
        )
        well = GaugeMetricFamily("sse_work_up", "1 while the work is well", labels=["work"])
        for name, count, is_well in now.work:
            failures.add_metric([name], count)
            well.add_metric([name], float(is_well))
        yield failures
        yield well
        tries = CounterMetricFamily(
            "sse_duty_failures", "Times the database failed a duty of the hub", labels=["duty"]
        )
        for name, count in now.duty_failures.items():
            tries.add_metric([name], count)
        yield tries
        yield from _gauges(now)
        yield _histogram(
            "sse_publish_to_write_seconds",
            "From an event's enqueueing to its being written to this process's streams",
            now.latency,
        )
        yield _histogram(
            "sse_hub_loop_lag_seconds", "How late the hub's loop runs what is due", now.lag
        )


def _gauges(now: Snapshot) -> Iterator[Metric]:
    for name, text, value in (
        ("open_streams", "Open streams", now.streams),
        ("topics", "Targets with readers or with a recent one", now.topics),
        ("breaker_open", "1 while the layer is held to be away", now.degraded),
        (
            "outbox_high_water",
            "Most events that waited for publication at once",
            now.totals["outbox_high_water"],
        ),
        (
            "pending_high_water_bytes",
            "Most bytes that waited in one connection",
            now.totals["pending_high_water"],
        ),
    ):
        yield GaugeMetricFamily(f"sse_{name}", text, float(value))


def _histogram(name: str, text: str, seen: Distribution) -> Metric:
    bounds = [*map(floatToGoString, seen.bounds), "+Inf"]
    counts = map(float, accumulate(seen.counts))
    buckets = list(zip(bounds, counts, strict=True))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=seen.total)
