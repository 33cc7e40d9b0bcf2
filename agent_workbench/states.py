"""A session as an agent sees it: the conversation's state, and what the workbench adds."""

from __future__ import annotations

from typing import Any

from agent_workbench import access
from agent_workbench.models import Agent
from ai_chatbot.conversation import states
from ai_chatbot.exceptions import SessionNotFound
from ai_chatbot.models import ChatSession


def followed(agent: Agent, session_name: str) -> ChatSession:
    """The session, which the agent may read. Raises SessionNotFound, MayNotFollow."""
    session = ChatSession.objects.filter(name=session_name).first()
    if session is None:
        raise SessionNotFound
    access.check_may_follow(agent, session)
    return session


def of(agent: Agent, session_name: str) -> dict[str, Any]:
    """Its `cursor` fits the session's stream for agents.

    Raises as `followed` does, which is asked once more after reading: another agent may have
    taken it meanwhile.
    """
    session = followed(agent, session_name)
    state = states.state(session_name, access.internal_target(session_name))
    state |= _of_the_workbench(session)
    followed(agent, session_name)
    return state


def _of_the_workbench(session: ChatSession) -> dict[str, Any]:
    """What agents see of a session and its customer does not."""
    return {}
