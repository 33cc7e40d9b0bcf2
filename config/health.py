"""How a process fares: what `sse` knows of it, and the mail that is owed."""

from __future__ import annotations

from django.urls import path

import sse.health
from ai_chatbot import outbox
from sse.health import Answer, Health, livez, readyz
from sse.live.hub import Hub


def health(hub: Hub) -> Answer:
    status, answer = sse.health.health(hub)
    return status, {**answer, "mail": outbox.standing()}


urlpatterns = [
    path("health", Health(health)),
    path("livez", Health(livez)),
    path("readyz", Health(readyz)),
]
