"""Who did what: rows that are added with what they tell of, and never changed."""

from __future__ import annotations

from typing import Any

from ai_chatbot.conversation.people import Person
from ai_chatbot.models import AuditEntry

TAKE_OVER = "take_over"
RELEASE = "release"
ASSIGN = "assign"
TRANSFER = "transfer"
REQUEUE = "requeue"
CLOSE = "close"
REOPEN = "reopen"
ROLE_CHANGE = "role_change"
LOGIN = "login"
EXPORT = "export"


def note(action: str, by: Person | None, *, session: str = "", **details: Any) -> None:
    """`by` None: the system, the site's administration, or the customer."""
    AuditEntry.objects.create(
        action=action,
        actor_id=by.id if by else None,
        actor_name=by.name if by else "",
        session_name=session,
        details=details,
    )
