"""Opens streams over raw sockets and counts what they bring; a process of its own.

`python -m tests.bench.rivals.listen`. A line of JSON on standard input is a request, a line of
JSON on standard output its answer:

- `{"do": "open", "port": …, "requests": [{"path": …, "headers": {…}}], "ready": "…"}` opens
  streams and answers once each has brought `ready` in its body, was refused, or fell silent
- `{"do": "count"}`: how many events came since the last reset, in all and to which extremes
- `{"do": "arrived", "total": …, "seconds": …}`: as count, once there are so many
- `{"do": "reset", "times": true}`: count from 0; whether to note how long each event took
- `{"do": "stall"}`: read no more
- `{"do": "close"}`: end all streams; more can be opened
"""

import asyncio
import json
import re
import sys
import time
from array import array
from contextlib import suppress
from typing import Any

CONCURRENTLY = 200
OPEN_SECONDS = 60.0
MARK = b'"n":'
NUMBERED = re.compile(rb'"n":(\d+),"at":([\d.]+)[,}]')
# No mark is longer than this; what may be the beginning of one waits for the next read.
LONGEST_MARK = 60


class Listener(asyncio.Protocol):
    """One stream."""

    def __init__(self, owner: "Listeners", request: bytes, ready: bytes) -> None:
        self.owner = owner
        self.request = request
        self.ready = ready
        self.opened: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.received = 0
        self.last = 0
        self.disorder = 0
        self.rest = b""
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        data = self.rest + data
        if not self.opened.done():
            if b"\r\n\r\n" not in data:
                self.rest = data
                return
            head, _, body = data.partition(b"\r\n\r\n")
            if b" 200 " not in head.split(b"\r\n", 1)[0]:
                self._settle(head.split(b"\r\n", 1)[0].decode("latin-1"))
                return
            if self.ready not in body:
                self.rest = data
                return
            self._settle("")
            data = body
        if self.owner.times is None:
            count = data.count(MARK)
            self.rest = data[-len(MARK) + 1 :]
        else:
            count = self._note_times(data)
        if count:
            self.received += count
            self.owner.note(count)

    def _note_times(self, data: bytes) -> int:
        assert self.owner.times is not None
        now = time.time()
        count, end = 0, 0
        for found in NUMBERED.finditer(data):
            number = int(found[1])
            self.disorder += number != self.last + 1 and self.last != 0
            self.last = number
            self.owner.times.append(now - float(found[2]))
            count += 1
            end = found.end()
        self.rest = data[max(end, len(data) - LONGEST_MARK) :]
        return count

    def connection_lost(self, error: Exception | None) -> None:
        self.owner.ended += not self.closed
        self._settle(f"connection lost: {error}")

    def _settle(self, complaint: str) -> None:
        if not self.opened.done():
            self.opened.set_result(complaint)


class Listeners:
    def __init__(self) -> None:
        self.open_ones: list[Listener] = []
        self.times: array[float] | None = None
        self.total = 0
        self.ended = 0
        self.first = 0.0
        self.latest = 0.0
        self.goal = 0
        self.reached = asyncio.Event()

    def note(self, count: int) -> None:
        self.latest = time.monotonic()
        if not self.total:
            self.first = self.latest
        self.total += count
        if self.total >= self.goal:
            self.reached.set()

    async def open(
        self,
        port: int,
        requests: list[dict[str, Any]],
        ready: str = "",
        concurrently: int = CONCURRENTLY,
    ) -> dict[str, Any]:
        turn = asyncio.Semaphore(concurrently)
        started = time.monotonic()
        complaints = await asyncio.gather(
            *(self._open(port, one, ready.encode(), turn) for one in requests)
        )
        refused = [complaint for complaint in complaints if complaint]
        return {
            "open": len(requests) - len(refused),
            "refused": refused[:3],
            "started": started,
            "seconds": time.monotonic() - started,
        }

    async def _open(
        self, port: int, request: dict[str, Any], ready: bytes, turn: asyncio.Semaphore
    ) -> str:
        fields = {"Host": f"127.0.0.1:{port}", "Accept": "text/event-stream"}
        fields |= request.get("headers", {})
        lines = [f"GET {request['path']} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        wire = "\r\n".join([*lines, "", ""]).encode()
        loop = asyncio.get_running_loop()
        async with turn:
            try:
                async with asyncio.timeout(OPEN_SECONDS):
                    _, listener = await loop.create_connection(
                        lambda: Listener(self, wire, ready), "127.0.0.1", port
                    )
                    complaint = await listener.opened
            except (OSError, TimeoutError) as error:
                return f"{type(error).__name__}: {error}"
        if complaint:
            listener.transport.abort()
        else:
            self.open_ones.append(listener)
        return complaint

    async def reset(self, times: bool = False) -> dict[str, Any]:
        self.times = array("d") if times else None
        self.total = self.ended = self.goal = 0
        self.first = self.latest = 0.0
        for listener in self.open_ones:
            listener.received = listener.disorder = 0
        return {}

    async def count(self) -> dict[str, Any]:
        each = [listener.received for listener in self.open_ones] or [0]
        found = {
            "total": self.total,
            "least": min(each),
            "most": max(each),
            "ended": self.ended,
            "disorder": sum(listener.disorder for listener in self.open_ones),
            "spread": self.latest - self.first,
            "latest": self.latest,
        }
        if self.times:
            taken = sorted(self.times)
            for name, part in (("p50", 0.5), ("p99", 0.99), ("max", 1)):
                found[name] = 1000 * taken[min(len(taken) - 1, int(part * len(taken)))]
        return found

    async def arrived(self, total: int, seconds: float) -> dict[str, Any]:
        self.goal = total
        self.reached.clear()
        if self.total < total:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.reached.wait(), seconds)
        return await self.count()

    async def stall(self) -> dict[str, Any]:
        for listener in self.open_ones:
            listener.transport.pause_reading()
        return {}

    async def close(self) -> dict[str, Any]:
        for listener in self.open_ones:
            listener.closed = True
            listener.transport.abort()
        self.open_ones.clear()
        await asyncio.sleep(0)
        return {}


async def main() -> None:
    listeners = Listeners()
    reader = asyncio.StreamReader(limit=64 * 1024 * 1024)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while line := await reader.readline():
        request = json.loads(line)
        do = getattr(listeners, request.pop("do"))
        print(json.dumps(await do(**request)), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
