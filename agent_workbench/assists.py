"""Requests for help: the owner asks a colleague, who may look into the conversation until the
answer is given, and does not own it.

A request changes under its session's lock only. It is void as soon as the session is no longer
live (`standing()`); whoever takes the session over live takes it over with it.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from agent_workbench import notes
from agent_workbench.announcements import Ended
from agent_workbench.exceptions import (
    AgentUnavailable,
    AssistEnded,
    AssistNotFound,
    AssistOfOneself,
    AssistOpen,
    NotYourRequest,
)
from agent_workbench.models import Agent, AssistRequest, AssistRequestQuerySet
from ai_chatbot import events
from ai_chatbot.conversation import handoff
from ai_chatbot.exceptions import NotAssigned, NotLive
from ai_chatbot.models import ChatSession, Status

State = AssistRequest.State

CHARACTERS = notes.CHARACTERS
LISTED = 200


@transaction.atomic
def ask(session_name: str, by: Agent, to_agent: Agent, question: str) -> AssistRequest:
    """Ask a colleague. The same asked again is the request that is open already.

    Raises SessionNotFound, NotLive, NotAssigned, AssistOfOneself, AssistOpen,
    AgentUnavailable.
    """
    session = handoff.lock(session_name)
    if session.status != Status.MANUAL_LIVE:
        raise NotLive(status=session.status)
    if session.agent_id != by.user_id:
        raise NotAssigned(agent=events.person(session.agent_id, session.agent_name))
    if to_agent.pk == by.pk:
        raise AssistOfOneself
    if not to_agent.user.is_active:
        raise AgentUnavailable(why="inactive")
    ended = end_fallen(session)
    known = _all().filter(session=session, to_agent=to_agent, state=State.OPEN).first()
    if known is not None:
        if known.question == question:
            ended.tell(session)
            return known
        raise AssistOpen(assist=as_json(known))
    request = AssistRequest.objects.create(
        session=session,
        from_agent=by,
        to_agent=to_agent,
        question=question,
    )
    ended.told.append((to_agent.user_id, "assist_request", as_json(request)))
    ended.tell(session)
    return request


@transaction.atomic
def answer(request_id: int, by: Agent, text: str) -> AssistRequest:
    """The colleague's answer, kept as a note, too; with it the colleague's right to look into
    the session ends. Repeating it changes nothing.

    Raises AssistNotFound, NotYourRequest, AssistEnded.
    """
    request = _locked(request_id, by)
    if request.to_agent_id != by.pk:
        raise NotYourRequest
    if request.state == State.ANSWERED and request.answer == text:
        return request
    if not AssistRequest.objects.standing().filter(pk=request.pk).exists():
        raise AssistEnded(status=request.state)
    request.answer = text
    _, told = notes.add_locked(request.session, by, text)
    ended = _end(request, State.ANSWERED)
    ended.told += told
    ended.tell(request.session)
    return request


@transaction.atomic
def close(request_id: int, by: Agent) -> AssistRequest:
    """Whoever asked, the owner since, or a supervisor needs no answer any more.

    Raises AssistNotFound, NotYourRequest, AssistEnded.
    """
    request = _locked(request_id, by)
    owns = request.session.agent_id == by.user_id
    if not (request.from_agent_id == by.pk or owns or by.supervises):
        raise NotYourRequest
    if request.state == State.OPEN:
        _end(request, State.CLOSED).tell(request.session)
    elif request.state != State.CLOSED:
        raise AssistEnded(status=request.state)
    return request


def end_fallen(session: ChatSession) -> Ended:
    """End the session's requests that are void. Under the session's lock."""
    ended = Ended()
    fallen = AssistRequest.objects.fallen().filter(session=session)
    for request in _all().filter(pk__in=fallen):
        request.session = session
        ended += _end(request, State.CLOSED)
    return ended


def open_of(session: ChatSession) -> list[dict[str, Any]]:
    return [as_json(request) for request in _all().standing().filter(session=session)]


def open_for(agent: Agent) -> list[dict[str, Any]]:
    """What the agent was asked, and what the agent asked."""
    mine = Q(to_agent=agent) | Q(from_agent=agent)
    return [as_json(request) for request in _all().standing().filter(mine)[:LISTED]]


def as_json(request: AssistRequest) -> dict[str, Any]:
    return {
        "id": request.pk,
        "session_name": request.session.name,
        "from_agent": request.from_agent.shown,
        "to_agent": request.to_agent.shown,
        "question": request.question,
        "answer": request.answer,
        "status": str(request.state),
        "created_at": events.stamp(request.created_at),
        "answered_at": events.stamp(request.answered_at) if request.answered_at else None,
    }


def _end(request: AssistRequest, state: State) -> Ended:
    request.state = state
    if state == State.ANSWERED:
        request.answered_at = timezone.now()
    request.save(update_fields=["state", "answer", "answered_at"])
    shown = as_json(request)
    parties = (request.from_agent, request.to_agent)
    return Ended(
        told=[(agent.user_id, "assist_answer", shown) for agent in parties],
        guests=[request.to_agent],
    )


def _locked(request_id: int, by: Agent) -> AssistRequest:
    """A request that the agent is a party to, under its session's lock."""
    known = AssistRequest.objects.filter(pk=request_id)
    if not by.supervises:
        owned = Q(session__status=Status.MANUAL_LIVE, session__agent=by.user)
        known = known.filter(Q(to_agent=by) | Q(from_agent=by) | owned)
    name = known.values_list("session__name", flat=True).first()
    if name is None:
        raise AssistNotFound
    session = handoff.lock(name)
    request = _all().filter(pk=request_id).first()
    if request is None:
        raise AssistNotFound
    request.session = session
    return request


def _all() -> AssistRequestQuerySet:
    """With what a request is shown with."""
    return AssistRequest.objects.select_related("session", "from_agent__user", "to_agent__user")
