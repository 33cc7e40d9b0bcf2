"""The request that asks for a stream, as an authorising function sees it."""

from __future__ import annotations

import ipaddress
from functools import partial
from importlib import import_module
from io import BytesIO
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from sse.streams import refusals
from sse.streams.answers import Scope

if TYPE_CHECKING:
    from django.contrib.sessions.backends.base import SessionBase
    from django.urls import ResolverMatch


def read(scope: Scope, match: ResolverMatch) -> ASGIRequest:
    """With a session and a user where the project has them. No middleware has seen it.

    Raises Refused for what is no request.
    """
    try:
        request = ASGIRequest(scope, BytesIO())
    except UnicodeDecodeError:
        raise refusals.bad_request() from None
    request.resolver_match = match
    if apps.is_installed("django.contrib.sessions"):
        request.session = _session(request)
    if apps.is_installed("django.contrib.auth"):
        from django.contrib.auth.middleware import auser, get_user

        request.user = SimpleLazyObject(lambda: get_user(request))  # type: ignore[assignment]
        request.auser = partial(auser, request)
    return request


def session_key(request: HttpRequest) -> str | None:
    """The session that the cookie names. One with NUL, which no database could look for, is
    none."""
    key = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    return None if not key or "\x00" in key else key


def _session(request: HttpRequest) -> SessionBase:
    store: SessionBase = import_module(settings.SESSION_ENGINE).SessionStore(
        session_key(request)
    )
    return store


def user_of(request: HttpRequest) -> tuple[Any, str | None]:
    """The user, if the authorising function asked who that is and somebody is logged in, with
    the key of the session that says so; or the one whom it has set, by a token it may be."""
    user = getattr(request, "user", None)
    if isinstance(user, SimpleLazyObject):
        user = getattr(request, "_cached_user", None) or getattr(request, "_acached_user", None)
        key = session_key(request)
    else:
        key = None
    if user is None or not user.is_authenticated:
        return None, None
    return user, key


def bearer(request: HttpRequest) -> str:
    """The token from `Authorization: Bearer`, else from `?token=`, else ""."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token.strip()
    return request.GET.get("token", "")


def last_event_id(request: HttpRequest) -> str | None:
    """The cursor to resume from: the header, which a browser sends on its own, wins.

    `last_event_id` may be repeated in the address, one cursor for each channel.
    """
    given = request.headers.get("last-event-id")
    if given is None:
        given = "~".join(cursor for cursor in request.GET.getlist("last_event_id") if cursor)
    return given or None


def address_of(scope: Scope) -> str:
    """The client's IP address in its one way of writing; "" for what is none. Behind a proxy it
    is what X-Forwarded-For says, and so anything at all."""
    client = scope.get("client")
    try:
        return str(ipaddress.ip_address(str(client[0]).partition("%")[0])) if client else ""
    except ValueError:
        return ""
