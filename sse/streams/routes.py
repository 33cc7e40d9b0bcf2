"""Addresses in a project's urls.py that are answered before Django's request cycle.

Their views have two faces: the ASGI entry looks for them and lets them answer by themselves;
Django, where it comes upon one (under WSGI, or its own ASGI handler), calls it like any view.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.core.handlers.asgi import get_script_prefix
from django.http import HttpRequest, HttpResponse
from django.urls import (
    Resolver404,
    ResolverMatch,
    URLPattern,
    URLResolver,
    get_resolver,
)
from django.urls.resolvers import LocalePrefixPattern

from sse.streams import refusals
from sse.streams.answers import Receive, Scope, Send, as_response, pass_on


class Endpoint:
    """A view for `path()` that answers before Django where there is an ASGI entry of ours.

    No host is checked and no middleware runs before it.
    """

    # It says itself which methods it knows.
    csrf_exempt = True

    async def serve(
        self, scope: Scope, receive: Receive, send: Send, match: ResolverMatch
    ) -> None:
        """Answer an HTTP request as an ASGI application."""
        raise NotImplementedError

    def __call__(self, request: HttpRequest, /, *args: Any, **kwargs: Any) -> HttpResponse:
        """Answer it as Django's view."""
        raise NotImplementedError


class Probe(Endpoint):
    """An address for machines, that answers GET and HEAD from what the process knows.

    A subclass says what, in `look`. It runs on the event loop, so it must not wait: no
    database, no network. (In Django's cycle it runs like any view.)

        class Livez(Probe):
            def look(self) -> HttpResponse:
                return JsonResponse({"status": "ok"})

        path("livez", Livez())
    """

    def look(self) -> HttpResponse:
        raise NotImplementedError

    def respond(self, method: str | None) -> HttpResponse:
        if method in ("GET", "HEAD"):
            response = self.look()
        else:
            response = as_response(refusals.wrong_method("GET", "HEAD"))
        response["Cache-Control"] = "no-store"
        return response

    async def serve(
        self, scope: Scope, _receive: Receive, send: Send, _match: ResolverMatch
    ) -> None:
        response = self.respond(scope["method"])
        shown = b"" if scope["method"] == "HEAD" else response.content
        await pass_on(send, response, shown, [])

    def __call__(self, request: HttpRequest, /, *_args: Any, **_kwargs: Any) -> HttpResponse:
        return self.respond(request.method)


@dataclass(frozen=True, slots=True)
class _Branch:
    """A part of the URLconf that leads to endpoints, without what does not."""

    pattern: Any
    beyond: tuple[_Branch, ...]  # empty: an endpoint's own

    def leads_to_one(self, path: str) -> bool:
        found = self.pattern.match(path)
        if not found:
            return False
        rest = found[0]
        return not self.beyond or any(branch.leads_to_one(rest) for branch in self.beyond)


class Routes:
    """Finds the endpoint of a request, cheaply for requests that are for none."""

    def __init__(self) -> None:
        self._resolver: URLResolver | None = None
        self._root: _Branch | None = None

    def find(self, scope: Scope) -> tuple[Endpoint, ResolverMatch] | None:
        """Where ROOT_URLCONF leads, if that is an endpoint. None for all else, and while the
        URLconf is broken, which Django then says.

        The language and what sets `request.urlconf` are middleware's, so `i18n_patterns` and
        other URLconfs are not looked into.
        """
        prefix = get_script_prefix(scope)
        path = scope["path"].removeprefix(prefix) if prefix else scope["path"]
        try:
            resolver = get_resolver()
            if resolver is not self._resolver:
                self._root = _pruned(resolver)
                self._resolver = resolver
            if self._root is None or not self._root.leads_to_one(path):
                return None
            match = resolver.resolve(path)
        except Resolver404:
            return None
        except Exception:  # noqa: BLE001 - whatever a URLconf raises, Django raises it again
            return None
        endpoint: Any = match.func
        if not isinstance(endpoint, Endpoint):
            # Another address, before it in the URLconf, is the same.
            return None
        return endpoint, match


def _pruned(part: URLPattern | URLResolver) -> _Branch | None:
    if isinstance(part, URLPattern):
        return _Branch(part.pattern, ()) if isinstance(part.callback, Endpoint) else None
    if isinstance(part.pattern, LocalePrefixPattern):
        return None
    beyond = tuple(branch for each in part.url_patterns if (branch := _pruned(each)))
    return _Branch(part.pattern, beyond) if beyond else None
