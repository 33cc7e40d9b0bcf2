"""Durable Server-Sent Events for any Django project; docs/sse/ tells how.

Importing this imports nothing: what it gives is looked up when it is used, so that settings,
`asgi.py` and models may import it at any time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sse.messages import (
        enqueue_sse_message,
        enqueue_sse_message_sync,
        subscribe_sse_events,
    )

__all__ = ["enqueue_sse_message", "enqueue_sse_message_sync", "subscribe_sse_events"]

_HOMES = {
    "enqueue_sse_message": "sse.messages",
    "enqueue_sse_message_sync": "sse.messages",
    "subscribe_sse_events": "sse.messages",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sse' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
