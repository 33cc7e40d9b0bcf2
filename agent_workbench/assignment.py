"""Who has which conversation, seen from the workbench: the conversation's verbs, and what they
mean for the streams of agents."""

from __future__ import annotations

from django.db import transaction

from agent_workbench import access
from agent_workbench.models import Agent
from ai_chatbot.conversation import handoff
from ai_chatbot.models import ChatSession


@transaction.atomic
def take_over(session_name: str, agent: Agent) -> ChatSession:
    """Make the agent the owner; other agents who looked on are shut out of the streams.

    Raises as ai_chatbot.conversation.handoff.take_over does.
    """
    session = handoff.take_over(session_name, agent.person)
    access.end_streams_of_others(session)
    return session
