"""Waking the background work of one's own process."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Bell:
    """Hung by the one piece of work that it wakes, rung from any thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event = asyncio.Event()

    def hang(self) -> None:
        self._loop, self._event = asyncio.get_running_loop(), asyncio.Event()

    def ring(self) -> None:
        """Where nobody has hung it, other processes' sweeps find what there is to do."""
        if self._loop is not None:
            # The loop ends with its process.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._event.wait(), seconds)
        except TimeoutError:
            return
        finally:
            self._event.clear()
