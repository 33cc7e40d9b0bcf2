"""The customer's event stream."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from django.http import HttpRequest

from ai_chatbot import tokens
from ai_chatbot.conversation import presence
from ai_chatbot.exceptions import ConversationError
from sse import Grant, Refused
from sse.streams.requests import bearer


def refused_as_elsewhere(authorize: Callable[..., Grant]) -> Callable[..., Grant]:
    """The function, its errors answered as the APIs answer them."""

    @wraps(authorize)
    def refusing(request: HttpRequest, **kwargs: str) -> Grant:
        try:
            return authorize(request, **kwargs)
        except ConversationError as error:
            raise Refused(error.status, error.code, str(error), error.details) from error

    return refusing


@refused_as_elsewhere
def of_customer(request: HttpRequest, session_name: str) -> Grant:
    """The session that the token opens, and no other."""
    session = tokens.session_for(bearer(request), session_name)
    return Grant(
        session.name,
        connected={"session_name": session.name},
        subjects=[f"session:{session.name}"],
        presence=presence.subject(session),
    )
