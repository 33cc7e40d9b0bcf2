"""The two HTTP APIs, and where each is served."""

from __future__ import annotations

from django.conf import settings
from django.urls import URLPattern, URLResolver, include, path
from ninja import NinjaAPI, Router
from ninja.openapi.docs import Swagger

from agent_workbench.api import router as workbench_router
from agent_workbench.urls import events as workbench_events
from ai_chatbot.api import router as chatbot_router
from ai_chatbot.urls import events as chatbot_events
from config import errors, health


def prefixes() -> list[str]:
    """Where this process's APIs are. In a workbench alone, /api is the workbench's too."""
    workbench = ["workbench-api"] if settings.SERVES_WORKBENCH else []
    return ["api", *workbench]


def served() -> dict[str, NinjaAPI]:
    routers = {
        "api": ("Customer chat", chatbot_router),
        "workbench-api": ("Agent workbench", workbench_router),
    }
    if not settings.SERVES_CHATBOT:
        routers["api"] = routers["workbench-api"]
    return {prefix: _api(prefix, *routers[prefix]) for prefix in prefixes()}


def urlpatterns() -> list[URLPattern | URLResolver]:
    events = {"api": chatbot_events, "workbench-api": workbench_events}
    if not settings.SERVES_CHATBOT:
        events["api"] = workbench_events
    patterns: list[URLPattern | URLResolver] = []
    for prefix, api in served().items():
        patterns += [
            path(f"{prefix}/", include([*health.urlpatterns, *events[prefix]])),
            path(f"{prefix}/", api.urls),
        ]
    return patterns


def _api(prefix: str, title: str, router: Router) -> NinjaAPI:
    # The namespace is how the API finds its own addresses, so each prefix needs its own.
    # Its badge would come from swagger.io.
    docs = Swagger(settings={"validatorUrl": None})
    api = NinjaAPI(title=title, version="1", urls_namespace=prefix, docs=docs)
    api.add_router("", router)
    errors.install(api)
    return api
