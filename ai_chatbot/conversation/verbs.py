"""The customer's verbs: begin, write, stop the AI, say what an answer was worth."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from ai_chatbot import events, handoff_rules, outbox, replies, tokens, turns
from ai_chatbot.conversation import handoff
from ai_chatbot.conversation.people import Person
from ai_chatbot.exceptions import MessageNotFound, NotAnAnswer, NotAssigned, SessionClosed
from ai_chatbot.models import (
    ChatSession,
    HandoffRule,
    Message,
    MessageFeedback,
    MessageRole,
    Status,
)


@transaction.atomic
def begin(
    *, nickname: str, email: str, language: str, metadata: dict[str, Any], origin: str = ""
) -> tuple[ChatSession, str]:
    """A new session with the AI, and its token, which is not stored and not shown again."""
    token = tokens.new()
    session = ChatSession.objects.create(
        token_digest=tokens.digest(token),
        nickname=nickname,
        email=email,
        language=language,
        metadata=metadata,
        # Unsigned, so it is worth a place in the line and nothing else.
        vip=metadata.get("vip") is True,
        origin=origin,
    )
    return session, token


@transaction.atomic
def write(session_name: str, *, content: str, client_id: str) -> tuple[Message, bool]:
    """The customer says something; the AI answers if it has the session.

    Returns the message and whether it is new: the same `client_id` is stored once.
    Raises SessionNotFound, SessionClosed.
    """
    session = handoff.lock(session_name)
    known = _already(session, role=MessageRole.USER, client_id=client_id)
    if known is not None:
        return known, False
    if session.status == Status.CLOSED:
        raise SessionClosed
    message = _add(session, role=MessageRole.USER, content=content, client_id=client_id)
    if session.status in turns.ANSWERED:
        replies.owe(session, message)
    if session.status == Status.MANUAL_LIVE:
        events.own_session_updated(session)
    elif session.status in handoff.LEAVABLE:
        events.queue_updated(session, "updated")
    return message, True


@transaction.atomic
def write_as_agent(
    session_name: str, agent: Person, *, content: str, client_id: str
) -> tuple[Message, bool]:
    """The assigned agent says something.

    Raises SessionNotFound, SessionClosed, NotAssigned.
    """
    session = handoff.lock(session_name)
    if session.agent_id != agent.id and session.status == Status.MANUAL_LIVE:
        raise NotAssigned(agent=events.person(session.agent_id, session.agent_name))
    known = _already(session, role=MessageRole.AGENT, agent_id=agent.id, client_id=client_id)
    if known is not None:
        return known, False
    if session.status == Status.CLOSED:
        raise SessionClosed
    if session.status not in (Status.MANUAL_LIVE, Status.AFTER_HOURS_EMAIL):
        raise NotAssigned(status=session.status)
    message = _add(
        session,
        role=MessageRole.AGENT,
        content=content,
        client_id=client_id,
        agent_id=agent.id,
        agent_name=agent.name,
    )
    outbox.owe_reply(session, message)
    if session.status == Status.AFTER_HOURS_EMAIL:
        events.queue_updated(session, "updated")
    else:
        events.own_session_updated(session)
    return message, True


@transaction.atomic
def stop_reply(session_name: str) -> ChatSession:
    """Stop the AI's answer, if one is owed; what was shown is kept.

    What the customer wrote while it was being given is still answered.
    """
    session = handoff.lock(session_name)
    unanswered = turns.stop(session)
    if unanswered is not None:
        replies.owe(session, unanswered)
    return session


@transaction.atomic
def judge(
    session_name: str, message_id: int, *, helpful: bool, comment: str | None = None
) -> Message:
    """The customer says whether an answer of the AI helped, and may say it anew; also of a
    closed conversation. A rule may then fetch a person at once.

    `comment` None: the one before stays, if it is of the same opinion.
    Raises SessionNotFound, MessageNotFound, NotAnAnswer.
    """
    session = handoff.lock(session_name)
    message = session.messages.select_related("feedback").filter(pk=message_id).first()
    if message is None:
        raise MessageNotFound
    if message.role != MessageRole.ASSISTANT:
        raise NotAnAnswer(role=message.role)
    known: MessageFeedback | None = getattr(message, "feedback", None)
    if known is None:
        MessageFeedback.objects.create(message=message, helpful=helpful, comment=comment or "")
    elif known.helpful != helpful:
        known.helpful, known.comment = helpful, comment or ""
        known.save()
    else:
        if comment is not None and comment != known.comment:
            known.comment = comment
            # Its time is that of the judgement.
            known.save(update_fields=["comment"])
        return message
    events.reply_judged(message, helpful)
    if not helpful and session.status == Status.BOT_ACTIVE:
        cause = handoff_rules.decide_on(session, HandoffRule.Kind.THUMBS_DOWN)
        if cause is not None:
            handoff.escalate_locked(session, cause)
    return message


def _already(session: ChatSession, **key: Any) -> Message | None:
    return session.messages.filter(**key).first()


def _add(session: ChatSession, **fields: Any) -> Message:
    message = Message.objects.create(session=session, **fields)
    session.last_message_at = message.created_at
    if message.role == MessageRole.AGENT:
        session.unanswered_since, session.silence_noticed = None, 0
    elif session.status != Status.BOT_ACTIVE and session.unanswered_since is None:
        session.unanswered_since = message.created_at
    session.save(
        update_fields=[
            "last_message_at", "unanswered_since", "silence_noticed", "updated_at",
        ]
    )  # fmt: skip
    events.message_added(message)
    return message
