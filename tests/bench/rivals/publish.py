"""Publishes at a steady rate, by one system's own way; runs in that system's environment.

`python -m tests.bench.rivals.publish SYSTEM`, SYSTEM one of the functions in SENDERS. A line of
JSON on standard input is a request, a line of JSON on standard output its answer. The first
line written says that it is ready.

- `{"do": "publish", "targets": […], "rate": 20, "seconds": 10, "durable": false,
  "threads": 1, "padding": 0}` answers, when all is sent,
  `{"sent": …, "seconds": …, "late": …}`. Each event carries its number `n` within its target
  and the time `at` which it was enqueued.
- Of ours only: `{"do": "sessions", "count": 5}`, names and tokens of new sessions;
  `{"do": "cursors", "targets": […]}`, where they stand; `{"do": "backlog", "targets": […],
  "count": 500}`, so many durable events for each.
"""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

TEXT = "It will be with you on Thursday, says "
REPLY = "0190f3c2-7a51-7cc3-9f0e-5b1f6f1a2d3c"

# Target, what it is about, whether it is to be kept.
Send = Callable[[str, dict[str, Any], bool], object]


def payload(number: int, padding: str = "") -> dict[str, Any]:
    text = TEXT + padding
    return {"reply_id": REPLY, "text": text, "offset": 640, "n": number, "at": time.time()}


def as_data(body: dict[str, Any]) -> str:
    """What our own events look like on the wire, so that all systems carry the same bytes."""
    event = {"type": "reply_delta", "payload": body, "timestamp": time.time()}
    return json.dumps(event, separators=(",", ":"))


def support() -> Send:
    import django

    django.setup()
    from sse import enqueue_sse_message_sync

    def send(target: str, body: dict[str, Any], durable: bool) -> object:
        return enqueue_sse_message_sync(
            target, {"type": "reply_delta", "payload": body}, durable=durable
        )

    return send


def django_eventstream() -> Send:
    # First the settings, which the package reads when it is imported.
    import_module("tests.bench.rivals.apps.django_eventstream_app")
    from django_eventstream import send_event

    return lambda target, body, durable: send_event(
        "events", "message", as_data(body), json_encode=False
    )


def fastapi() -> Send:
    import redis

    connection = redis.from_url(os.environ["REDIS_URL"])
    return lambda target, body, durable: connection.publish("events", as_data(body))


def layer_channels() -> Send:
    import asyncio

    import_module("tests.bench.rivals.apps.layer_channels")
    from channels.layers import get_channel_layer

    loop = asyncio.new_event_loop()
    layer = get_channel_layer()

    def send(target: str, body: dict[str, Any], durable: bool) -> object:
        message = {"type": "event", "data": as_data(body)}
        return loop.run_until_complete(layer.group_send("events", message))

    return send


def nchan() -> Send:
    import http.client

    address = urlsplit(os.environ["PUBLISH_URL"])
    assert address.hostname
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=10)

    def send(target: str, body: dict[str, Any], durable: bool) -> object:
        connection.request("POST", address.path, as_data(body))
        with connection.getresponse() as response:
            return response.read()

    return send


SENDERS = {
    sender.__name__: sender
    for sender in (support, django_eventstream, fastapi, layer_channels, nchan)
}


class Publisher:
    def __init__(self, send: Send) -> None:
        self._send = send
        self._numbers: Counter[str] = Counter()

    def publish(
        self,
        targets: list[str],
        rate: float,
        seconds: float,
        durable: bool,
        threads: int = 1,
        padding: int = 0,
    ) -> dict[str, Any]:
        """By several threads, which have targets of their own: each `rate / threads`. Events
        are `padding` bytes larger than the usual."""
        with ThreadPoolExecutor(threads) as pool:
            started = time.monotonic()
            parts = [
                pool.submit(
                    self._publish,
                    targets[part::threads],
                    rate / threads,
                    seconds,
                    durable,
                    "x" * padding,
                )
                for part in range(threads)
            ]
            found = [part.result() for part in parts]
        return {
            "sent": sum(count for count, _ in found),
            "seconds": time.monotonic() - started,
            "late": max(late for _, late in found),
        }

    def _publish(
        self, targets: list[str], rate: float, seconds: float, durable: bool, padding: str
    ) -> tuple[int, float]:
        count = round(rate * seconds)
        late = 0.0
        started = time.monotonic()
        for index in range(count):
            behind = time.monotonic() - (started + index / rate)
            if behind < 0:
                time.sleep(-behind)
            else:
                late = max(late, behind)
            target = targets[index % len(targets)]
            self._numbers[target] += 1
            self._send(target, payload(self._numbers[target], padding), durable)
        if "django.db" in sys.modules:
            # The thread ends, and its connection belongs to the pool.
            from django.db import connections

            connections.close_all()
        return count, late

    def backlog(self, targets: list[str], count: int) -> dict[str, Any]:
        """Durable events that nobody is waiting for, in few transactions."""
        from django.db import transaction

        for target in targets:
            with transaction.atomic():
                for _ in range(count):
                    self._numbers[target] += 1
                    self._send(target, payload(self._numbers[target]), True)
        return {"sent": count * len(targets)}

    def cursors(self, targets: list[str]) -> list[str]:
        from sse import cursor

        return [cursor(target) for target in targets]

    def sessions(self, count: int) -> list[tuple[str, str]]:
        from ai_chatbot import tokens
        from ai_chatbot.models import ChatSession

        made = [tokens.new() for _ in range(count)]
        rows = ChatSession.objects.bulk_create(
            [ChatSession(token_digest=tokens.digest(token)) for token in made], batch_size=500
        )
        return [(row.name, token) for row, token in zip(rows, made, strict=True)]


def main() -> None:
    publisher = Publisher(SENDERS[sys.argv[1]]())
    print('"ready"', flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        do = getattr(publisher, request.pop("do"))
        print(json.dumps(do(**request)), flush=True)


if __name__ == "__main__":
    main()
