"""A road to a TCP server that is slow, or leads to another."""

import asyncio
import threading
from types import TracebackType
from typing import Self

from tests.chaos.readers import abort, stop
from tests.harness.ports import free_port


class SlowProxy:
    """Listens on a loopback port and passes everything on, `delay` seconds late."""

    def __init__(self, port: int, *, delay: float = 0.0) -> None:
        self.port = free_port()
        self.delay = delay
        self._onto = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._passing: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def redis_url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def lead_to(self, port: int) -> None:
        """Break every connection; those that come now reach another server."""
        self._onto = port
        breaking = stop(list(self._passing))
        asyncio.run_coroutine_threadsafe(breaking, self._loop).result(10)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        await stop(list(self._passing))

    async def _serve(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        far, to_far = await asyncio.open_connection("127.0.0.1", self._onto)
        for reader, writer in ((near, to_far), (far, to_near)):
            task = asyncio.create_task(self._pass_on(reader, writer))
            self._passing.add(task)
            task.add_done_callback(self._passing.discard)

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Each piece is as late as the first: the delay does not add up."""
        try:
            while piece := await reader.read(65536):
                self._loop.call_later(self.delay, writer.write, piece)
            await asyncio.sleep(self.delay)
        except ConnectionError:
            # What ends this side ends the other.
            return
        finally:
            await abort(writer)
