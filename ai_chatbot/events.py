"""The conversation's events: what is sent, to whom. Sent from verbs, in their transaction.

A session's stream has the session's name as its target. All agents listen to AGENTS; each also
to a target of their own.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from django.db.models import OuterRef, Subquery

from ai_chatbot.conversation.estimates import Wait
from ai_chatbot.models import (
    ChatSession,
    HandoffRecord,
    Message,
    MessageRole,
    Priority,
    Reason,
    Status,
)
from sse import enqueue_sse_message_sync

AGENTS = "workbench:agents"
SUMMARY_CHARACTERS = 160
_WAITS = (Status.PENDING_MANUAL, Status.AFTER_HOURS_EMAIL)


def agent_target(agent_id: int) -> str:
    """By key: a username may change, and may be what another target is called."""
    return f"agent:{agent_id}"


def stamp(moment: datetime) -> str:
    """The time as the HTTP API writes it, so that both say the same."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def person(agent_id: int | None, name: str) -> dict[str, Any] | None:
    return None if agent_id is None else {"id": agent_id, "name": name}


def internal_target(session_name: str) -> str:
    """The target of what agents see of a session and the customer never does."""
    return f"{session_name}:internal"


def message_json(message: Message) -> dict[str, Any]:
    """`feedback`: whether it helped, None if nobody said, or it was not fetched with that."""
    judged = Message.feedback.is_cached(message) and hasattr(message, "feedback")
    return {
        "id": message.pk,
        "client_id": message.client_id,
        "reply_id": str(message.reply_id) if message.reply_id else None,
        "role": message.role,
        "content": message.content,
        "created_at": stamp(message.created_at),
        "agent": person(message.agent_id, message.agent_name),
        "sources": message.sources,
        "status": message.status,
        "feedback": message.feedback.helpful if judged else None,
    }


def summary(session: ChatSession, *, readable: bool = True) -> dict[str, Any]:
    """A session as lists show it, with the last thing that somebody said in it.

    `readable`: whether that, and what the customer wants, is for the one who asks.
    """
    return summaries([session], {session.pk} if readable else ())[0]


def summaries(
    sessions: Sequence[ChatSession], readable: Collection[int]
) -> list[dict[str, Any]]:
    """The same of several, in two queries; `readable`: the keys of those that are."""
    questions, last = _said_in([session for session in sessions if session.pk in readable])
    return [
        _summary(
            session,
            last.get(session.pk),
            questions.get(session.pk, ""),
            readable=session.pk in readable,
        )
        for session in sessions
    ]


def _said_in(sessions: Sequence[ChatSession]) -> tuple[dict[int, str], dict[int, Message]]:
    """What customers had asked when a person was called, where one is waited for; and what
    was said last."""
    if not sessions:
        return {}, {}
    said = Message.objects.exclude(role=MessageRole.SYSTEM).filter(session=OuterRef("pk"))
    asked = HandoffRecord.objects.filter(session=OuterRef("pk"))
    rows = (
        ChatSession.objects.filter(pk__in=[session.pk for session in sessions])
        .order_by()
        .values_list(
            "pk",
            Subquery(said.order_by("-pk").values("pk")[:1]),
            Subquery(asked.order_by("-pk").values("question")[:1]),
        )
    )
    waits = {session.pk for session in sessions if session.status in _WAITS}
    questions, keys = {}, []
    for pk, message, question in rows:
        keys.append(message)
        if pk in waits and question:
            questions[pk] = question[:SUMMARY_CHARACTERS]
    found = Message.objects.filter(pk__in=filter(None, keys))
    return questions, {message.session_id: message for message in found}


def _summary(
    session: ChatSession, last: Message | None, question: str, *, readable: bool
) -> dict[str, Any]:
    return {
        "session_name": session.name,
        "nickname": session.nickname,
        "language": session.language,
        "status": session.status,
        "agent": person(session.agent_id, session.agent_name),
        "reason": session.escalation_reason if readable else "",
        "question": question,
        "priority": Priority(session.priority).code,
        "vip": session.vip,
        "why": reasons_for_place(session),
        "unanswered_since": stamp(session.unanswered_since)
        if session.unanswered_since
        else None,
        "customer_gone_at": stamp(session.customer_gone_at)
        if session.customer_gone_at
        else None,
        "has_contact": readable and session.contact_left_at is not None,
        "created_at": stamp(session.created_at),
        "escalated_at": stamp(session.escalated_at) if session.escalated_at else None,
        "last_message": last
        and {
            "id": last.pk,
            "role": last.role,
            "content": last.content[:SUMMARY_CHARACTERS],
            "created_at": stamp(last.created_at),
        },
    }


def reasons_for_place(session: ChatSession) -> list[str]:
    """Why a waiting session stands where it does, in the order in which it counts: its
    priority unless normal, `ahead` (was with an agent who was lost), `vip`; then the time."""
    if session.status != Status.PENDING_MANUAL:
        return []
    why = [] if session.priority == Priority.NORMAL else [Priority(session.priority).code]
    return [*why, *(key for key in ("ahead", "vip") if getattr(session, key))]


def message_added(message: Message, *, ends_reply: bool = False) -> None:
    """`ends_reply`: no more of its deltas may follow on any stream."""
    enqueue_sse_message_sync(
        message.session.name,
        {"type": "message", "payload": message_json(message)},
        barrier=ends_reply,
    )


def status_changed(session: ChatSession, previous: str, reason: Reason) -> None:
    event = {
        "type": "status_change",
        "payload": {
            "session_name": session.name,
            "status": session.status,
            "previous": previous,
            "reason": reason,
            "agent": person(session.agent_id, session.agent_name),
        },
    }
    # A barrier: nothing that the former owner began is shown after it.
    enqueue_sse_message_sync(session.name, event, barrier=True)
    enqueue_sse_message_sync(AGENTS, event)


def reply_started(session: ChatSession, reply_id: object) -> str:
    """Returns the cursor that the reply's deltas depend on."""
    return enqueue_sse_message_sync(
        session.name, {"type": "reply_started", "payload": {"reply_id": str(reply_id)}}
    )


def reply_delta(
    session_name: str, reply_id: object, text: str, *, offset: int, since: str
) -> None:
    """`offset`: how many characters of the reply came before this piece."""
    enqueue_sse_message_sync(
        session_name,
        {
            "type": "reply_delta",
            "payload": {"reply_id": str(reply_id), "text": text, "offset": offset},
        },
        durable=False,
        since=since,
    )


def reply_aborted(session: ChatSession, reply_id: object, reason: str) -> None:
    enqueue_sse_message_sync(
        session.name,
        {"type": "reply_aborted", "payload": {"reply_id": str(reply_id), "reason": reason}},
        barrier=True,
    )


def queue_position(session: ChatSession, position: int, wait: Wait | None) -> None:
    enqueue_sse_message_sync(
        session.name,
        {
            "type": "queue_position",
            "payload": {
                "position": position,
                "estimated_wait_seconds": wait.least if wait else None,
                "estimated_wait_max_seconds": wait.most if wait else None,
            },
        },
    )


def availability_changed(
    session: ChatSession, someone_on_duty: bool, back_at: datetime | None
) -> None:
    enqueue_sse_message_sync(
        session.name,
        {
            "type": "availability",
            "payload": {
                "someone_on_duty": someone_on_duty,
                "back_at": stamp(back_at) if back_at else None,
            },
        },
    )


def queue_updated(session: ChatSession, change: str) -> None:
    """`change`: added, updated or removed. For the queue every agent sees."""
    # One that an agent has just taken is that agent's alone.
    shown = summary(session, readable=session.status != Status.MANUAL_LIVE)
    enqueue_sse_message_sync(
        AGENTS, {"type": "queue_update", "payload": {"change": change, "session": shown}}
    )


def reply_judged(message: Message, helpful: bool) -> None:
    """For who follows the session. What the customer wrote about it is read over HTTP."""
    enqueue_sse_message_sync(
        internal_target(message.session.name),
        {"type": "reply_feedback", "payload": {"message_id": message.pk, "helpful": helpful}},
    )


def own_session_updated(session: ChatSession) -> None:
    """The same, for the one agent who has the session."""
    _to_its_agent(session, "queue_update", {"change": "updated", "session": summary(session)})


def session_assigned(session: ChatSession) -> None:
    _to_its_agent(session, "session_assigned", {"session": summary(session)})


def _to_its_agent(session: ChatSession, kind: str, payload: dict[str, Any]) -> None:
    assert session.agent_id is not None  # noqa: S101 - the database's own constraint
    enqueue_sse_message_sync(agent_target(session.agent_id), {"type": kind, "payload": payload})
