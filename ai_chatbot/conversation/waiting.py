"""The line of customers who wait for a person: their places, and who is told of them when.

How long it may take is ai_chatbot.conversation.estimates'.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

from django.conf import settings
from django.db import Error, connection, transaction
from django.db.models import Q

from ai_chatbot import events
from ai_chatbot.bells import Bell
from ai_chatbot.conversation import estimates
from ai_chatbot.models import LINE_ORDER, ChatSession, Status
from sse.process import outages
from sse.process.runtime import get_runtime
from sse.process.supervisor import Pulse

# Who is so near to the front is told at once, the others every few seconds.
FIRST = 10
EVERYBODY_SECONDS = 3.0
GATHER_SECONDS = 0.1
TOLD_AT_ONCE = 200
# In one transaction: a verb on one of them waits for it.
LOCKED_AT_ONCE = 50
# Sessions begun from one address that may wait at once.
PLACES_PER_ADDRESS = 20

# Rung by whoever changes the line.
bell = Bell()


def place_of(session: ChatSession) -> dict[str, Any] | None:
    """`{position, estimated_wait_seconds, estimated_wait_max_seconds}` of a waiting session,
    else None."""
    if session.status != Status.PENDING_MANUAL:
        return None
    ahead = ChatSession.objects.pending().filter(_before(session)).count()
    wait = estimates.now().of_place(ahead + 1)
    return {
        "position": ahead + 1,
        "estimated_wait_seconds": wait.least if wait else None,
        "estimated_wait_max_seconds": wait.most if wait else None,
    }


def _before(session: ChatSession) -> Q:
    """Who is before the session, by LINE_ORDER."""
    before, same = Q(), Q()
    for key in LINE_ORDER:
        field = key.lstrip("-")
        value = getattr(session, field)
        before |= same & Q(**{f"{field}__{'gt' if key.startswith('-') else 'lt'}": value})
        same &= Q(**{field: value})
    return before


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


async def keep_announcing(pulse: Pulse) -> None:
    """Tell the waiting customers their places for as long as the process serves.

    Any process may do it, also several: a place that has been announced is not announced again.
    """
    bell.hang()
    runtime = get_runtime()
    looked_at = -math.inf
    while True:
        pulse()
        everybody = time.monotonic() - looked_at >= EVERYBODY_SECONDS
        if everybody:
            looked_at = time.monotonic()
        try:
            await runtime.database(announce_places, everybody, purpose="chores")
        except Error as error:
            if not outages.kind(error):
                raise
            outages.note("places in the line", error)
        # Departures come in bursts.
        await asyncio.sleep(GATHER_SECONDS)
        await bell.wait(EVERYBODY_SECONDS)


def announce_places(everybody: bool = True) -> int:
    """Tell waiting customers whose place has changed, or whose wait has much; how many were
    told.

    Those in front and those who know no place yet; with `everybody` also others, first those
    whose place is most out of date: when one of a long line leaves, all behind move up.
    """
    line = ChatSession.objects.pending().values_list("pk", "queue_position", "told_wait")
    if not line:
        return 0
    stale, estimate = [], estimates.now()
    for place, (pk, announced, told_wait) in enumerate(line, start=1):
        if announced == place and not estimates.differ(estimate.of_place(place), told_wait):
            continue
        urgent = announced is None or place <= FIRST
        if urgent or everybody:
            stale.append((urgent, abs(place - (announced or 0)), pk))
    stale.sort(key=lambda each: (not each[0], -each[1]))
    told = [pk for _, _, pk in stale[:TOLD_AT_ONCE]]
    batches = range(0, len(told), LOCKED_AT_ONCE)
    return sum(_announce(told[at : at + LOCKED_AT_ONCE]) for at in batches)


@transaction.atomic
def _announce(pks: list[int]) -> int:
    """Locks these sessions by key: two processes may see the line in different orders. Verbs
    lock one session and never another, so there is no cycle."""
    pending = ChatSession.objects.pending().filter(pk__in=pks)
    sessions = list(pending.order_by("pk").select_for_update())
    # Read under the locks, so that of two processes the later one knows better.
    line = ChatSession.objects.pending().values_list("pk", flat=True)
    places = {pk: place for place, pk in enumerate(line, start=1)}
    estimate = estimates.now()
    told = 0
    for session in sessions:
        place = places.get(session.pk)
        if place is None:
            continue
        wait = estimate.of_place(place)
        if place == session.queue_position and not estimates.differ(wait, session.told_wait):
            continue
        ChatSession.objects.filter(pk=session.pk).update(
            queue_position=place, told_wait=wait.most if wait else None
        )
        events.queue_position(session, place, wait)
        told += 1
    return told
