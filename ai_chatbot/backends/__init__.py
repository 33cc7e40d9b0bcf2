"""AI backends: who answers the customer, chosen by the setting AI_BACKEND."""

from ai_chatbot.backends.base import (
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
