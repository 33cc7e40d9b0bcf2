"""Asking the project's function whether a stream may open, and to what."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from asgiref.sync import ThreadSensitiveContext, iscoroutinefunction, sync_to_async
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

from sse.conf import conf
from sse.live.hub import Hub
from sse.process.database import NoDatabaseThread
from sse.streams import grants, refusals, requests
from sse.streams.answers import content_made_at_once, content_of
from sse.streams.grants import Grant

# A function is asked so many times at the most, if each time something is revoked meanwhile.
ROUNDS = 5

# Raises PermissionDenied, Http404, sse.Refused to refuse.
Authorize = Callable[..., str | Iterable[str] | Grant | HttpResponseBase]

# To the request it would look as if that were cancelled.
_CANCELLED = "A stream's function ended in CancelledError."


@dataclass(frozen=True, slots=True)
class Made:
    """A response that is sent instead of a stream, with its content."""

    response: HttpResponseBase
    body: bytes


def to_channel(name: str) -> Authorize:
    """For a stream that anyone may open: who that is, is looked up where there is a session."""

    def authorize(request: HttpRequest, *_args: Any, **_kwargs: Any) -> str:
        user = getattr(request, "user", None)
        if user is not None and requests.session_key(request):
            # Whom this asks of the session is noticed.
            _ = user.is_authenticated
        return name

    return authorize


async def ask(
    hub: Hub,
    authorize: Authorize,
    request: HttpRequest,
    make_request: Callable[[], HttpRequest],
) -> Grant | Made:
    """What the function grants, or answers instead. It is asked again, with another request, if
    something was revoked meanwhile.

    Raises whatever the function raises, DatabaseError after SSE_DATABASE_SECONDS, and Refused
    if something is revoked each time.

    A synchronous function runs on a database thread, an asynchronous one on the loop.
    """
    async with turn(hub):
        # Or what is revoked from now on would not end this stream.
        await hub.revocations.heed()
        for _ in range(ROUNDS):
            began = hub.loop.time()
            if _is_async(authorize):
                found = await _on_the_loop(hub, authorize, request)
            else:
                # So that what it sets for its thread, such as a language, is gone after it.
                context = contextvars.copy_context()
                found = await hub.runtime.database(
                    context.run, _decide, authorize, request, purpose="access"
                )
            if isinstance(found, Grant) and hub.revocations.logged_out(found.subjects):
                raise refusals.logged_out()
            # A revocation that came while the right was looked up has not ended this stream,
            # which the hub does not know yet.
            if isinstance(found, Made) or not hub.revocations.since(began, found.subjects):
                return found
            request = make_request()
    raise refusals.closed_meanwhile()


def _call(function: Callable[..., Any], request: HttpRequest) -> Any:
    """With what the address says."""
    match = request.resolver_match
    return function(request, *match.args, **match.kwargs) if match else function(request)


def _is_async(function: Callable[..., Any]) -> bool:
    return iscoroutinefunction(function) or iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - of an object that can be called
    )


def _decide(authorize: Authorize, request: HttpRequest) -> Grant | Made:
    _know_the_prefix(request)
    try:
        result = _call(authorize, request)
    except asyncio.CancelledError as error:
        raise RuntimeError(_CANCELLED) from error
    if not isinstance(result, HttpResponseBase):
        return _granted(request, result)
    _render(result)
    try:
        return Made(result, content_made_at_once(result))
    finally:
        result.close()


async def _on_the_loop(
    hub: Hub, authorize: Callable[..., Any], request: HttpRequest
) -> Grant | Made:
    """As a task of its own, which is left behind if it hangs: what it does in a thread cannot
    be ended."""
    deciding = hub.runtime.loop.create_task(_decide_async(hub, authorize, request))
    try:
        await asyncio.wait([deciding], timeout=conf.SSE_DATABASE_SECONDS)
    finally:
        if not deciding.done():
            deciding.cancel()
            deciding.add_done_callback(_let_go)
    if not deciding.done():
        raise NoDatabaseThread("a stream's authorisation takes too long")
    try:
        return deciding.result()
    except asyncio.CancelledError as error:
        raise RuntimeError(_CANCELLED) from error


def _let_go(task: asyncio.Task[Any]) -> None:
    """Nobody waits for it any more."""
    if not task.cancelled():
        task.exception()


async def _decide_async(
    hub: Hub,
    authorize: Callable[..., Awaitable[Any]],
    request: HttpRequest,
) -> Grant | Made:
    _know_the_prefix(request)
    async with ThreadSensitiveContext():
        try:
            result = await _call(authorize, request)
            if not isinstance(result, HttpResponseBase):
                return _granted(request, result)
            await sync_to_async(_render)(result)
            try:
                return Made(result, await content_of(result))
            finally:
                await sync_to_async(result.close)()
        finally:
            await sync_to_async(hub.runtime.let_go_of_connections)()


def _know_the_prefix(request: HttpRequest) -> None:
    """For `reverse`, as Django's handlers do."""
    set_script_prefix(request.META["SCRIPT_NAME"])


def _render(response: Any) -> None:
    """A TemplateResponse's content is made late."""
    if not getattr(response, "is_rendered", True):
        response.render()


def _granted(request: HttpRequest, result: Any) -> Grant:
    grant = grants.of(result)
    user, session_key = requests.user_of(request)
    return grant if user is None else grant.of_user(user, session_key)


@asynccontextmanager
async def turn(hub: Hub) -> AsyncIterator[None]:
    """One of the few that are let in at a time. Where the database keeps those, the others wait
    for a turn as long as for a thread and no longer."""
    try:
        async with asyncio.timeout(conf.SSE_DATABASE_SECONDS):
            await hub.newcomers.acquire()
    except TimeoutError:
        raise NoDatabaseThread("too many streams wait to be let in") from None
    try:
        yield
    finally:
        hub.newcomers.release()
