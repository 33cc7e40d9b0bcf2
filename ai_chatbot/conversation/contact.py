"""How a customer who has left is reached, and comes back."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.utils import timezone

from ai_chatbot import events, links, outbox, tokens
from ai_chatbot.conversation import handoff
from ai_chatbot.exceptions import SessionClosed
from ai_chatbot.models import ChatSession, Status

NOTE_CHARACTERS = 2000


def of(session: ChatSession) -> dict[str, Any] | None:
    """`{email, note}` as the customer left them, or None."""
    if session.contact_left_at is None:
        return None
    return {"email": session.contact_email, "note": session.contact_note}


@transaction.atomic
def leave(session_name: str, *, email: str, note: str) -> ChatSession:
    """The customer says how to be reached, or says it anew. Staff get a mail the first time.

    Raises SessionNotFound, SessionClosed.
    """
    session = handoff.lock(session_name)
    if session.status == Status.CLOSED:
        raise SessionClosed
    if of(session) == {"email": email, "note": note}:
        return session
    session.contact_email, session.contact_note = email, note
    session.contact_left_at = timezone.now()
    session.email = session.email or email
    session.save(
        update_fields=[
            "contact_email", "contact_note", "contact_left_at", "email", "updated_at",
        ]
    )  # fmt: skip
    outbox.owe_staff(session)
    if session.status == Status.MANUAL_LIVE:
        events.own_session_updated(session)
    else:
        events.queue_updated(session, "updated")
    return session


@transaction.atomic
def resume(link: str) -> tuple[ChatSession, str]:
    """The session that a mail's link leads to, and a new token for it; the others stay valid.

    Raises BadLink, LinkExpired, SessionNotFound.
    """
    name, addressee = links.read(link)
    session = handoff.lock(name)
    links.check(session, addressee)
    return session, tokens.add(session)
