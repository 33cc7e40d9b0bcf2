"""The client of idle_streams: opens streams over raw sockets and reads them until told to stop.

`python -m tests.bench.open_streams PORT`. One path per line on standard input, then an empty
line. Writes "open" once each stream has its `connected` frame; ends when its input does.
"""

import asyncio
import sys

CONCURRENTLY = 50
CONNECT_SECONDS = 60.0


async def open_stream(
    port: int, path: str, turn: asyncio.Semaphore
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with turn, asyncio.timeout(CONNECT_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n"
        writer.write(request.encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise ConnectionError(head.decode())
        await reader.readuntil(b'"connected"')
        return reader, writer


async def drain(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass


async def main() -> None:
    port = int(sys.argv[1])
    paths = list(iter(lambda: sys.stdin.readline().strip(), ""))
    turn = asyncio.Semaphore(CONCURRENTLY)
    streams = await asyncio.gather(*(open_stream(port, path, turn) for path in paths))
    reading = [asyncio.create_task(drain(reader)) for reader, _ in streams]
    print("open", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    ended = sum(task.done() for task in reading)
    for task in reading:
        task.cancel()
    for _, writer in streams:
        writer.transport.abort()
    if ended:
        raise SystemExit(f"{ended} streams were closed by the server")


asyncio.run(main())
