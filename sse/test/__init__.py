"""For a project's own tests; docs/sse/recipes.md has examples."""

from sse.test.capture import CapturedEvent, CapturedEvents, capture_events
from sse.test.communicator import (
    Response,
    StreamCommunicator,
    StreamEnded,
    StreamEvent,
)

__all__ = [
    "CapturedEvent",
    "CapturedEvents",
    "Response",
    "StreamCommunicator",
    "StreamEnded",
    "StreamEvent",
    "capture_events",
]
