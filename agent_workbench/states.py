"""A session as an agent sees it: the conversation's state, and what the workbench adds."""

from __future__ import annotations

from typing import Any

from agent_workbench import access, assists, notes, transfers
from agent_workbench.models import Agent
from ai_chatbot import events
from ai_chatbot.conversation import records, states
from ai_chatbot.exceptions import SessionNotFound
from ai_chatbot.models import ChatSession, Priority


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
    followed(agent, session_name)
    state = states.state(session_name, access.internal_target(session_name))
    # Read after the cursor, as all of it.
    state |= _of_the_workbench(followed(agent, session_name))
    followed(agent, session_name)
    return state


def _of_the_workbench(session: ChatSession) -> dict[str, Any]:
    """What agents see of a session and its customer does not."""
    handoffs = records.latest_of(session)
    return {
        "handoff": handoffs[0] if handoffs else None,
        "handoffs": handoffs,
        "priority": Priority(session.priority).code,
        "vip": session.vip,
        "skills": session.skills,
        "former_agent": _former_agent(session),
        "notes": notes.latest(session),
        "transfer": transfers.waiting_of(session),
        "assists": assists.open_of(session),
    }


def _former_agent(session: ChatSession) -> dict[str, Any] | None:
    if session.former_agent is None:
        return None
    agent = Agent.objects.filter(user=session.former_agent).first()
    name = agent.display_name if agent else session.former_agent.get_username()
    return events.person(session.former_agent_id, name)
