"""One event to many streams in one process, everything real but the sockets.

`python -m tests.bench.rivals.hub_time STREAMS BROADCASTS`, with the settings of a service. The
streams are served as under uvicorn; their connections only note when they were written to.
"""

import asyncio
import json
import statistics
import sys
import time
from types import SimpleNamespace
from typing import Any

import django

django.setup()

from django.urls import ResolverMatch  # noqa: E402 - Django must be set up first

from sse import enqueue_sse_message  # noqa: E402
from sse.live.hub import serve_on  # noqa: E402
from sse.streams.endpoint import stream  # noqa: E402

MARK = b'"broadcast"'
WAIT_SECONDS = 10.0


class Written:
    """How many connections have got the current event, and when the last did."""

    def __init__(self, streams: int) -> None:
        self.streams = streams
        self.reset()

    def reset(self) -> None:
        self.count = 0
        self.all = asyncio.Event()

    def note(self, chunk: bytes) -> None:
        if MARK in chunk:
            self.count += 1
            if self.count == self.streams:
                self.last = time.perf_counter()
                self.all.set()


class Cycle:
    """What uvicorn keeps for one request, as far as a stream makes use of it."""

    response_started = True
    response_complete = False
    disconnected = False
    chunked_encoding = True
    flow = SimpleNamespace(write_paused=False)

    def __init__(self, written: Written) -> None:
        self.scope: dict[str, Any] = {}
        self.note = written.note
        self.transport = SimpleNamespace(
            write=written.note,
            get_write_buffer_size=lambda: 0,
            get_extra_info=lambda name: None,
            abort=lambda: None,
        )
        self.connected = asyncio.Event()

    async def send(self, message: dict[str, Any]) -> None:
        body = message.get("body", b"")
        if b"connected" in body:
            self.connected.set()
        self.note(body)

    async def receive(self) -> dict[str, Any]:
        await asyncio.Event().wait()
        return {"type": "http.disconnect"}


async def measure(streams: int, broadcasts: int) -> dict[str, float]:
    hub = serve_on(asyncio.get_running_loop())
    view = stream(lambda request: "all", named=False)
    match = ResolverMatch(view, (), {})
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "headers": [(b"host", b"127.0.0.1")],
        "query_string": b"",
    }
    written = Written(streams)
    cycles = [Cycle(written) for _ in range(streams)]
    serving = [
        asyncio.create_task(view.serve(scope, cycle.receive, cycle.send, match))
        for cycle in cycles
    ]
    for cycle in cycles:
        await asyncio.wait_for(cycle.connected.wait(), WAIT_SECONDS)
    await asyncio.sleep(1)
    taken, busy = [], []
    for number in range(broadcasts):
        written.reset()
        payload = {"n": number, "text": "It will be with you on Thursday"}
        started, cpu = time.perf_counter(), time.process_time()
        await enqueue_sse_message(
            "all", {"type": "broadcast", "payload": payload}, durable=False
        )
        await asyncio.wait_for(written.all.wait(), WAIT_SECONDS)
        busy.append(time.process_time() - cpu)
        taken.append(written.last - started)
        await asyncio.sleep(0.02)
    for task in serving:
        task.cancel()
    await asyncio.gather(*serving, return_exceptions=True)
    await hub.close()
    return {
        "wall": statistics.median(taken) * 1000,
        "slowest": max(taken) * 1000,
        "cpu": statistics.median(busy) * 1000,
    }


if __name__ == "__main__":
    found = asyncio.run(measure(int(sys.argv[1]), int(sys.argv[2])))
    print(json.dumps(found), flush=True)
