"""A hub for one test: on its loop, over its database connection, and otherwise alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from channels.layers import InMemoryChannelLayer
from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from sse.live import hub as hubs
from sse.live.hub import Hub
from sse.live.layers import in_memory
from sse.live.outbox import Outbox, Outgoing
from sse.process import registry
from sse.process import runtime as runtimes
from sse.process.database import DatabaseThreads, Pools
from sse.process.runtime import Runtime
from sse.process.supervisor import Supervisor

T = TypeVar("T")


class _TestsThread(DatabaseThreads):
    """Runs what it is given on the thread of the test, within the test's transaction."""

    async def run(self, work: Callable[..., T], *args: Any, seconds: float | None = None) -> T:
        return await sync_to_async(work)(*args)


class _TestsPools(Pools):
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop, {}, seconds=0)
        self._only = _TestsThread(loop, 0, purpose="test", seconds=0)

    def __getitem__(self, purpose: str) -> DatabaseThreads:
        return self._only


class _Idle(Supervisor):
    """Keeps nothing: what goes on by itself would use the database behind the test's back."""

    def keep(self, *_args: Any, **_options: Any) -> None:
        return


class _TestsRuntime(Runtime):
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.pools = _TestsPools(loop)
        self.supervisor = _Idle(loop)

    def let_go_of_connections(self) -> None:
        """They are the test's."""


class _TestsHub(Hub):
    """What is published goes straight to its streams."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime, in_memory(InMemoryChannelLayer()))
        self.outbox = Outbox(
            self.loop, self.counts, ring=_no_layer, deliver=self.exchange.deliver
        )

    def listen(self) -> None:
        """There is no layer to join, and no other process to look for."""


async def _no_layer(_batch: list[Outgoing]) -> bool:
    return False


class Setting:
    """The hub of one loop, for as long as streams are open there; they share it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.hub = _TestsHub(_TestsRuntime(loop))
        self.users = 0
        self._before: tuple[Runtime | None, Hub | None] = (None, None)
        self._own: dict[str, BaseDatabaseWrapper] = {}
        self._tests: dict[str, BaseDatabaseWrapper] = {}

    async def begin(self) -> None:
        self._before = runtimes.stand_in(self.hub.runtime), hubs.stand_in(self.hub)
        self._own = _known_here()
        self._tests = await sync_to_async(_known_here)()
        # So that captureOnCommitCallbacks looks at the test's connection in async code, too.
        _make_known_here(self._tests)
        for connection in self._tests.values():
            # The end of a response would close one that is in a transaction.
            connection.close_if_unusable_or_obsolete = _keep  # type: ignore[method-assign]
        await self.hub.revocations.heed()

    async def end(self) -> None:
        runtime, hub = self._before
        try:
            with suppress(Error):
                # The test's transaction may be one that takes no more.
                await self.hub.runtime.database(registry.leave, self.hub.name)
            await self.hub.close()
        finally:
            for connection in self._tests.values():
                del connection.close_if_unusable_or_obsolete
            _make_known_here(self._own)
            runtimes.stand_in(runtime)
            hubs.stand_in(hub)

    async def tell(self) -> None:
        """Write who is there, as a process does by itself."""
        await self.hub.beats.beat()


_settings: dict[asyncio.AbstractEventLoop, Setting] = {}


async def enter() -> Setting:
    """The hub of this process meanwhile is one on the running loop."""
    loop = asyncio.get_running_loop()
    setting = _settings.get(loop)
    if setting is None:
        setting = _settings[loop] = Setting(loop)
        try:
            await setting.begin()
        except BaseException:
            await leave(setting)
            raise
    setting.users += 1
    return setting


async def leave(setting: Setting) -> None:
    setting.users -= 1
    if setting.users:
        with suppress(Error):
            await setting.tell()
    else:
        del _settings[setting.hub.loop]
        await setting.end()


def _keep() -> None:
    """In place of closing a connection."""


def _known_here() -> dict[str, BaseDatabaseWrapper]:
    """The connections of this thread, or in async code of this context."""
    return {each.alias: each for each in connections.all(initialized_only=True)}


def _make_known_here(wanted: dict[str, BaseDatabaseWrapper]) -> None:
    for alias in _known_here().keys() - wanted.keys():
        del connections[alias]
    for alias, connection in wanted.items():
        connections[alias] = connection
