"""
SseError
├── InvalidEvent        not an event: a name or data that no stream can carry
│   └── EventTooLarge   data over 64 KiB
├── InvalidTarget       not a target: empty, too long, not a string
├── TooManyChannels     a stream of over 1,000
└── Refused             a stream that must not open, with the HTTP answer to give
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class SseError(Exception):
    pass


class InvalidEvent(SseError, ValueError):
    pass


class EventTooLarge(InvalidEvent):
    pass


class InvalidTarget(SseError, ValueError):
    pass


class Refused(SseError):
    """Raised by a stream's authorisation; answered as the contract's JSON error."""

    def __init__(
class TooManyChannels(SseError, ValueError):
    pass


        self,
        status: int,
        code: str,
        message: str,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details or {}
        self.headers = headers or {}
