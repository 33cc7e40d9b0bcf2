"""Is this process alive, is it ready, and how does it fare?

Answered from what the process knows of itself, before Django and without a thread or a wait for
the database: so they answer whatever hangs, and whichever host name they are asked by.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import Error, connection
from django.http import HttpResponse, JsonResponse

from sse.live.hub import Hub, get_hub
from sse.process import outages
from sse.streams.routes import Probe

# The process writes to the database every five seconds; after so many without success it holds
# the database to be down.
STALE_SECONDS = 15.0
# Of sse.process.database: without these no stream can be opened or kept.
VITAL_PURPOSES = frozenset({"log", "access", "watch"})

Json = dict[str, Any]
Answer = tuple[int, Json]


def health(hub: Hub) -> Answer:
    """200 with how things are, `ok` or `degraded`; 503 when the database takes no changes."""
    sse = hub.status()
    database = _database(hub)
    work = _ailing(hub)
    if database != "ok":
        status = "down"
    elif work or sse["mode"] == "degraded":
        status = "degraded"
    else:
        status = "ok"
    age = hub.beats.age()
    answer = {
        "status": status,
        "sse": sse,
        "database": database,
        "database_beat_seconds": None if age is None else round(age, 1),
        "work": work,
    }
    return 503 if status == "down" else 200, answer


def livez(_hub: Hub) -> Answer:
    """The process answers. Nothing else is looked at: a restart would not mend it."""
    return 200, {"status": "ok"}


def readyz(hub: Hub) -> Answer:
    """Whether to send requests here: the database takes changes, what streams need is well, and
    the process is not going away."""
    database = _database(hub) == "ok"
    work = _ailing(hub, vital_only=True)
    ready = database and not work and not hub.closing
    status = "ok" if ready else "unready"
    answer = {
        "status": status, "database": database, "staying": not hub.closing, "work": work,
    }  # fmt: skip
    return 200 if ready else 503, answer


def _ailing(hub: Hub, *, vital_only: bool = False) -> list[str]:
    stuck = [p for p in hub.runtime.pools.stuck() if p in VITAL_PURPOSES or not vital_only]
    return [
        *hub.runtime.supervisor.ailing(vital_only=vital_only),
        *(f"database {p}" for p in stuck),
    ]


def _database(hub: Hub) -> str:
    """`ok`, `read-only`, `full`, `down`, or `unknown` before it has been written to."""
    if not hub.listening:
        return _asked()
    age, trouble = hub.beats.age(), hub.beats.trouble
    if trouble in ("read-only", "full"):
        return trouble
    if trouble == "away" or (age is not None and age > STALE_SECONDS):
        return "down"
    return "unknown" if age is None else "ok"


def _asked() -> str:
    """Where no server runs, and so nothing writes by itself: in a test's own process."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error as error:
        outages.note("health", error)
        return "down"
    return "ok"


class Health(Probe):
    def __init__(self, look: Callable[[Hub], Answer]) -> None:
        self._look = look

    def look(self) -> HttpResponse:
        status, body = self._look(get_hub())
        return JsonResponse(body, status=status)


class NoMetrics(Probe):
    """Stands for sse.prometheus.Metrics where prometheus_client is not installed."""

    def look(self) -> HttpResponse:
        text = 'Metrics need prometheus_client: pip install "django-durable-sse[metrics]"\n'
        return HttpResponse(text, status=501, content_type="text/plain")
