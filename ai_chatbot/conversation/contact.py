"""How a customer who has left is reached, and gets back.

A mail to a customer has a link with a signed value: the session, and a digest of the address
that the mail went to. It opens the session for CONTACT_LINK_DAYS, as often as it is followed,
unless the customer has given another address since: a mistyped one may be somebody's.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from django.conf import settings
from django.core import signing
from django.db import transaction
from django.utils import timezone
from django.utils.crypto import constant_time_compare, salted_hmac

from ai_chatbot import events, tokens
from ai_chatbot.conversation import handoff
from ai_chatbot.exceptions import BadLink, LinkExpired, SessionClosed
from ai_chatbot.models import ChatSession, Status

NOTE_CHARACTERS = 2000
# In the query of the chat's page.
PARAMETER = "resume"
_SALT = "ai_chatbot.contact.link"


def of(session: ChatSession) -> dict[str, Any] | None:
    """`{email, note}` as the customer left them, or None."""
    if session.contact_left_at is None:
        return None
    return {"email": session.contact_email, "note": session.contact_note}


@transaction.atomic
def leave(session_name: str, *, email: str, note: str) -> ChatSession:
    """The customer says how to be reached, or says it anew.

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
    if session.status == Status.MANUAL_LIVE:
        events.own_session_updated(session)
    else:
        events.queue_updated(session, "updated")
    return session


def link(session: ChatSession) -> str:
    """The way back into the conversation, for a mail to the contact address."""
    value = signing.dumps([session.name, _addressee(session)], salt=_SALT)
    return f"{settings.PUBLIC_URL}/chat/?{urlencode({PARAMETER: value})}"


@transaction.atomic
def resume(given: str) -> tuple[ChatSession, str]:
    """The session that a link leads to, and a new token for it. The others stay valid.

    `given`: the whole link or its signed value. Raises BadLink, LinkExpired, SessionNotFound.
    """
    days = timedelta(days=settings.CONTACT_LINK_DAYS)
    try:
        name, addressee = signing.loads(_value(given), salt=_SALT, max_age=days)
    except signing.SignatureExpired:
        raise LinkExpired from None
    except signing.BadSignature:
        raise BadLink from None
    session = handoff.lock(name)
    if not constant_time_compare(addressee, _addressee(session)):
        raise LinkExpired
    return session, tokens.add(session)


def _value(given: str) -> str:
    try:
        query = parse_qs(urlsplit(given).query)
    except ValueError:
        raise BadLink from None
    return query.get(PARAMETER, [given])[0]


def _addressee(session: ChatSession) -> str:
    return salted_hmac(_SALT, session.contact_email, algorithm="sha256").hexdigest()[:32]
