"""The conversation as it is stored."""

from ai_chatbot.models.articles import ARTICLE_MAX_CHARACTERS, Article
from ai_chatbot.models.audit import AuditEntry
from ai_chatbot.models.handoffs import (
    GOING_ON,
    HandoffRecord,
    HandoffRule,
    Outcome,
    Severity,
)
from ai_chatbot.models.hours import OpeningSpan, Schedule, SpecialDay, Weekday
from ai_chatbot.models.mail import Mail
from ai_chatbot.models.sessions import (
    LINE_ORDER,
    MESSAGE_MAX_CHARACTERS,
    TRANSITIONS,
    ChatSession,
    ChatSessionQuerySet,
    Message,
    MessageFeedback,
    MessageRole,
    Priority,
    Reason,
    SessionToken,
    Status,
    new_session_name,
)
from ai_chatbot.models.turns import ReplyTurn

__all__ = [
    "ARTICLE_MAX_CHARACTERS",
    "GOING_ON",
    "LINE_ORDER",
    "MESSAGE_MAX_CHARACTERS",
    "TRANSITIONS",
    "Article",
    "AuditEntry",
    "ChatSession",
    "ChatSessionQuerySet",
    "HandoffRecord",
    "HandoffRule",
    "Mail",
    "Message",
    "MessageFeedback",
    "MessageRole",
    "OpeningSpan",
    "Outcome",
    "Priority",
    "Reason",
    "ReplyTurn",
    "Schedule",
    "SessionToken",
    "Severity",
    "SpecialDay",
    "Status",
    "Weekday",
    "new_session_name",
]
