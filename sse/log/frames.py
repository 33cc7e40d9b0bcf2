"""Events as bytes: checked once, encoded once, sent to any number of streams."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from sse.exceptions import EventTooLarge, InvalidEvent

PAYLOAD_MAX_BYTES = 64 * 1024


def encode(event: Mapping[str, Any]) -> str:
    """The event's JSON as it is stored and sent; a single line, storable in any database.

    `event` has `type` (a non-empty string) and `payload` (an object; {} where it is missing).
    The time of the call is added as `timestamp`.

    Raises InvalidEvent for anything else, and EventTooLarge over 64 KiB of payload.
    """
    if not isinstance(event, Mapping):
        raise InvalidEvent(f"An event is a mapping, not {type(event).__name__}.")
    unknown = set(event) - {"type", "payload"}
    if unknown:
        raise InvalidEvent(f"An event has type and payload, not {sorted(map(str, unknown))}.")
    kind = event.get("type")
    if not isinstance(kind, str) or not kind:
        raise InvalidEvent("An event's type is a non-empty string.")
    payload = event.get("payload", {})
    if not isinstance(payload, Mapping):
        raise InvalidEvent(f"A payload is an object, not {type(payload).__name__}.")
    body = _json(dict(payload), "payload")
    size = len(body.encode())
    if size > PAYLOAD_MAX_BYTES:
        raise EventTooLarge(f"A payload of {size} bytes; {PAYLOAD_MAX_BYTES} is the limit.")
    return f'{{"type":{_json(kind, "type")},"payload":{body},"timestamp":{time.time():.6f}}}'


def _json(value: Any, what: str) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidEvent(f"JSON cannot carry this {what}: {error}") from error
    try:
        text.encode()
    except UnicodeEncodeError:
        # A lone surrogate has no UTF-8, but JSON can escape it.
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text


class Frame:
    """An event ready for the wire.

    `seq` is 0 for an ephemeral event, which then may name in `since` the durable event it
    depends on: a stream that has passed a later barrier drops it.
    """

    __slots__ = ("_chunk", "barrier", "cursor", "seq", "since", "timestamp", "wire")

    def __init__(self, epoch: str, seq: int, data: str, *, barrier: bool, since: int) -> None:
        self.seq = seq
        self.barrier = barrier
        self.since = since
        # `encode` writes it last.
        self.timestamp = float(data[data.rindex(":") + 1 : -1])
        self.cursor = f"{epoch}-{seq}" if seq else ""
        head = f"id: {self.cursor}\n" if seq else ""
        self.wire = f"{head}data: {data}\n\n".encode()
        self._chunk = b""

    @property
    def chunk(self) -> bytes:
        """`wire` as a chunk of a chunked HTTP response, made once for all streams."""
        if not self._chunk:
            self._chunk = chunked(self.wire)
        return self._chunk

    @property
    def body(self) -> bytes:
        """`wire` without the cursor, for streams that have another one."""
        return self.wire[self.wire.index(b"\n") + 1 :] if self.seq else self.wire

    @property
    def data(self) -> Any:
        return json.loads(self.body[6:-2])


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


def control(
    kind: str, payload: dict[str, Any], *, cursor: str = "", retry_ms: int = 0
) -> bytes:
    """A frame about the stream itself: connected, heartbeat, reset, goodbye."""
    data = encode({"type": kind, "payload": payload})
    head = f"retry: {retry_ms}\n" if retry_ms else ""
    if cursor:
        head += f"id: {cursor}\n"
    return f"{head}data: {data}\n\n".encode()
