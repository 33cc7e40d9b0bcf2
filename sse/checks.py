"""What `manage.py check` says of a project's settings; docs/sse/reference.md lists the ids."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from importlib.machinery import PathFinder
from math import isfinite
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.db import connection
from django.urls import URLPattern, get_resolver
from django.urls.resolvers import LocalePrefixPattern
from django.utils.module_loading import import_string

from sse.conf import NAMES, conf
from sse.streams.routes import Endpoint

# INSERT … RETURNING.
SQLITE_LEAST = (3, 35)
ENTRY = "from sse.asgi import get_asgi_application"
_OURS = re.compile(r"\bsse\.asgi\b|\bfrom\s+sse\s+import\s[^#\n]*\basgi\b")
_DJANGOS = re.compile(r"\bdjango\.core\.asgi\b")
_DAY = 86_400


def database(**_: Any) -> list[CheckMessage]:
    if connection.vendor == "postgresql":
        return []
    if connection.vendor != "sqlite":
        name = getattr(connection, "display_name", connection.vendor)
        return [
            Error(
                f"The default database is {name}; the event log is for SQLite and PostgreSQL.",
                hint="Set DATABASES['default'] to one of these. The log is part of the "
                "project's transactions, so it can be in no other database than its data.",
                id="sse.E001",
            )
        ]
    if sqlite3.sqlite_version_info < SQLITE_LEAST:
        return [
            Error(
                f"SQLite is {sqlite3.sqlite_version}; the event log needs 3.35.",
                hint="It comes with Python or the system: take a newer one of these.",
                id="sse.E001",
            )
        ]
    mode = connection.settings_dict["OPTIONS"].get("transaction_mode") or ""
    if mode.upper() in ("IMMEDIATE", "EXCLUSIVE"):
        return []
    return [
        Warning(
            "SQLite's transactions take the lock for writing when they first write: of two "
            "that have read before, one then fails with “database is locked”.",
            hint="Set DATABASES['default']['OPTIONS'] = {'transaction_mode': 'IMMEDIATE', "
            "'timeout': 20, 'init_command': 'PRAGMA journal_mode=WAL; "
            "PRAGMA synchronous=NORMAL;'}.",
            id="sse.W001",
        )
    ]


def channel_layer(**_: Any) -> list[CheckMessage]:
    layers: dict[str, Any] = getattr(settings, "CHANNEL_LAYERS", {})
    alias = conf.SSE_CHANNEL_LAYER
    if alias in layers:
        return _backend(alias, layers[alias])
    known = ", ".join(map(repr, layers)) or "none"
    if hasattr(settings, "SSE_CHANNEL_LAYER") and (layers or alias != "default"):
        return [
            Error(
                f"SSE_CHANNEL_LAYER is {alias!r}, which CHANNEL_LAYERS does not have.",
                hint=f"It has {known}. Without a layer, leave SSE_CHANNEL_LAYER out.",
                id="sse.E002",
            )
        ]
    if layers:
        return [
            Warning(
                "CHANNEL_LAYERS has no layer 'default': events find other processes by way of "
                "the database alone.",
                hint=f"Set SSE_CHANNEL_LAYER to one that it has: {known}.",
                id="sse.W002",
            )
        ]
    return []


def _backend(alias: str, layer: dict[str, Any]) -> list[CheckMessage]:
    try:
        import_string(layer["BACKEND"])
    except KeyError:
        problem = "names no BACKEND"
    except ImportError as error:
        problem = f"cannot be imported: {error}"
    else:
        return []
    return [
        Error(
            f"The layer {alias!r} of CHANNEL_LAYERS {problem}.",
            hint="Over Redis it is channels_redis.pubsub.RedisPubSubChannelLayer, of the "
            "package channels-redis.",
            id="sse.E002",
        )
    ]


# Least and most of each.
NUMBERS: dict[str, tuple[float, float]] = {
    "SSE_HEARTBEAT_SECONDS": (0.05, _DAY),
    "SSE_MAX_STREAM_SECONDS": (1, 31 * _DAY),
    "SSE_DATABASE_SECONDS": (0.1, _DAY),
    # A century.
    "SSE_RETENTION_HOURS": (0.01, 876_000),
    "SSE_RETENTION_EVENTS": (1, 10**12),
    "SSE_MAX_STREAMS_PER_TARGET": (0, 10**9),
    "SSE_MAX_STREAMS_PER_ADDRESS": (0, 10**9),
}


def numbers(**_: Any) -> list[CheckMessage]:
    asked = {name: getattr(conf, name) for name in NUMBERS}
    found: list[CheckMessage] = [
        Error(
            f"{name} is {value!r}, which cannot be.",
            hint=f"Set it to a number from {NUMBERS[name][0]:g} to {NUMBERS[name][1]:g}; "
            f"{NAMES[name]:g} is the default.",
            id="sse.E003",
        )
        for name, value in asked.items()
        if not _is_number(value, *NUMBERS[name])
    ]
    threads = conf.SSE_DATABASE_THREADS
    if not isinstance(threads, dict) or not all(
        isinstance(count, int) and count > 0 for count in threads.values()
    ):
        found.append(
            Error(
                f"SSE_DATABASE_THREADS is {threads!r}, which cannot be.",
                hint="Write it like {'work': 2}: one thread or more for each purpose.",
                id="sse.E003",
            )
        )
    return found


def _is_number(value: object, least: float, most: float) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and isfinite(value)
        and least <= value <= most
    )


def encoder(**_: Any) -> list[CheckMessage]:
    path, default = conf.SSE_JSON_ENCODER, NAMES["SSE_JSON_ENCODER"]
    try:
        found = import_string(path)
    except (ImportError, AttributeError) as error:
        problem = f"cannot be imported: {error}"
    else:
        if isinstance(found, type) and issubclass(found, json.JSONEncoder):
            return []
        problem = "is no json.JSONEncoder"
    return [
        Error(
            f"SSE_JSON_ENCODER is {path!r}, which {problem}.",
            hint=f"Set it to the dotted path of one, or leave it out: then it is {default}.",
            id="sse.E004",
        )
    ]


def origins(**_: Any) -> list[CheckMessage]:
    named = conf.SSE_ALLOWED_ORIGINS
    wrong: Iterable[object] = (
        [named] if isinstance(named, str) else (one for one in named if not _is_origin(one))
    )
    return [
        Error(
            f"SSE_ALLOWED_ORIGINS has {one!r}, which no browser calls a site.",
            hint="Write it like ['https://shop.example.com']: with a scheme, without a path.",
            id="sse.E005",
        )
        for one in wrong
    ]


def _is_origin(text: object) -> bool:
    if not isinstance(text, str):
        return False
    try:
        parts = urlsplit(text)
        return text == f"{parts.scheme}://{parts.netloc}" and bool(parts.hostname)
    except ValueError:
        # Of an address in brackets.
        return False


def unknown(**_: Any) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    for name in sorted(name for name in dir(settings) if name.startswith("SSE_")):
        if name in NAMES:
            continue
        near = get_close_matches(name, NAMES, n=1)
        found.append(
            Warning(
                f"{name} is no setting of sse, and has no effect.",
                hint=f"Did you mean {near[0]}?" if near else f"There are: {', '.join(NAMES)}.",
                id="sse.W003",
            )
        )
    return found


def entry(**_: Any) -> list[CheckMessage]:
    """Silent where it cannot be told."""
    named = getattr(settings, "ASGI_APPLICATION", None)
    root = str(getattr(settings, "ROOT_URLCONF", "")).rpartition(".")[0]
    module = named.rpartition(".")[0] if named else f"{root}.asgi"
    source = _source(module)
    if source is not None and _OURS.search(source):
        return []
    if not named:
        problem, where = "ASGI_APPLICATION is not set", f"the module {module.lstrip('.')}"
    elif source is not None and _DJANGOS.search(source):
        problem, where = f"{module} makes Django's application alone", "it"
    else:
        return []
    return [
        Warning(
            f"{problem}: there is no way in for event streams.",
            hint=f"Have {where} say `{ENTRY}`, and set ASGI_APPLICATION to its application. If "
            "other processes serve the streams, add 'sse.W004' to SILENCED_SYSTEM_CHECKS.",
            id="sse.W004",
        )
    ]


def _source(module: str) -> str | None:
    """Its text, found without importing it or the packages it is in."""
    *packages, last = module.split(".")
    name, path = "", None
    for package in packages:
        name += package
        spec = PathFinder.find_spec(name, path)
        if not package or spec is None or spec.submodule_search_locations is None:
            return None
        name, path = f"{name}.", spec.submodule_search_locations
    spec = PathFinder.find_spec(name + last, path)
    if spec is None or not str(spec.origin).endswith(".py"):
        return None
    try:
        return Path(str(spec.origin)).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def languages(**_: Any) -> list[CheckMessage]:
    if not getattr(settings, "ROOT_URLCONF", None):
        return []
    return [
        Warning(
            f"The stream at {route!r} stands below i18n_patterns, where it is not found.",
            hint="Its language is known to Django's middleware alone, before which streams are "
            "answered: give it an address outside i18n_patterns.",
            id="sse.W005",
        )
        for route in _routes_by_language(get_resolver())
    ]


def _routes_by_language(part: Any, *, below: bool = False, before: str = "") -> Iterator[str]:
    for each in part.url_patterns:
        route = before + str(each.pattern)
        if isinstance(each, URLPattern):
            if below and isinstance(each.callback, Endpoint):
                yield route
        else:
            by_language = below or isinstance(each.pattern, LocalePrefixPattern)
            yield from _routes_by_language(each, below=by_language, before=route)


ALL: tuple[Callable[..., list[CheckMessage]], ...] = (
    database,
    channel_layer,
    numbers,
    encoder,
    origins,
    unknown,
    entry,
    languages,
)
