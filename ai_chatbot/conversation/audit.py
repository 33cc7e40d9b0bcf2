"""Who did what: rows that are added with what they tell of, and never changed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ai_chatbot import events
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
LOGOUT = "logout"
EXPORT = "export"


def note(action: str, by: Person | None, *, session: str = "", **details: Any) -> None:
    """In the transaction of what it tells of. `by` None: the system, a command, or the
    customer."""
    AuditEntry.objects.create(
        action=action,
        actor_id=by.id if by else None,
        actor_name=by.name if by else "",
        session_name=session,
        details=details,
    )


def page(
    *,
    action: str = "",
    actor: int | None = None,
    session: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
    before: int | None = None,
    limit: int,
) -> dict[str, Any]:
    """The latest first; `since` is counted in and `until` is not. `next` is the `before` of the
    page of older ones."""
    asked = {
        "action": action,
        "actor_id": actor,
        "session_name": session,
        "at__gte": since,
        "at__lt": until,
        "pk__lt": before,
    }
    given = {field: value for field, value in asked.items() if value not in (None, "")}
    rows = list(AuditEntry.objects.filter(**given).order_by("-pk")[: limit + 1])
    more, rows = len(rows) > limit, rows[:limit]
    return {
        "items": [_as_json(entry) for entry in rows],
        "next": str(rows[-1].pk) if more else None,
    }


def _as_json(entry: AuditEntry) -> dict[str, Any]:
    return {
        "id": entry.pk,
        "at": entry.at,
        "action": entry.action,
        "actor": events.person(entry.actor_id, entry.actor_name),
        "session_name": entry.session_name,
        "details": entry.details,
    }
