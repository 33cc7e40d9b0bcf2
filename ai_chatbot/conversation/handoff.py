"""Who has the conversation: every change of a session's status goes through here.

Each verb locks the session, checks, changes it and announces, in one transaction. The order of
locks is: session, places of its address, its turn, its event target, the target of all agents,
an agent's target, the target that revocations are announced on.
"""

from __future__ import annotations

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _
from django.utils.translation import override

from ai_chatbot import events, turns
from ai_chatbot.conversation import hours, waiting
from ai_chatbot.conversation.people import Person
from ai_chatbot.exceptions import (
    AlreadyTaken,
    IllegalTransition,
    ManualInProgress,
    NotAssigned,
    NotLive,
    NotPending,
    SessionClosed,
    SessionNotFound,
)
from ai_chatbot.models import ChatSession, Message, MessageRole, Reason, Status

TEXT_CHARACTERS = 500


def lock(session_name: str) -> ChatSession:
    """The session, its row locked until the transaction ends. Raises SessionNotFound."""
    try:
        return ChatSession.objects.select_for_update().get(name=session_name)
    except ChatSession.DoesNotExist:
        raise SessionNotFound from None


@transaction.atomic
def escalate(
    session_name: str, *, reason: Reason = Reason.REQUESTED, text: str = ""
) -> ChatSession:
    """Ask for a person: into the queue, or to email if nobody can come or too many from the
    same address are waiting.

    `text`, the customer's wish or the AI's summary, is shown to agents and never to customers.
    Raises SessionNotFound, SessionClosed, ManualInProgress.
    """
    return escalate_locked(lock(session_name), reason=reason, text=text)


def escalate_locked(session: ChatSession, *, reason: Reason, text: str = "") -> ChatSession:
    """`escalate` for a caller that holds the session's lock."""
    if session.status == Status.CLOSED:
        raise SessionClosed
    if session.status in (Status.PENDING_MANUAL, Status.MANUAL_LIVE):
        raise ManualInProgress(status=session.status)
    someone_can_come = hours.is_open() and import_string(settings.HANDOFF_AVAILABILITY)()
    has_room = someone_can_come and waiting.has_room(session)
    if not has_room and session.status == Status.AFTER_HOURS_EMAIL:
        return session
    turns.abort_active(session, "escalated")
    session.escalation_reason = text[:TEXT_CHARACTERS]
    with override(session.language):
        if has_room:
            session.escalated_at = timezone.now()
            say(session, _("You are in line for a member of our team. Please stay here."))
            _become(session, Status.PENDING_MANUAL, reason)
            events.queue_updated(session, "added")
        else:
            say(
                session,
                _(
                    "Nobody from our team is here right now. Leave your message and your email "
                    "address, and we will write to you."
                )
                if not someone_can_come
                else _(
                    "Many people from your network are in line already. Leave your message and "
                    "your email address, and we will write to you."
                ),
            )
            _become(session, Status.AFTER_HOURS_EMAIL, Reason.NOBODY_ON_DUTY)
    return session


@transaction.atomic
def cancel_escalation(session_name: str) -> ChatSession:
    """Back to the AI while waiting. Raises SessionNotFound, NotPending."""
    session = lock(session_name)
    if session.status != Status.PENDING_MANUAL:
        raise NotPending(status=session.status)
    _forget_handoff(session)
    with override(session.language):
        say(session, _("You left the line. The AI assistant is with you again."))
    _become(session, Status.BOT_ACTIVE, Reason.CANCELLED)
    events.queue_updated(session, "removed")
    return session


@transaction.atomic
def take_over(session_name: str, agent: Person) -> ChatSession:
    """Make the agent the session's one owner. Repeating it changes nothing.

    Raises SessionNotFound, SessionClosed, AlreadyTaken (with who has it).
    """
    session = lock(session_name)
    if session.status == Status.CLOSED:
        raise SessionClosed
    if session.status == Status.MANUAL_LIVE:
        if session.agent_id == agent.id:
            return session
        raise AlreadyTaken(agent=events.person(session.agent_id, session.agent_name))
    turns.abort_active(session, "taken_over")
    now = timezone.now()
    if session.escalated_at:
        session.waited_seconds = round((now - session.escalated_at).total_seconds())
    session.taken_at = now
    session.agent_id, session.agent_name = agent.id, agent.name
    with override(session.language):
        say(session, _("%(name)s has joined the conversation.") % {"name": agent.name})
    was_waiting = session.status == Status.PENDING_MANUAL
    _become(session, Status.MANUAL_LIVE, Reason.TAKEN_OVER)
    events.session_assigned(session)
    if was_waiting:
        events.queue_updated(session, "removed")
    return session


@transaction.atomic
def release(session_name: str, by: Person | None) -> ChatSession:
    """Give the conversation back to the AI. `by` None: the site's administration.

    Raises SessionNotFound, NotLive, NotAssigned.
    """
    session = lock(session_name)
    if session.status != Status.MANUAL_LIVE:
        raise NotLive(status=session.status)
    _check_owner(session, by)
    _forget_handoff(session)
    session.agent, session.agent_name = None, ""
    with override(session.language):
        say(session, _("The AI assistant is with you again."))
    _become(session, Status.BOT_ACTIVE, Reason.RELEASED)
    return session


@transaction.atomic
def close(session_name: str, by: Person | None, *, reason: Reason) -> ChatSession:
    """End the conversation; a closed one stays as it is. `by` None: customer or administration.

    An agent may close the conversation they have, or one that nobody has.
    Raises SessionNotFound, NotAssigned.
    """
    session = lock(session_name)
    if session.status == Status.CLOSED:
        return session
    if by is not None and session.agent_id is not None:
        _check_owner(session, by)
    turns.abort_active(session, "closed")
    was_waiting = session.status == Status.PENDING_MANUAL
    _forget_handoff(session)
    session.closed_at = timezone.now()
    with override(session.language):
        say(session, _("This conversation is closed."))
    _become(session, Status.CLOSED, reason)
    if was_waiting:
        events.queue_updated(session, "removed")
    return session


@transaction.atomic
def reopen(session_name: str) -> ChatSession:
    """A closed conversation goes on, with the AI. Raises SessionNotFound, IllegalTransition."""
    session = lock(session_name)
    if session.status != Status.CLOSED:
        raise IllegalTransition(status=session.status, to=str(Status.BOT_ACTIVE))
    session.agent, session.agent_name = None, ""
    session.closed_at = None
    with override(session.language):
        say(session, _("This conversation is open again."))
    _become(session, Status.BOT_ACTIVE, Reason.REOPENED)
    return session


def _become(session: ChatSession, status: Status, reason: Reason) -> None:
    if not session.may_become(status):
        raise IllegalTransition(status=session.status, to=str(status))
    previous, session.status = session.status, status
    session.ownership_epoch += 1
    session.save()
    events.status_changed(session, previous, reason)
    if Status.PENDING_MANUAL in (previous, status):
        transaction.on_commit(waiting.bell.ring, robust=True)


def say(session: ChatSession, text: str) -> Message:
    """A line of the system's own, which the customer sees."""
    message = Message.objects.create(session=session, role=MessageRole.SYSTEM, content=text)
    session.last_message_at = message.created_at
    events.message_added(message)
    return message


def _forget_handoff(session: ChatSession) -> None:
    """Leave nothing that would look like a request for a person."""
    session.escalated_at = None
    session.escalation_reason = ""
    session.queue_position = None


def _check_owner(session: ChatSession, by: Person | None) -> None:
    if by is not None and session.agent_id != by.id and not by.supervises:
        raise NotAssigned(agent=events.person(session.agent_id, session.agent_name))
