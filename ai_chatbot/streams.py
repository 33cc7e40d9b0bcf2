"""The customer's event stream."""

from __future__ import annotations

from django.urls import URLPattern, path

from ai_chatbot import tokens
from ai_chatbot.conversation import presence
from ai_chatbot.exceptions import ConversationError
from sse.exceptions import StreamRefused
from sse.streams.endpoint import EventStream, Grant, StreamRequest


def customer(request: StreamRequest) -> Grant:
    """The session that the token opens, and no other."""
    name = request.path["session_name"]
    try:
        session = tokens.session_for(request.bearer, name)
    except ConversationError as error:
        raise StreamRefused(
            error.status, error.code, str(error), details=error.details
        ) from error
    return Grant(
        targets=(session.name,),
        connected={"session_name": session.name},
        subjects=frozenset({f"session:{session.name}"}),
        presence=presence.subject(session),
    )


def urlpatterns(prefix: str) -> list[URLPattern]:
    return [path(f"{prefix}/sessions/<slug:session_name>/events", EventStream(customer))]  # type: ignore[arg-type] # an ASGI application, for Channels' URLRouter
