"""The line of customers who wait for a person: their places and how long it may take."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q

from ai_chatbot import events
from ai_chatbot.models import ChatSession, Status

# The estimate rests on this many latest waits.
WAITS_CONSIDERED = 20
# Sessions begun from one address that may wait at once.
PLACES_PER_ADDRESS = 20


def seconds_per_place() -> float | None:
    """The mean of the latest waits, in seconds; None while nobody has been taken over yet."""
    latest = (
        ChatSession.objects.filter(waited_seconds__isnull=False, taken_at__isnull=False)
        .order_by("-taken_at")
        .values_list("waited_seconds", flat=True)[:WAITS_CONSIDERED]
    )
    waits = [seconds for seconds in latest if seconds is not None]
    return sum(waits) / len(waits) if waits else None


def place_of(session: ChatSession) -> dict[str, Any] | None:
    """`{position, estimated_wait_seconds}` of a waiting session, else None."""
    if session.status != Status.PENDING_MANUAL:
        return None
    earlier = Q(escalated_at__lt=session.escalated_at)
    at_once = Q(escalated_at=session.escalated_at, pk__lt=session.pk)
    ahead = ChatSession.objects.pending().filter(earlier | at_once).count()
    return {
        "position": ahead + 1,
        "estimated_wait_seconds": _estimate(ahead + 1, seconds_per_place()),
    }


def has_room(session: ChatSession) -> bool:
    """Whether the session may be put in line, or as many from its address are waiting already.

    In a transaction that holds the session's lock; nobody else counts the address's places
    before it ends.
    """
    if not settings.RATE_LIMITS or not session.origin:
        return True
    if connection.vendor == "postgresql":
        # SQLite has one writer at a time anyway.
        with connection.cursor() as cursor:
            number = int(session.origin[:16], 16) - 2**63
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [number])
    waiting = ChatSession.objects.pending().filter(origin=session.origin)
    return waiting.count() < PLACES_PER_ADDRESS


def announce_places() -> None:
    """Tell every waiting customer whose place has changed. A transaction of its own.

    Locks the waiting sessions in the order of the line; verbs lock one session and never
    another, so there is no cycle.
    """
    with transaction.atomic():
        per_place = None
        for position, session in enumerate(
            ChatSession.objects.pending().select_for_update(), start=1
        ):
            if session.queue_position == position:
                continue
            per_place = per_place if per_place is not None else seconds_per_place()
            ChatSession.objects.filter(pk=session.pk).update(queue_position=position)
            events.queue_position(session, position, _estimate(position, per_place))


def _estimate(position: int, per_place: float | None) -> int | None:
    return None if per_place is None else round(per_place * position)
