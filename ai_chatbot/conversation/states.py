"""A session as a client needs it to begin with, and its older messages."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

import sse
from ai_chatbot import events, turns
from ai_chatbot.conversation import availability, contact, waiting
from ai_chatbot.exceptions import SessionNotFound
from ai_chatbot.models import ChatSession, Message

MESSAGES_SHOWN = 50


def state(session_name: str, *targets: str) -> dict[str, Any]:
    """The session's state; a stream opened with its `cursor` misses nothing after it.

    `targets`: what else that stream reads. Raises SessionNotFound.
    """
    # Before everything else: what happens while we read is then sent again, not lost.
    cursor = sse.cursor(session_name, *targets)
    session = ChatSession.objects.filter(name=session_name).first()
    if session is None:
        # Deleted since its token was looked at.
        raise SessionNotFound
    latest = list(_messages(session)[:MESSAGES_SHOWN])
    return {
        "session_name": session.name,
        "nickname": session.nickname,
        "email": session.email,
        "language": session.language,
        "status": session.status,
        "agent": events.person(session.agent_id, session.agent_name),
        "queue": waiting.place_of(session),
        "availability": availability.as_json(availability.now()),
        "contact": contact.of(session),
        "reply": turns.shown(session),
        "awaiting_reply": turns.owed(session),
        "messages": [events.message_json(message) for message in reversed(latest)],
        "cursor": cursor,
        "created_at": session.created_at,
        "escalated_at": session.escalated_at,
        "reason": session.escalation_reason,
    }


def older_messages(session: ChatSession, *, before: int | None, limit: int) -> dict[str, Any]:
    """A page of messages in the thread's order; `next` is the `before` of the page above it."""
    rows = _messages(session)
    if before is not None:
        rows = rows.filter(pk__lt=before)
    page = list(rows[: limit + 1])
    more = len(page) > limit
    page = page[:limit]
    return {
        "items": [events.message_json(message) for message in reversed(page)],
        "next": str(page[-1].pk) if more else None,
    }


def _messages(session: ChatSession) -> QuerySet[Message]:
    """The latest first, with what the customer thinks of them."""
    return session.messages.select_related("feedback").order_by("-pk")
