"""
SseError
├── InvalidEvent        not an event: a name or data that no stream can carry
│   └── EventTooLarge   data over 64 KiB
├── InvalidTarget       not a target: empty, too long, not a string, the app's own
├── TooManyChannels     a stream of over 1,000
└── Refused             a stream that must not open, with the HTTP answer to give
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class SseError(Exception):
    pass


class InvalidEvent(SseError, ValueError):
    pass


class EventTooLarge(InvalidEvent):
    pass


class InvalidTarget(SseError, ValueError):
    pass


class TooManyChannels(SseError, ValueError):
    pass


class Refused(SseError):
    """Raised by a stream's authorisation; answered as the contract's JSON error.

    Raises TypeError or ValueError for headers that no answer can have.
    """

    def __init__(
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
        self.headers = dict(headers or {})
        for name, value in self.headers.items():
            _check_header(name, value)


def _check_header(name: Any, value: Any) -> None:
    for each in (name, value):
        if not isinstance(each, str):
            raise TypeError(f"A header is made of strings, not {each!r}.")
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no header's name.")
    if not _HEADER_VALUE.fullmatch(value):
        raise ValueError(
            f"The header {name} is to have {value!r}: only one line of Latin-1 can be sent."
        )
