"""The agents' HTTP API: who has which conversation, who could have it, and who comes next."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.http import HttpRequest
from ninja import Router

from agent_workbench import assignment, states
from agent_workbench.authentication import AgentCookie, AgentToken, caller
from agent_workbench.schemas import AgentSessionState, Assign, PriorityIn
from ai_chatbot.api import REFUSALS, SessionName
from ai_chatbot.models import Priority

router = Router(tags=["agent"], auth=[AgentToken(), AgentCookie()])


@router.post(
    "/sessions/{slug:session_name}/assign", response={200: AgentSessionState, **REFUSALS}
)
def assign(request: HttpRequest, session_name: SessionName, body: Assign) -> dict[str, Any]:
    """Give the conversation to an agent who is on duty and has room, also from another agent.
    For supervisors."""
    with transaction.atomic():
        assignment.assign(session_name, body.agent_id, caller(request))
        return states.of(caller(request), session_name)


@router.post(
    "/sessions/{slug:session_name}/requeue", response={200: AgentSessionState, **REFUSALS}
)
def requeue(request: HttpRequest, session_name: SessionName) -> dict[str, Any]:
    """Put the conversation back into the line, ahead of others of its priority. For the agent
    who has it, and for supervisors."""
    with transaction.atomic():
        assignment.requeue(session_name, caller(request))
        return states.of(caller(request), session_name)


@router.put(
    "/sessions/{slug:session_name}/priority", response={200: AgentSessionState, **REFUSALS}
)
def set_priority(
    request: HttpRequest, session_name: SessionName, body: PriorityIn
) -> dict[str, Any]:
    """How urgent the conversation is: who waits moves in the line."""
    with transaction.atomic():
        priority = Priority[body.priority.upper()]
        assignment.prioritise(session_name, caller(request), priority)
        return states.of(caller(request), session_name)
