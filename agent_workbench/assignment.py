"""Who has which conversation, seen from the workbench: the conversation's verbs, within what
each agent may have at once, and what they mean for the streams of agents.

Whether an agent has room is decided under the agent's lock, which follows the session's:
neither two processes nor many threads can exceed a limit together.
"""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from agent_workbench import access, notices
from agent_workbench.exceptions import (
    AgentNotFound,
    AgentUnavailable,
    AtCapacity,
    NotAnAgent,
    NotPermitted,
)
from agent_workbench.models import Agent, Notice
from agent_workbench.presence import ON_DUTY, absence
from ai_chatbot import events
from ai_chatbot.conversation import handoff
from ai_chatbot.conversation.people import Person
from ai_chatbot.models import ChatSession, Priority, Reason, Status


def check_room(agent: Agent, session: ChatSession) -> Agent:
    """Whether the agent may have one more live conversation, this one, until the transaction
    ends; the agent as it is now.

    In a transaction that holds the session's lock; takes the agent's. An agent who has the
    session already needs no room. Raises AtCapacity, NotAnAgent.
    """
    locked = _lock(agent)
    if session.status == Status.MANUAL_LIVE and session.agent_id == agent.user_id:
        return locked
    live = live_of(locked)
    if live >= locked.max_sessions:
        raise AtCapacity(max_sessions=locked.max_sessions, sessions=live)
    return locked


def live_of(agent: Agent) -> int:
    """How many live conversations the agent has: of any number, none is taken away."""
    return ChatSession.objects.filter(agent=agent.user_id, status=Status.MANUAL_LIVE).count()


@transaction.atomic
def take_over(session_name: str, agent: Agent, *, force: bool = False) -> ChatSession:
    """Make the agent the owner; other agents who looked on are shut out of the streams.

    `force`: from another owner, too, and beyond the agent's limit; for supervisors. Raises
    AtCapacity, NotPermitted, and as ai_chatbot.conversation.handoff.take_over does.
    """
    if force:
        check_supervises(agent)
    session = handoff.lock(session_name)
    handoff.check_may_take(session, agent.person, force=force)
    agent = _lock(agent) if force else check_room(agent, session)
    return _give(session, agent, Reason.TAKEN_OVER, by=agent.person, force=force)


@transaction.atomic
def assign(session_name: str, agent_id: int, by: Agent) -> ChatSession:
    """A supervisor gives the session to the agent whose user has this id, also from another.

    Raises NotPermitted, SessionNotFound, SessionClosed, AgentNotFound, and AgentUnavailable for
    whoever is not on duty or has no room.
    """
    check_supervises(by)
    session = handoff.lock(session_name)
    agent = Agent.objects.filter(user_id=agent_id).first()
    if agent is None:
        raise AgentNotFound
    handoff.check_may_take(session, agent.person, force=True)
    if session.status == Status.MANUAL_LIVE and session.agent_id == agent_id:
        return session
    try:
        agent = check_room(agent, session)
    except NotAnAgent:
        raise AgentUnavailable(why="inactive") from None
    except AtCapacity as full:
        raise AgentUnavailable(why="full", **full.details) from None
    if agent.status not in ON_DUTY:
        raise AgentUnavailable(why=agent.status)
    if agent.seen_at is None or agent.seen_at <= timezone.now() - absence():
        raise AgentUnavailable(why="offline")
    return _give(session, agent, Reason.ASSIGNED, by=by.person, force=True)


@transaction.atomic
def requeue(session_name: str, by: Agent) -> ChatSession:
    """Put a live session back into the line. Raises SessionNotFound, NotLive, NotAssigned."""
    session = handoff.lock(session_name)
    former = session.agent_id
    if session.status == Status.MANUAL_LIVE:
        handoff.check_owner(session, by.person)
    handoff.requeue_locked(session, Reason.REQUEUED, by.person)
    _tell_former_owner(session, former, by.person)
    return session


@transaction.atomic
def prioritise(session_name: str, agent: Agent, priority: Priority) -> ChatSession:
    """Raises SessionNotFound, MayNotFollow, SessionClosed."""
    session = handoff.lock(session_name)
    access.check_may_follow(agent, session)
    return handoff.prioritise_locked(session, priority)


def check_supervises(agent: Agent) -> None:
    """Raises NotPermitted."""
    if not agent.supervises:
        raise NotPermitted(role=agent.role)


def _lock(agent: Agent) -> Agent:
    """The active agent, with its lock. The key is not locked: rows that refer to the agent
    come into being meanwhile. Raises NotAnAgent."""
    locking = Agent.objects.select_for_update(of=("self",), no_key=True)
    locked = locking.active().select_related("user").filter(pk=agent.pk).first()
    if locked is None:
        raise NotAnAgent
    return locked


def _give(
    session: ChatSession, agent: Agent, reason: Reason, *, by: Person | None, force: bool
) -> ChatSession:
    """With the locks of the session and of the agent, who may have it."""
    former = session.agent_id if session.status == Status.MANUAL_LIVE else None
    if former == agent.user_id:
        return session
    handoff.take_over_locked(session, agent.person, reason=reason, by=by, force=force)
    if reason == Reason.ASSIGNED:
        Agent.objects.filter(pk=agent.pk).update(assigned_at=session.taken_at)
    _tell_former_owner(session, former, by)
    access.end_streams_of_others(session)
    return session


def _tell_former_owner(session: ChatSession, former: int | None, by: Person | None) -> None:
    """Unless it was the owner's own doing."""
    if former is None or (by is not None and by.id == former):
        return
    agent = Agent.objects.filter(user_id=former).first()
    if agent is not None:
        notices.tell(
            agent,
            Notice.Kind.SESSION_MOVED,
            session,
            by=by.name if by else None,
            owner=events.person(session.agent_id, session.agent_name),
        )
