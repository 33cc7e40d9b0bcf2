"""What an agent may see and do."""

from __future__ import annotations

from typing import Any

from django.db.models import Q

from agent_workbench.exceptions import MayNotFollow, NotAnAgent
from agent_workbench.models import Agent, Role
from ai_chatbot import events
from ai_chatbot.models import ChatSession, Status


def agent_of(user: Any) -> Agent:
    """The active user's agent profile. Raises NotAnAgent."""
    agent = Agent.objects.active().select_related("user").filter(user_id=user.pk).first()
    if agent is None:
        raise NotAnAgent
    return agent


def may_follow(agent: Agent, session: ChatSession) -> bool:
    """Live: one's own conversations and those nobody has; administrators follow all.

    Whoever may not follow a conversation may not read it either.
    """
    return (
        session.status != Status.MANUAL_LIVE
        or session.agent_id == agent.user_id
        or agent.role == Role.ADMIN
    )


def followed(agent: Agent) -> Q:
    """Those sessions of a query that the agent may follow."""
    if agent.role == Role.ADMIN:
        return Q()
    return ~Q(status=Status.MANUAL_LIVE) | Q(agent_id=agent.user_id)


def check_may_follow(agent: Agent, session: ChatSession) -> None:
    """Raises MayNotFollow."""
    if not may_follow(agent, session):
        raise MayNotFollow(agent=events.person(session.agent_id, session.agent_name))


def internal_target(session_name: str) -> str:
    """The target of what agents see of a session and the customer never does."""
    return f"{session_name}:internal"


def targets_of(session: ChatSession) -> list[str]:
    return [session.name, internal_target(session.name)]


def follow_subject(session_name: str) -> str:
    """What the streams of agents who follow a session, administrators apart, are revoked by."""
    return f"follow:{session_name}"


def subjects(agent: Agent, session_name: str) -> set[str]:
    return set() if agent.role == Role.ADMIN else {follow_subject(session_name)}
