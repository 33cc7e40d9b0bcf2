"""What an agent may see and do."""

from __future__ import annotations

from typing import Any

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


def check_may_follow(agent: Agent, session: ChatSession) -> None:
    """Live: one's own conversations and those nobody has; administrators follow all.

    Raises MayNotFollow.
    """
    if (
        session.status == Status.MANUAL_LIVE
        and session.agent_id != agent.user_id
        and agent.role != Role.ADMIN
    ):
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
