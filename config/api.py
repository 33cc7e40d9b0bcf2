"""The two HTTP APIs, and where each is served."""

from __future__ import annotations

from django.conf import settings
from django.urls import URLPattern, URLResolver, path
from ninja import NinjaAPI, Router

from agent_workbench.api import router as workbench_router
from ai_chatbot.api import router as chatbot_router
from config import errors, health


def served() -> dict[str, NinjaAPI]:
    """The APIs of this process by prefix. In a workbench alone, /api is the workbench's too."""
    apis = {}
    if settings.SERVES_CHATBOT:
        apis["api"] = _api("api", "Customer chat", chatbot_router)
    if settings.SERVES_WORKBENCH:
        apis["workbench-api"] = _api("workbench-api", "Agent workbench", workbench_router)
        if not settings.SERVES_CHATBOT:
            apis["api"] = _api("api", "Agent workbench", workbench_router)
    return apis


def urlpatterns() -> list[URLPattern | URLResolver]:
    patterns: list[URLPattern | URLResolver] = []
    for prefix, api in served().items():
        patterns += [
            path(f"{prefix}/health", health.health),
            path(f"{prefix}/livez", health.livez),
            path(f"{prefix}/readyz", health.readyz),
            path(f"{prefix}/", api.urls),
        ]
    return patterns


def _api(prefix: str, title: str, router: Router) -> NinjaAPI:
    # The namespace is how the API finds its own addresses, so each prefix needs its own.
    api = NinjaAPI(title=title, version="1", urls_namespace=prefix)
    api.add_router("", router)
    errors.install(api)
    return api
