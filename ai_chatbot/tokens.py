"""Visitor tokens: 256 random bits, stored as a digest, good for one session."""

from __future__ import annotations

import hashlib
import secrets

from ai_chatbot.exceptions import ForeignSession, InvalidToken, SessionNotFound
from ai_chatbot.models import ChatSession


def new() -> str:
    return secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """What is stored of a token. It is random, so one plain hash is enough."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def session_for(token: str, session_name: str) -> ChatSession:
    """The session that the token opens.

    Raises InvalidToken, ForeignSession, SessionNotFound (only to holders of a valid token).
    """
    if not token:
        raise InvalidToken
    session = ChatSession.objects.filter(token_digest=digest(token)).first()
    if session is None:
        raise InvalidToken
    if session.name != session_name:
        if ChatSession.objects.filter(name=session_name).exists():
            raise ForeignSession
        raise SessionNotFound
    return session
