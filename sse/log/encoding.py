"""An event's text: made once when it is sent, stored as it is, and the source of both forms.

    {"type":NAME,"payload":OBJECT,"timestamp":SECONDS}
    {"type":NAME,"form":"json","payload":{"data":ANY JSON},"timestamp":SECONDS}
    {"type":NAME,"form":"text","payload":{"data":STRING},"timestamp":SECONDS}

The order of the keys is part of the format, so that the data can be cut out of it unchanged.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from django.utils.module_loading import import_string

from sse.conf import conf
from sse.exceptions import EventTooLarge, InvalidEvent

DATA_MAX_BYTES = 64 * 1024

# EventSource fires these itself; and the stream's own events are sse-connected and so on.
_RESERVED = frozenset({"error", "open"})
_RESERVED_PREFIX = "sse-"
# Control characters, which would end the line, and halves of pairs, which UTF-8 does not have.
UNSPEAKABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

_TYPE = '{"type":'
_OBJECT = ',"payload":'
_JSON = ',"form":"json","payload":{"data":'
_TEXT = ',"form":"text","payload":{"data":'
_TIMESTAMP = ',"timestamp":'

_decoder = json.JSONDecoder()


def encode(name: str, data: Any, *, json_encode: bool = True) -> str:
    """The event's text: a single line that any database can hold, with the time of the call.

    `data` is anything that the encoder of SSE_JSON_ENCODER knows, or with `json_encode=False`
    a string.

    Raises InvalidEvent for anything else, and for a name that a stream cannot carry or that
    means something else there; EventTooLarge over 64 KiB of data.
    """
    return _compose(_checked(name), *(_as_json(data) if json_encode else _as_text(data)))


def encode_control(kind: str, payload: Mapping[str, Any]) -> str:
    """The text of a frame about the stream itself, whose name may be one that is reserved."""
    return _compose(kind, _OBJECT, _dump(dict(payload)))


def parts(text: str) -> tuple[str, str]:
    """An event's name, and its data as it goes on the wire: the string, or JSON on one line."""
    name, end = _decoder.raw_decode(text, len(_TYPE))
    last = text.rindex(_TIMESTAMP)
    if text.startswith(_TEXT, end):
        return name, json.loads(text[end + len(_TEXT) : last - 1])
    if text.startswith(_JSON, end):
        return name, text[end + len(_JSON) : last - 1]
    return name, text[end + len(_OBJECT) : last]


def data_of(text: str) -> Any:
    """What a reader makes of the event's data: the string, or what the JSON stands for."""
    event = json.loads(text)
    return event["payload"]["data"] if "form" in event else event["payload"]


def timestamp_of(text: str) -> float:
    return float(text[text.rindex(":") + 1 : -1])


def _compose(name: str, form: str, body: str) -> str:
    end = "" if form == _OBJECT else "}"
    return f"{_TYPE}{_string(name)}{form}{body}{end}{_TIMESTAMP}{time.time():.6f}}}"


def _checked(name: str) -> str:
    if not isinstance(name, str) or not name:
        raise InvalidEvent("An event's name is a non-empty string.")
    if name in _RESERVED or name.startswith(_RESERVED_PREFIX):
        raise InvalidEvent(f"{name!r} is not an event's name: the stream itself has such ones.")
    if UNSPEAKABLE.search(name):
        raise InvalidEvent(f"{name!r} has characters that an event's name cannot have.")
    return name


def _as_json(data: Any) -> tuple[str, str]:
    body = _dump(dict(data) if isinstance(data, Mapping) else data)
    _check_size(body)
    return _OBJECT if body.startswith("{") else _JSON, body


def _as_text(data: Any) -> tuple[str, str]:
    if not isinstance(data, str):
        raise InvalidEvent(f"Without JSON, data is a string, not {type(data).__name__}.")
    try:
        _check_size(data)
    except UnicodeEncodeError as error:
        raise InvalidEvent(f"UTF-8 cannot carry this text: {error}") from error
    return _TEXT, _string(data)


def _string(text: str) -> str:
    """As JSON, whatever the project's encoder makes of strings."""
    return json.dumps(text, ensure_ascii=False)


def _check_size(body: str) -> None:
    size = len(body.encode())
    if size > DATA_MAX_BYTES:
        raise EventTooLarge(f"Data of {size} bytes; {DATA_MAX_BYTES} is the limit.")


def _dump(value: Any) -> str:
    readable, escaping = _encoders(import_string(conf.SSE_JSON_ENCODER))
    try:
        text = readable.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidEvent(f"JSON cannot carry this: {error}") from error
    try:
        text.encode()
    except UnicodeEncodeError:
        # A lone surrogate has no UTF-8, but JSON can escape it.
        text = escaping.encode(value)
    if "\n" in text or "\r" in text:
        raise InvalidEvent("SSE_JSON_ENCODER has to write JSON on one line.")
    return text


@lru_cache
def _encoders(kind: type[json.JSONEncoder]) -> tuple[json.JSONEncoder, json.JSONEncoder]:
    """One that leaves characters as they are, and one that escapes all that is not ASCII."""
    readable, escaping = (
        kind(ensure_ascii=ascii_only, allow_nan=False, separators=(",", ":"))
        for ascii_only in (False, True)
    )
    return readable, escaping
