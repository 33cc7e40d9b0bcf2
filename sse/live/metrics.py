"""What is counted, and how Prometheus reads it.

Streams are counted in plain integers of the hub's one thread, since a counter of the client
library costs as much as the write it counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from sse.live.hub import Hub


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
    degraded_seconds: float = 0.0
    refused: dict[str, int] = field(default_factory=dict)


_HELP = {
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

LATENCY = Histogram(
    "sse_publish_to_write_seconds",
    "From an event's enqueueing to its being written to this process's streams",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
    registry=None,
)
LOOP_LAG = Histogram(
    "sse_hub_loop_lag_seconds",
    "How late the hub's loop runs what is due",
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5),
    registry=None,
)


class HubCollector(Collector):
    """The numbers of this process's hub at the moment of the scrape."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    def collect(self) -> Iterator[Metric]:
        hub = self.hub
        for name, text in _HELP.items():
            value = hub.degraded_seconds() if name == "degraded_seconds" else None
            yield CounterMetricFamily(
                f"sse_{name}", text, value if value is not None else getattr(hub.counts, name)
            )
        refused = CounterMetricFamily("sse_refused", "Streams refused", labels=["code"])
        for code, count in hub.counts.refused.items():
            refused.add_metric([code], count)
        yield refused
        failures = CounterMetricFamily(
            "sse_work_failures", "Times long-running work failed", labels=["work"]
        )
        well = GaugeMetricFamily("sse_work_up", "1 while the work is well", labels=["work"])
        for name, count, is_well in hub.runtime.supervisor.failures():
            failures.add_metric([name], count)
            well.add_metric([name], float(is_well))
        yield failures
        yield well
        tries = CounterMetricFamily(
            "sse_duty_failures", "Times the database failed a duty of the hub", labels=["duty"]
        )
        for name, duty in hub.duties.items():
            tries.add_metric([name], duty.failures)
        yield tries
        gauges = {
            "sse_open_streams": ("Open streams", len(hub.streams)),
            "sse_topics": ("Targets with readers or with a recent one", len(hub.topics)),
            "sse_breaker_open": (
                "1 while the layer is held to be away",
                hub.mode == "degraded",
            ),
            "sse_outbox_high_water": (
                "Most events that waited for publication at once",
                hub.counts.outbox_high_water,
            ),
            "sse_pending_high_water_bytes": (
                "Most bytes that waited in one connection",
                hub.counts.pending_high_water,
            ),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(name, text, float(value))
        yield from LATENCY.collect()
        yield from LOOP_LAG.collect()


def registry(hub: Hub) -> CollectorRegistry:
    found = CollectorRegistry()
    found.register(HubCollector(hub))
    return found
