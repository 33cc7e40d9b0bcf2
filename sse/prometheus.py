"""This process's numbers for Prometheus, where prometheus_client is installed."""

from __future__ import annotations

from collections.abc import Iterable

from django.http import HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from sse.live import metrics
from sse.live.hub import get_hub
from sse.streams.routes import Probe


class Metrics(Probe):
    """Counts only; still, not for the public."""

    def __init__(self, others: Iterable[CollectorRegistry] = ()) -> None:
        """`others`: the project's own numbers, after those of `sse`."""
        self._others = tuple(others)

    def look(self) -> HttpResponse:
        registries = (metrics.registry(get_hub().snapshot), *self._others)
        numbers = b"".join(map(generate_latest, registries))
        return HttpResponse(numbers, content_type=CONTENT_TYPE_LATEST)
