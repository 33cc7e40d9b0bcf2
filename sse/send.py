"""Sending events: in transactions, in async code, from any process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from asgiref.sync import sync_to_async
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from sse.exceptions import InvalidEvent
from sse.live.hub import get_hub
from sse.live.outbox import Outgoing
from sse.log import cursors, encoding, store
from sse.log.targets import storable


def send_event(
    channel: str,
    name: str,
    data: Any,
    *,
    durable: bool = True,
    json_encode: bool = True,
    barrier: bool = False,
    since: str = "",
) -> str:
    """Send an event to every stream of `channel`, as part of the current transaction.

    `channel` is any non-empty string of up to 200 characters, `data` anything that becomes JSON
    (with the encoder of SSE_JSON_ENCODER), or with `json_encode=False` text or HTML; 64 KiB at
    most. The event goes out after commit, or not at all. A durable one is stored in the
    transaction, holding the channel's row lock until its end, and its cursor is returned; an
    ephemeral one (`durable=False`) may be lost, and returns "".

    `barrier` makes a durable event one that ephemeral events begun before it cannot overtake:
    an ephemeral event names in `since` the cursor of the durable event it belongs to, and no
    stream delivers it after a barrier that came later than that.

    Raises InvalidTarget, InvalidEvent or EventTooLarge, and then has sent nothing.
    """
    target = storable(channel)
    text = encoding.encode(name, data, json_encode=json_encode)
    if not durable:
        _after_commit(Publication(channel, _ephemeral(target, text, since)))
        return ""
    return send_durable(channel, target, text, barrier=barrier)


def send_durable(channel: str, target: str, text: str, *, barrier: bool = False) -> str:
    """`send_event` of what is checked already: `target` as stored, `text` an encoded event."""
    at = store.append(target, text, barrier=barrier)
    _after_commit(Publication(channel, Outgoing(target, at.epoch, at.seq, text, barrier, 0)))
    return cursors.one(at.epoch, at.seq)


async def asend_event(
    channel: str,
    name: str,
    data: Any,
    *,
    durable: bool = True,
    json_encode: bool = True,
    barrier: bool = False,
    since: str = "",
) -> str:
    """`send_event` for async callers. An ephemeral event needs no thread, and goes out at once:
    Django's transactions are for synchronous code."""
    if durable:
        return await sync_to_async(send_event)(
            channel, name, data, json_encode=json_encode, barrier=barrier
        )
    target = storable(channel)
    text = encoding.encode(name, data, json_encode=json_encode)
    publication = Publication(channel, _ephemeral(target, text, since))
    _tell(publication)
    publication.publish()
    return ""


def enqueue_sse_message_sync(
    target: str,
    event: Mapping[str, Any],
    *,
    durable: bool = True,
    barrier: bool = False,
    since: str = "",
) -> str:
    """`send_event` of an event that is `{"type": str, "payload": {…}}`."""
    kind, payload = _type_and_payload(event)
    return send_event(target, kind, payload, durable=durable, barrier=barrier, since=since)


async def enqueue_sse_message(
    target: str,
    event: Mapping[str, Any],
    *,
    durable: bool = True,
    barrier: bool = False,
    since: str = "",
) -> str:
    """`asend_event` of an event that is `{"type": str, "payload": {…}}`."""
    kind, payload = _type_and_payload(event)
    return await asend_event(
        target, kind, payload, durable=durable, barrier=barrier, since=since
    )


class Publication:
    """An event that was sent, and what is done with it once it is committed."""

    __slots__ = ("_connection", "_published", "channel", "event")

    def __init__(self, channel: str, event: Outgoing) -> None:
        self.channel = channel
        self.event = event
        self._published = False
        # The sender's, which is the one of its thread.
        self._connection: BaseDatabaseWrapper = connections[DEFAULT_DB_ALIAS]

    def publish(self) -> None:
        self._published = True
        get_hub().publish(self.event)

    @property
    def rolled_back(self) -> bool:
        """Whether it was neither published nor still waits for a commit."""
        if self._published:
            return False
        waiting = (hook for _, hook, *_ in self._connection.run_on_commit)
        return not any(getattr(hook, "__self__", None) is self for hook in waiting)


# Told of each event at the call; see sse.test.
witnesses: tuple[Callable[[Publication], None], ...] = ()


def _tell(publication: Publication) -> None:
    for witness in witnesses:
        witness(publication)


def _after_commit(publication: Publication) -> None:
    """At once, where there is no transaction. What then fails is logged and not raised: the
    change is made, and the event in the log."""
    _tell(publication)
    transaction.on_commit(publication.publish, robust=True)


def _ephemeral(target: str, text: str, since: str) -> Outgoing:
    epoch, seq = next(iter((cursors.parse(since) or {}).items()), ("", 0))
    return Outgoing(target, epoch, 0, text, False, seq)


def _type_and_payload(event: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
    if not isinstance(event, Mapping):
        raise InvalidEvent(f"An event is a mapping, not {type(event).__name__}.")
    unknown = set(event) - {"type", "payload"}
    if unknown:
        raise InvalidEvent(f"An event has type and payload, not {sorted(map(str, unknown))}.")
    payload = event.get("payload", {})
    if not isinstance(payload, Mapping):
        raise InvalidEvent(f"A payload is an object, not {type(payload).__name__}.")
    return event.get("type"), payload
