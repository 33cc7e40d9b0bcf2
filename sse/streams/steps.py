"""Running an awaitable by hand."""

from __future__ import annotations

import types
from collections.abc import Awaitable, Generator
from typing import Any


class Stepped:
    """An awaitable that is run without a task until it has to wait, which most never do.

    `run` first; if it says that there is a rest, a task awaits `rest`. Cancellation of that
    task, and whatever its wait raises, reaches the awaitable as if it had been awaited there
    from its beginning.
    """

    __slots__ = ("_steps", "_waiting")

    def __init__(self, awaitable: Awaitable[Any]) -> None:
        self._steps: Generator[Any, Any, Any] = awaitable.__await__()
        self._waiting: Any = None

    def run(self) -> bool:
        """Whether it has come to its end. Raises what it raises."""
        try:
            self._waiting = next(self._steps)
        except StopIteration:
            return True
        return False

    async def rest(self) -> None:
        await self._go_on()

    @types.coroutine
    def _go_on(self) -> Generator[Any, Any, None]:
        while True:
            try:
                yield self._waiting
                break
            except BaseException as error:  # noqa: BLE001 - it belongs to the awaitable
                try:
                    self._waiting = self._steps.throw(error)
                except StopIteration:
                    return
        yield from self._steps
