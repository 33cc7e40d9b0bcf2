"""Hubs and streams on the test's own loop, without a server."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self, TypeVar

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.http import HttpRequest
from django.urls import ResolverMatch

from sse.live.hub import Hub, get_hub, serve_on
from sse.process.supervisor import Work
from sse.streams.endpoint import stream
from sse.streams.grants import Grant
from tests.harness.waiting import wait_until

T = TypeVar("T")


@contextmanager
def at_work(*works: Work) -> Iterator[Hub]:
    """The hub of this process, on its own thread, with this work until the end."""
    hub = get_hub()
    kept = [asyncio.run_coroutine_threadsafe(work(lambda *_: None), hub.loop) for work in works]
    yield hub
    for each in kept:
        assert not each.done(), "the work has ended"
        each.cancel()
    end(hub)


def end(hub: Hub) -> None:
    """Also what its threads are at: the database is emptied after the test, and an open
    transaction would hold that up."""
    asyncio.run_coroutine_threadsafe(hub.close(), hub.loop).result(10)
    hub.loop.call_soon_threadsafe(hub.loop.stop)
    wait_until(lambda: not hub.loop.is_running(), what="the hub's loop to end")
    hub.loop.close()
    threads = hub.runtime.pools._of.values()
    wait_until(lambda: not any(each._threads for each in threads), what="its threads to end")


@asynccontextmanager
async def serving_hub() -> AsyncIterator[Hub]:
    """This process's hub, on the running loop."""
    hub = serve_on(asyncio.get_running_loop())
    try:
        yield hub
    finally:
        await hub.close()


async def on_a_thread(work: Callable[[], T]) -> T:
    """Use the database beside the hub."""

    def run() -> T:
        try:
            return work()
        finally:
            connection.close()

    return await asyncio.to_thread(run)


async def until(holds: Callable[[], Any], *, seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - the state has no event to wait for
            await asyncio.sleep(0.01)


async def until_stored(work: Callable[[], T], wanted: T, *, seconds: float = 10) -> None:
    """Until the database gives this answer."""
    found: list[T] = []
    try:
        async with asyncio.timeout(seconds):
            while found != [wanted]:
                found = [await on_a_thread(work)]
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"{found} is not {wanted!r}") from None


async def serve(authorize: Callable[..., Any], scope: Any, receive: Any, send: Any) -> None:
    """One request for a stream of the unnamed form, as the ASGI entry gives it to its view."""
    view = stream(authorize, named=False)
    await view.serve(scope, receive, send, ResolverMatch(view, (), {}))


class OpenedStream:
    """A stream as the server would run it. `text` is what was written so far."""

    def __init__(
        self,
        *targets: str,
        address: str = "127.0.0.1",
        after: str = "",
        session_key: str = "",
    ) -> None:
        """With a session, it is the stream of its user."""
        self.targets = targets
        self.text = ""
        self._news = asyncio.Event()
        self._gone = asyncio.Event()
        headers = [(b"host", b"localhost")]
        if after:
            headers.append((b"last-event-id", after.encode()))
        if session_key:
            cookie = f"{settings.SESSION_COOKIE_NAME}={session_key}"
            headers.append((b"cookie", cookie.encode()))
        self._scope = {
            "type": "http",
            "method": "GET",
            "path": "/",
            "headers": headers,
            "query_string": b"",
            "client": (address, 1),
        }

    async def _receive(self) -> dict[str, Any]:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        self.text += message.get("body", b"").decode()
        self._news.set()

    def _grant(self, request: HttpRequest) -> Grant:
        if request.COOKIES and not request.user.is_authenticated:
            raise PermissionDenied
        return Grant(self.targets)

    async def wait_for(self, text: str, *, seconds: float = 15) -> None:
        async with asyncio.timeout(seconds):
            while text not in self.text:
                self._news.clear()
                await self._news.wait()

    async def ended(self, *, seconds: float = 15) -> None:
        """Until the service ends it."""
        async with asyncio.timeout(seconds):
            await asyncio.wait([self._running])

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(
            serve(self._grant, self._scope, self._receive, self._send)
        )
        await self.wait_for('"connected"')
        return self

    async def __aexit__(self, *_: object) -> None:
        self._gone.set()
        await self._running
