"""How a process fares, for machines and not for the public: `include("sse.urls")`."""

from importlib.util import find_spec

from django.urls import path

from sse.health import Health, NoMetrics, health, livez, readyz
from sse.streams.routes import Probe

metrics: Probe = NoMetrics()
if find_spec("prometheus_client"):
    from sse.prometheus import Metrics

    metrics = Metrics()

urlpatterns = [
    path("health", Health(health)),
    path("livez", Health(livez)),
    path("readyz", Health(readyz)),
    path("metrics", metrics),
]
