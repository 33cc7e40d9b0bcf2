"""Durable Server-Sent Events over a Channels layer.

Three functions are the whole public face; docs/events.md tells what travels on the wire.
"""

from sse.messages import (
    enqueue_sse_message,
    enqueue_sse_message_sync,
    subscribe_sse_events,
)

__all__ = ["enqueue_sse_message", "enqueue_sse_message_sync", "subscribe_sse_events"]
