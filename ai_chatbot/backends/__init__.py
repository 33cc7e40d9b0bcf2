"""AI backends: who answers the customer, chosen by the setting AI_BACKEND."""

from ai_chatbot.backends.base import (
    CODES,
    Backend,
    BackendError,
    Conversation,
    Delta,
    HandOff,
    Line,
    ReplyPart,
    Source,
    Sources,
    get_backend,
)

__all__ = [
    "CODES",
    "Backend",
    "BackendError",
    "Conversation",
    "Delta",
    "HandOff",
    "Line",
    "ReplyPart",
    "Source",
    "Sources",
    "get_backend",
]
