"""What a serving process does from its start to its end, under any ASGI server."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any
from weakref import WeakSet

from sse.live.hub import Hub, get_hub, serve_on
from sse.live.layers import Layer
from sse.process.duties import brief
from sse.process.supervisor import Work
from sse.serving import servers

Application = Callable[[Any, Any, Any], Awaitable[None]]

# What a request that is under way then may still take.
REQUEST_SECONDS = 5.0

# Joining the layer succeeds or fails sooner than that; then the process says how it was.
JOINED_SECONDS = 10.0
LOOK_SECONDS = 0.05

# Connections that wait to be accepted. daphne asks for 50; when clients come back all at once,
# the others would try again after one second, three, seven and fifteen.
BACKLOG = 2048

logger = logging.getLogger("sse.server")


def _is_known(status: dict[str, Any]) -> bool:
    """False before the layer was joined or found away for the first time."""
    return status["mode"] != "degraded" or status["reason"] is not None


def carrier(status: dict[str, Any], layer: Layer) -> str:
    """What carries events between processes, by a hub's status. Without passwords."""
    if status["mode"] == "memory":
        return "memory"
    shown = " ".join([layer.mode, ", ".join(layer.addresses)]).strip()
    if status["mode"] != "degraded":
        return f"{shown}, connected"
    reason = status["reason"] or "no answer yet"
    return f"degraded, by the database, since {shown} is away ({reason})"


# Requests that are not streams and have not been answered.
_under_way: set[asyncio.Future[Any]] = set()


class Finishing:
    """Wraps an ASGI application whose requests are answered also while the server stops.

    daphne cancels them. Their threads go on, and would wait for the stopped loop for ever. What
    still comes, over connections that are kept, is answered and is the last of its connection.
    """

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start" and get_hub().closing:
                headers = [*message.get("headers", ()), (b"connection", b"close")]
                message = {**message, "headers": headers}
            await send(message)

        request = asyncio.ensure_future(self.application(scope, receive, answer))
        _under_way.add(request)
        request.add_done_callback(_under_way.discard)
        try:
            await asyncio.shield(request)
        except asyncio.CancelledError:
            await asyncio.wait([request], timeout=REQUEST_SECONDS)
            raise


async def _answer_the_rest() -> None:
    """Until nothing is under way; what comes meanwhile has its part of the same time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(REQUEST_SECONDS):
            while _under_way:
                await asyncio.wait(list(_under_way))


# Hubs that have said in the log what carries their events.
_introduced: WeakSet[Hub] = WeakSet()


class LifeCycle:
    """Starts the process's hub and `work` with the server, and stops them with it.

    Servers that speak the lifespan protocol start it by that, daphne by its reactor. Under a
    router that keeps lifespan from it, it begins with the first request and heeds the signals.
    `at_stop` is called once, in the moment the process is told to stop, and must not wait.
    `about` is what the process says of itself in the log when it starts, beside what carries
    its events.
    """

    def __init__(
        self,
        *,
        work: Iterable[Work] = (),
        at_stop: Iterable[Callable[[], object]] = (),
        about: str = "sse",
    ) -> None:
        self.work = named(work)
        self.at_stop = tuple(at_stop)
        self.about = about
        self._hub: Hub | None = None
        self._told = False
        self._heeding = False
        servers.leave_out_queries()
        servers.leave_bodies_alone()
        if "daphne.server" in sys.modules:
            self._hang_on_reactor()

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Before each request: start, unless the server has said that it starts."""
        if self._hub is None or self._hub.loop is not loop:
            self.start(loop)
            self._heed_signals()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._hub = serve_on(loop)
        for name, work in self.work.items():
            self._hub.runtime.supervisor.keep(name, work)
        if self._hub not in _introduced:
            _introduced.add(self._hub)
            self._hub.runtime.spawn(self._introduce(self._hub), "introduction")

    async def _introduce(self, hub: Hub) -> None:
        """Say in one line what this is, once it is known how the layer was found."""
        with suppress(TimeoutError):
            async with asyncio.timeout(JOINED_SECONDS):
                while not _is_known(hub.status()):  # noqa: ASYNC110 - polled until its first word
                    await asyncio.sleep(LOOK_SECONDS)
        logger.info("%s; events: %s", self.about, carrier(hub.status(), hub.layer))

    async def stop(self) -> None:
        self._note_order()
        if self._hub is not None:
            self._hub.begin_closing()
            await _answer_the_rest()
            await self._hub.close()
            await _answer_the_rest()

    def _note_order(self) -> None:
        if not self._told:
            self._told = True
            for call in self.at_stop:
                try:
                    call()
                except Exception:
                    # In the server's signal handler it would end the process on the spot.
                    logger.exception("what is to be called at the stop failed")

    async def lifespan(self, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    self.begin(asyncio.get_running_loop())
                except Exception as error:
                    # Such as a layer that cannot be made: without this word the server would
                    # take the process for one that has no lifespan, and go on.
                    logger.exception("the process cannot start")
                    await send({"type": "lifespan.startup.failed", "message": brief(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _heed_signals(self) -> None:
        """End the streams when the server is told to stop: it waits for them, and without a
        limit of its own for ever, before it says so by the lifespan protocol."""
        if self._heeding or threading.current_thread() is not threading.main_thread():
            return
        self._heeding = True
        for number in (signal.SIGTERM, signal.SIGINT):
            servers_own = signal.getsignal(number)
            if callable(servers_own):
                signal.signal(number, partial(self._told_to_stop, servers_own))

    def _told_to_stop(
        self,
        servers_own: Callable[[int, FrameType | None], Any],
        number: int,
        frame: FrameType | None,
    ) -> None:
        self._note_order()
        hub = self._hub
        if hub is not None and not hub.loop.is_closed():
            hub.loop.call_soon_threadsafe(hub.begin_closing)
        servers_own(number, frame)

    def _hang_on_reactor(self) -> None:
        from twisted.internet import defer, reactor
        from twisted.internet.tcp import Port

        loop = reactor._asyncioEventloop

        def ports() -> list[Any]:
            return [port for port in reactor.getReaders() if isinstance(port, Port)]  # type: ignore[misc]

        def start() -> None:
            for port in ports():
                port.socket.listen(BACKLOG)
            self.start(loop)

        def stop() -> Any:
            # daphne would take connections until it is gone, and leave them without an answer.
            for port in ports():
                # Those that wait to be accepted would be reset.
                port.doRead()
                port.stopListening()
            return defer.Deferred.fromFuture(asyncio.ensure_future(self.stop(), loop=loop))

        reactor.callWhenRunning(start)
        reactor.addSystemEventTrigger("before", "shutdown", stop)  # type: ignore[arg-type]


def named(work: Iterable[Work]) -> dict[str, Work]:
    """By the names under which the process keeps it and health reports it."""
    found: dict[str, Work] = {}
    for each in work:
        name = getattr(each, "__name__", None) or type(each).__name__
        if name in found:
            name = f"{each.__module__}.{name}"
        found[name] = each
    return found
