"""Events as bytes: made once from their text, sent to any number of streams.

A stream is unnamed, its events the whole text as JSON, or named: `event:` and the data alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from sse.log import encoding

_LINE_END = re.compile(r"\r\n|\n|\r")


class Frame:
    """An event ready for the wire.

    `seq` is 0 for an ephemeral event, which then may name in `since` the durable event it
    depends on: a stream that has passed a later barrier drops it. What only some streams need
    is made when the first of them asks for it.
    """

    __slots__ = (
        "_chunk",
        "_named_chunk",
        "_named_wire",
        "barrier",
        "cursor",
        "seq",
        "since",
        "timestamp",
        "wire",
    )

    def __init__(self, epoch: str, seq: int, data: str, *, barrier: bool, since: int) -> None:
        self.seq = seq
        self.barrier = barrier
        self.since = since
        self.timestamp = encoding.timestamp_of(data)
        self.cursor = f"{epoch}-{seq}" if seq else ""
        self.wire = f"{self._head}data: {data}\n\n".encode()
        self._chunk = self._named_wire = self._named_chunk = b""

    @property
    def _head(self) -> str:
        return f"id: {self.cursor}\n" if self.seq else ""

    @property
    def chunk(self) -> bytes:
        """`wire` as a chunk of a chunked HTTP response."""
        if not self._chunk:
            self._chunk = chunked(self.wire)
        return self._chunk

    @property
    def named_wire(self) -> bytes:
        if not self._named_wire:
            self._named_wire = (self._head + _named(*encoding.parts(self.text))).encode()
        return self._named_wire

    @property
    def named_chunk(self) -> bytes:
        if not self._named_chunk:
            self._named_chunk = chunked(self.named_wire)
        return self._named_chunk

    @property
    def body(self) -> bytes:
        """`wire` without the cursor, for streams that have another one."""
        return self.wire[len(self._head) :]

    @property
    def named_body(self) -> bytes:
        return self.named_wire[len(self._head) :]

    @property
    def text(self) -> str:
        """As it is stored."""
        return self.body[len("data: ") : -2].decode()

    @property
    def data(self) -> dict[str, Any]:
        """`{type, payload, timestamp}`."""
        event: dict[str, Any] = json.loads(self.text)
        event.pop("form", None)
        return event


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


def control(
    kind: str,
    payload: Mapping[str, Any],
    *,
    cursor: str = "",
    retry_ms: int = 0,
    named: bool = False,
) -> bytes:
    """A frame about the stream itself: connected, heartbeat, reset, goodbye."""
    head = f"retry: {retry_ms}\n" if retry_ms else ""
    if cursor:
        head += f"id: {cursor}\n"
    text = encoding.encode_control(f"sse-{kind}" if named else kind, payload)
    body = _named(*encoding.parts(text)) if named else f"data: {text}\n\n"
    return (head + body).encode()


def _named(name: str, data: str) -> str:
    # Rows of earlier versions may have any name.
    name = encoding.UNSPEAKABLE.sub("\N{REPLACEMENT CHARACTER}", name)
    lines = "".join(f"data: {line}\n" for line in _LINE_END.split(data))
    return f"event: {name}\n{lines}\n"
