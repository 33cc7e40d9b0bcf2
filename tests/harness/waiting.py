"""Waiting for something that announces nothing: a look every few milliseconds, bounded."""

import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")


def wait_until(
    check: Callable[[], Answer], *, timeout: float = 30.0, what: str, interval: float = 0.02
) -> Answer:
    """The first true answer of `check`. After `timeout` seconds: TimeoutError about `what`."""
    deadline = time.monotonic() + timeout
    while True:
        answer = check()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise TimeoutError(
                f"waited {timeout:g} s for {what}; the last answer was {answer!r}"
            )
        time.sleep(interval)
