"""How a customer who has left is reached."""

from __future__ import annotations

from typing import Any

from ai_chatbot.models import ChatSession


def of(session: ChatSession) -> dict[str, Any] | None:
    """`{email, note}` as the customer left them, or None."""
    if session.contact_left_at is None:
        return None
    return {"email": session.contact_email, "note": session.contact_note}
