"""Whether the customer's page is open: whether any stream of theirs is, in any process."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db.models import Q
from django.db.models.functions import Substr

from ai_chatbot.models import ChatSession
from sse.process import registry

if TYPE_CHECKING:
    from django.db.models import QuerySet

SUBJECT = "customer:"


def subject(session: ChatSession) -> str:
    """What the customer's streams count for in sse.process.registry."""
    return f"{SUBJECT}{session.name}"


def is_here(session: ChatSession) -> bool:
    return registry.present_streams().filter(subject=subject(session)).exists()


def silence() -> timedelta:
    """How long a page that has lost its network may pass for one that is open: one heartbeat
    that it does not acknowledge, and one more until the kernel gives it up."""
    return timedelta(seconds=2 * settings.SSE_HEARTBEAT_SECONDS)


def has_shown(session: ChatSession, moment: datetime) -> bool:
    """Whether a page is open that certainly has what was announced at this moment: opened
    later, or still there when one without a network would not be any more."""
    streams = registry.present_streams().filter(subject=subject(session))
    return streams.filter(
        Q(opened_at__gt=moment) | Q(process__seen_at__gt=moment + silence())
    ).exists()


def here() -> QuerySet[Any]:
    """The names of all sessions whose customer's page is open, for a subquery."""
    return (
        registry.present_streams()
        .filter(subject__startswith=SUBJECT)
        .annotate(session_name=Substr("subject", len(SUBJECT) + 1))
        .values("session_name")
    )
