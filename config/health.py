"""Is it alive, is it ready, and how does it fare?

Answered from what the process knows of itself, before Django and without a thread or a wait for
the database: so they answer whatever hangs, and whichever host name they are asked by.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from django.db import Error, connection
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.views.decorators.cache import never_cache
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from ai_chatbot import outbox, replies
from config.errors import CODES
from sse.live.hub import Hub, get_hub
from sse.process import outages

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
    age = hub.beat_age()
    answer = {
        "status": status,
        "sse": sse,
        "database": database,
        "database_beat_seconds": None if age is None else round(age, 1),
        "work": work,
        "mail": outbox.standing(),
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
    age, trouble = hub.beat_age(), hub.beat_trouble
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


# --- over ASGI, and as Django's views --------------------------------------------------------


class Probe:
    """An address that is answered at once, as an ASGI application and as a view."""

    def __init__(self, look: Callable[[Hub], Answer]) -> None:
        self.look = look

    def answer(self) -> tuple[int, str, bytes]:
        status, body = self.look(get_hub())
        return status, "application/json", json.dumps(body).encode()

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        allow: list[tuple[bytes, bytes]] = []
        if scope["method"] in ("GET", "HEAD"):
            status, kind, body = self.answer()
        else:
            status, kind, body = _wrong_method()
            allow.append((b"allow", b"GET, HEAD"))
        headers = [
            (b"content-type", kind.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            *allow,
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        shown = b"" if scope["method"] == "HEAD" else body
        await send({"type": "http.response.body", "body": shown, "more_body": False})

    def view(self, request: HttpRequest) -> HttpResponse:
        if request.method in ("GET", "HEAD"):
            status, kind, body = self.answer()
            return HttpResponse(body, status=status, content_type=kind)
        status, kind, body = _wrong_method()
        return HttpResponse(
            body, status=status, content_type=kind, headers={"Allow": "GET, HEAD"}
        )


class Metrics(Probe):
    """This process's numbers for Prometheus. Counts only; still, not for the public."""

    def __init__(self) -> None:
        super().__init__(livez)

    def answer(self) -> tuple[int, str, bytes]:
        numbers = generate_latest(get_hub().registry) + generate_latest(replies.METRICS)
        return 200, CONTENT_TYPE_LATEST, numbers


def _wrong_method() -> tuple[int, str, bytes]:
    code, message = CODES[405]
    error = {"error": {"code": code, "message": message, "details": {}}}
    return 405, "application/json", json.dumps(error).encode()


PROBES = {"health": Probe(health), "livez": Probe(livez), "readyz": Probe(readyz)}
METRICS = Metrics()


def before_django(prefixes: Iterable[str]) -> list[URLPattern]:
    """For the ASGI router: no host is checked and nothing is redirected."""
    at = {f"{prefix}/{name}": probe for prefix in prefixes for name, probe in PROBES.items()}
    return [path(route, probe) for route, probe in {**at, "metrics": METRICS}.items()]  # type: ignore[arg-type]


def urlpatterns(prefix: str) -> list[URLPattern]:
    """The same for Django's test client."""
    return [path(f"{prefix}/{name}", never_cache(probe.view)) for name, probe in PROBES.items()]
