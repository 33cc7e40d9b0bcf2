"""Durable Server-Sent Events for any Django project; docs/sse/ tells how.

Importing this imports nothing: what it gives is looked up when it is used, so that settings,
`asgi.py` and models may import it at any time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sse.exceptions import Refused
    from sse.log.current import acursor, cursor
    from sse.readers import apresence, presence
    from sse.receive import subscribe_sse_events
    from sse.revocation import close_streams
    from sse.send import (
        asend_event,
        enqueue_sse_message,
        enqueue_sse_message_sync,
        send_event,
    )
    from sse.streams.endpoint import stream
    from sse.streams.grants import Grant

__all__ = [
    "Grant",
    "Refused",
    "acursor",
    "apresence",
    "asend_event",
    "close_streams",
    "cursor",
    "enqueue_sse_message",
    "enqueue_sse_message_sync",
    "presence",
    "send_event",
    "stream",
    "subscribe_sse_events",
]

_HOMES = {
    "Grant": "sse.streams.grants",
    "Refused": "sse.exceptions",
    "acursor": "sse.log.current",
    "apresence": "sse.readers",
    "asend_event": "sse.send",
    "close_streams": "sse.revocation",
    "cursor": "sse.log.current",
    "enqueue_sse_message": "sse.send",
    "enqueue_sse_message_sync": "sse.send",
    "presence": "sse.readers",
    "send_event": "sse.send",
    "stream": "sse.streams.endpoint",
    "subscribe_sse_events": "sse.receive",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sse' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
