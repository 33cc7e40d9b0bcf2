"""The agents' HTTP API: who has which conversation, who could have it, and who comes next."""

from __future__ import annotations

from typing import Annotated, Any

from django.db import transaction
from django.http import HttpRequest
from ninja import Query, Router

from agent_workbench import agents, assignment, states
from agent_workbench.authentication import AgentCookie, AgentToken, caller
from agent_workbench.models import AgentQuerySet
from agent_workbench.schemas import AgentPage, AgentSessionState, Assign, PriorityIn
from ai_chatbot.api import MAX_ID, REFUSALS, SessionName
from ai_chatbot.models import Priority

router = Router(tags=["agent"], auth=[AgentToken(), AgentCookie()])

Limit = Annotated[int, Query(ge=1, le=200)]
Cursor = Annotated[int | None, Query(ge=0, le=MAX_ID)]


@router.get("/agents", response={200: AgentPage, **REFUSALS})
def everyone(request: HttpRequest, limit: Limit = 50, cursor: Cursor = None) -> dict[str, Any]:
    """All agents, how they are and how many conversations they have."""
    return _page(agents.everyone(), limit, cursor)


@router.get("/agents/available", response={200: AgentPage, **REFUSALS})
def available(request: HttpRequest, limit: Limit = 50, cursor: Cursor = None) -> dict[str, Any]:
    """Those who may be given a conversation now: on duty and with room."""
    return _page(agents.available(), limit, cursor)


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


def _page(found: AgentQuerySet, limit: int, cursor: int | None) -> dict[str, Any]:
    """In the order of their keys. `cursor`: the last key of the page before."""
    rows = found.select_related("user").order_by("pk")
    if cursor is not None:
        rows = rows.filter(pk__gt=cursor)
    page = list(rows[: limit + 1])
    more, page = len(page) > limit, page[:limit]
    return {
        "items": [agents.as_json(agent) for agent in page],
        "next": str(page[-1].pk) if more else None,
    }
