"""`sse.stream(…)`: a view for `path()` that opens event streams.

In Django's request cycle an open stream would hold a thread and its database connection. Here
it is one waiting task and a place in its topics; the hub writes to it directly.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from django.core.exceptions import DisallowedHost, SuspiciousOperation
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse
from django.urls import ResolverMatch

from sse.exceptions import Refused
from sse.live.hub import Hub, get_hub
from sse.streams import access, limits, origins, refusals, requests
from sse.streams.access import Authorize, Made
from sse.streams.answers import (
    Headers,
    Receive,
    Scope,
    Send,
    answer,
    as_response,
    pass_on,
    refuse,
)
from sse.streams.grants import Grant
from sse.streams.routes import Endpoint
from sse.streams.stream import Stream
from sse.streams.transports import behind

logger = logging.getLogger("sse.streams")


def stream(source: str | Authorize, *, named: bool = True) -> StreamView:
    """A view for `path()`; docs/sse/reference.md tells what `source` may be.

    `source` is a channel's name, or `fn(request, *args, **kwargs)`, sync or async, that returns
    channels, a Grant or an HttpResponse, or raises PermissionDenied, Http404 or sse.Refused.
    `named`: frames are named events; else unnamed ones with an envelope in JSON.

    Middleware does not run before it, `i18n_patterns` and `request.urlconf` are not supported.
    Raises InvalidTarget for a channel that cannot be.
    """
    if isinstance(source, str):
        Grant(source)
        return StreamView(access.to_channel(source), named=named)
    if not callable(source):
        raise TypeError(f"stream() takes a channel or a function, not {source!r}.")
    return StreamView(source, named=named)


class StreamView(Endpoint):
    def __init__(self, authorize: Authorize, *, named: bool) -> None:
        self.authorize = authorize
        self.named = named

    def __call__(self, request: HttpRequest, /, *_args: Any, **_kwargs: Any) -> HttpResponse:
        """Under WSGI or Django's own ASGI handler, where a stream would hold a thread."""
        return as_response(
            Refused(
                501,
                "NO_STREAMS_HERE",
                "Streams are answered before Django: serve this project over ASGI, with "
                "`from sse.asgi import get_asgi_application` in its asgi.py; "
                "with runserver, have 'daphne' first in INSTALLED_APPS.",
            )
        )

    async def serve(
        self, scope: Scope, receive: Receive, send: Send, match: ResolverMatch
    ) -> None:
        hub = get_hub()
        make_request = partial(requests.read, scope, match)
        headers: Headers = []
        try:
            request = make_request()
            headers = origins.headers_for(request.headers.get("origin", ""), request.path_info)
            _check_address(request)
            if request.method == "OPTIONS":
                await answer(send, 204, headers, b"")
                return
            if request.method != "GET":
                raise refusals.wrong_method("GET", "OPTIONS")
            _check_staying(hub)
            found = await self._ask(hub, request, make_request)
            # What began to stop meanwhile has told its streams already.
            _check_staying(hub)
            if isinstance(found, Made):
                await pass_on(send, found.response, found.body, headers)
                return
            address = requests.address_of(scope)
            limits.check(hub, found.channels[0], address)
            after = requests.last_event_id(request) or found.after
            opened = Stream(hub, send, behind(send), found, address, named=self.named)
            del request, make_request, found
            await opened.run(receive, after, headers)
        except Refused as refusal:
            refused = hub.counts.refused
            refused[refusal.code] = refused.get(refusal.code, 0) + 1
            await refuse(send, refusal, headers)

    async def _ask(
        self, hub: Hub, request: ASGIRequest, make_request: Callable[[], ASGIRequest]
    ) -> Grant | Made:
        try:
            return await access.ask(hub, self.authorize, request, make_request)
        except Exception as error:
            # Escaped as Django's own log does it: no address makes lines of its own.
            address = request.path.encode("unicode_escape").decode("ascii")
            what = f"authorising a stream at {address}"
            raise refusals.of(error, what) from error


def _check_address(request: ASGIRequest) -> None:
    """Whatever reads the query later can do so."""
    try:
        request.get_host()
    except DisallowedHost:
        raise refusals.bad_request("This host name is not served here.") from None
    try:
        _ = request.GET
    except SuspiciousOperation:
        # Too many parameters.
        raise refusals.bad_request() from None


def _check_staying(hub: Hub) -> None:
    if hub.closing:
        raise refusals.going_away()
