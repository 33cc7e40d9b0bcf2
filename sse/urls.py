"""How a process fares, for machines and not for the public: `include("sse.urls")`."""

from importlib.util import find_spec

from django.urls import URLPattern, path

from sse.health import Health, health, livez, readyz

urlpatterns: list[URLPattern] = [
    path("health", Health(health)),
    path("livez", Health(livez)),
    path("readyz", Health(readyz)),
]
if find_spec("prometheus_client"):
    from sse.prometheus import Metrics

    urlpatterns.append(path("metrics", Metrics()))
