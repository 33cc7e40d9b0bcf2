"""Visitor tokens: 256 random bits, stored as a digest, good for one session.

A session has the one that it began with, and later ones for who came back by a mail's link.
"""

from __future__ import annotations

import hashlib
import secrets

from ai_chatbot.exceptions import ForeignSession, InvalidToken, SessionNotFound
from ai_chatbot.models import ChatSession, SessionToken

# Of one session, besides its first; the oldest go.
MOST_TOKENS = 10


def new() -> str:
    return secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """What is stored of a token. It is random, so one plain hash is enough."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def add(session: ChatSession) -> str:
    """One more token for the session, under its lock."""
    token = new()
    SessionToken.objects.create(session=session, digest=digest(token))
    kept = session.tokens.order_by("-pk").values_list("pk", flat=True)[:MOST_TOKENS]
    session.tokens.exclude(pk__in=list(kept)).delete()
    return token


def session_for(token: str, session_name: str) -> ChatSession:
    """The session that the token opens.

    Raises InvalidToken, ForeignSession, SessionNotFound (only to holders of a valid token).
    """
    if not token:
        raise InvalidToken
    session = _opened_by(digest(token))
    if session is None:
        raise InvalidToken
    if session.name != session_name:
        if ChatSession.objects.filter(name=session_name).exists():
            raise ForeignSession
        raise SessionNotFound
    return session


def _opened_by(stored: str) -> ChatSession | None:
    return (
        ChatSession.objects.filter(token_digest=stored).first()
        or ChatSession.objects.filter(tokens__digest=stored).first()
    )
