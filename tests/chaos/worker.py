"""A plain process that enqueues events when it is told to: no server, no view, no request.

`python -m tests.chaos.worker`: one JSON object a line in, one out, until its input ends.
"""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import django
from django.db import connection, transaction

from tests.harness.databases import Database
from tests.harness.environment import ROOT

Json = dict[str, Any]


class Worker:
    """The process, seen from the one that starts it. Ended when it is left."""

    def __init__(self, database: Database, redis_url: str, *, log: Path) -> None:
        self.log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.worker"],
                cwd=ROOT,
                env=database.environment(USE_REDIS_SSE="true", REDIS_URL=redis_url),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def do(self, action: str, **details: object) -> Json:
        self.tell({"do": action, **details})
        return self.answer()

    def tell(self, said: Json) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(said) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Json:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, self.log_text()
        answer: Json = json.loads(line)
        return answer

    def log_text(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def wait(self, timeout: float) -> int:
        return self._process.wait(timeout)

    def end(self) -> None:
        """Its input ends, and so does it."""
        self._process.communicate(timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._process:
            self._process.kill()


def main() -> None:
    django.setup()
    for line in sys.stdin:
        asked: Json = json.loads(line)
        answer = ACTIONS[asked.pop("do")](**asked)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def event(number: int, padding: int = 0) -> Json:
    return {"type": "numbered", "payload": {"n": number, "padding": "x" * padding}}


def enqueue(target: str, first: int, count: int, padding: int = 0, rate: float = 0) -> Json:
    """One event after the other, `rate` a second or as fast as it goes; the seconds spent."""
    from sse import enqueue_sse_message_sync

    spent = 0.0
    for number in range(first, first + count):
        began = time.monotonic()
        enqueue_sse_message_sync(target, event(number, padding))
        spent += time.monotonic() - began
        if rate:
            time.sleep(max(0.0, began + 1 / rate - time.monotonic()))
    return {"seconds": spent}


def enqueue_async(target: str, first: int, count: int) -> Json:
    """Each from an event loop of its own, as asyncio.run and async_to_sync have it."""
    from sse import enqueue_sse_message

    began = time.monotonic()
    for number in range(first, first + count):
        asyncio.run(enqueue_sse_message(target, event(number)))
    return {"seconds": time.monotonic() - began}


def enqueue_in_threads(target: str, first: int, count: int) -> Json:
    def one(number: int) -> None:
        try:
            enqueue(target, number, 1)
        finally:
            # A thread's connection is not given back to the pool by its end.
            connection.close()

    threads = [
        threading.Thread(target=one, args=(number,)) for number in range(first, first + count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {}


def enqueue_in_transaction(target: str, first: int, commit: bool) -> Json:
    """Stays in the transaction until another line comes."""
    from sse import enqueue_sse_message_sync

    with transaction.atomic():
        enqueue_sse_message_sync(target, event(first))
        enqueue_sse_message_sync(target, event(first), durable=False)
        sys.stdout.write("{}\n")
        sys.stdout.flush()
        sys.stdin.readline()
        transaction.set_rollback(not commit)
    return {}


def enqueue_and_die(target: str, first: int) -> Json:
    """Ends between commit and publication, as SIGKILL may end it."""
    from sse import enqueue_sse_message_sync

    with transaction.atomic():
        transaction.on_commit(lambda: os._exit(0))
        enqueue_sse_message_sync(target, event(first))
    return {}


ACTIONS: dict[str, Callable[..., Json]] = {
    work.__name__: work
    for work in (
        enqueue,
        enqueue_async,
        enqueue_in_threads,
        enqueue_in_transaction,
        enqueue_and_die,
    )
}

if __name__ == "__main__":
    main()
