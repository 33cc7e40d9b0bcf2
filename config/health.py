"""Is it alive, is it ready, and how does it fare?"""

from __future__ import annotations

import logging
from typing import Any

from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from ai_chatbot import replies
from sse.hub import get_hub

logger = logging.getLogger(__name__)


@require_safe
@never_cache
def health(_request: HttpRequest) -> JsonResponse:
    """200 with how things are, `ok` or `degraded`; 503 when the database is down."""
    sse = get_hub().status()
    if not _database_answers():
        return JsonResponse({"status": "down", "sse": sse, "database": "down"}, status=503)
    status = "degraded" if sse["mode"] == "degraded" else "ok"
    return JsonResponse({"status": status, "sse": sse, "database": "ok"})


@require_safe
@never_cache
def livez(_request: HttpRequest) -> JsonResponse:
    """The process answers. Nothing else is looked at: a restart would not mend it."""
    return JsonResponse({"status": "ok"})


@require_safe
@never_cache
def readyz(_request: HttpRequest) -> JsonResponse:
    """Whether to send requests here: the database answers and the process is not going away."""
    checks: dict[str, Any] = {
        "database": _database_answers(),
        "staying": not get_hub().closing,
    }
    ready = all(checks.values())
    answer = {"status": "ok" if ready else "unready", **checks}
    return JsonResponse(answer, status=200 if ready else 503)


@require_safe
@never_cache
def metrics(_request: HttpRequest) -> HttpResponse:
    """This process's numbers for Prometheus. Counts only; still, not for the public."""
    numbers = generate_latest(get_hub().registry) + generate_latest(replies.METRICS)
    return HttpResponse(numbers, content_type=CONTENT_TYPE_LATEST)


def _database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        logger.warning("the database does not answer: %s", error)
        return False
    return True
