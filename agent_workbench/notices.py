"""What an agent must hear of, also on return: rows that stay until they have been read."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from agent_workbench.exceptions import NoticeNotFound
from agent_workbench.models import Agent, Notice
from ai_chatbot import events
from ai_chatbot.models import ChatSession
from sse import enqueue_sse_message_sync

SHOWN_AT_MOST = 100


def tell(
    agent: Agent | int, kind: Notice.Kind, session: ChatSession, /, **details: Any
) -> Notice:
    """Store it, and say so on the agent's own stream. `agent` may be the profile's key.

    In the transaction of what it tells of, after the conversation's own events.
    """
    if not isinstance(agent, Agent):
        agent = Agent.objects.get(pk=agent)
    notice = Notice.objects.create(agent=agent, kind=kind, session=session, details=details)
    enqueue_sse_message_sync(
        events.agent_target(agent.user_id), {"type": "notice", "payload": as_json(notice)}
    )
    return notice


def unread(agent: Agent) -> list[dict[str, Any]]:
    """The latest first."""
    found = agent.notices.filter(read_at__isnull=True).select_related("session")
    return [as_json(notice) for notice in found.order_by("-pk")[:SHOWN_AT_MOST]]


def read(agent: Agent, pk: int) -> None:
    """Repeating it changes nothing. Raises NoticeNotFound."""
    own = agent.notices.filter(pk=pk)
    if not own.filter(read_at__isnull=True).update(read_at=timezone.now()) and not own.exists():
        raise NoticeNotFound


def as_json(notice: Notice) -> dict[str, Any]:
    return {
        "id": notice.pk,
        "kind": notice.kind,
        "session_name": notice.session.name,
        "nickname": notice.session.nickname,
        "details": notice.details,
        "created_at": events.stamp(notice.created_at),
    }
