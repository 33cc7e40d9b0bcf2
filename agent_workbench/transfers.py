"""Transfers: the owner asks another agent to take a conversation, and stays its owner until
that agent accepts.

A request changes under its session's lock only. One whose session has left the owner in
another way, or whose time is up, is void from that moment, whatever its row says
(`standing()`); its row follows when somebody looks.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from agent_workbench import access, announcements, assignment, assists, notes
from agent_workbench.announcements import Ended
from agent_workbench.exceptions import (
    AgentNotFound,
    NotYourRequest,
    OwnerHasLeft,
    TransferEnded,
    TransferNotFound,
    TransferPending,
    TransferToOwner,
)
from agent_workbench.models import (
    Agent,
    AssistRequest,
    TransferRequest,
    TransferRequestQuerySet,
)
from ai_chatbot import events
from ai_chatbot.conversation import handoff
from ai_chatbot.conversation.rounds import Round
from ai_chatbot.exceptions import NotLive
from ai_chatbot.models import ChatSession, Reason, Status

State = TransferRequest.State

# In one list.
LISTED = 200


@transaction.atomic
def ask(session_name: str, by: Agent, to_agent: Agent, note: str = "") -> TransferRequest:
    """Ask an agent to take the session. The same asked again is the request that waits already.

    Raises SessionNotFound, NotLive, NotAssigned, TransferToOwner, TransferPending,
    AgentUnavailable.
    """
    session = handoff.lock(session_name)
    if session.status != Status.MANUAL_LIVE:
        raise NotLive(status=session.status)
    handoff.check_owner(session, by.person)
    if to_agent.user_id == session.agent_id:
        raise TransferToOwner
    ended = _end_fallen(session)
    waiting = _all().filter(session=session, state=State.PENDING).first()
    if waiting is not None:
        same = (waiting.to_agent_id, waiting.asked_by_id, waiting.note)
        if same == (to_agent.pk, by.pk, note):
            ended.tell(session)
            return waiting
        raise TransferPending(transfer=as_json(waiting))
    owner = Agent.objects.filter(user=session.agent_id).first()
    if owner is None:
        raise OwnerHasLeft
    to_agent = _available(to_agent)
    request = TransferRequest.objects.create(
        session=session,
        from_agent=owner,
        to_agent=to_agent,
        asked_by=by,
        ownership_epoch=session.ownership_epoch,
        note=note,
        expires_at=timezone.now() + timedelta(seconds=settings.TRANSFER_SECONDS),
    )
    shown = as_json(request)
    # The owner too: it may be a supervisor's doing, or that of another page.
    ended.told += [(party.user_id, "transfer_request", shown) for party in (to_agent, owner)]
    ended.tell(session)
    return request


@transaction.atomic
def to_queue(session_name: str, by: Agent, note: str = "") -> ChatSession:
    """Back into the line, first within its priority. What the agent has just put back stays.

    Raises SessionNotFound, NotLive, NotAssigned.
    """
    session = handoff.lock(session_name)
    if session.status in handoff.LEAVABLE and session.former_agent_id == by.user_id:
        return session
    session = assignment.requeue_locked(session, by)
    ended = _end_fallen(session)
    if note:
        ended.told += notes.add_locked(session, by, note)[1]
    ended.tell(session)
    return session


@transaction.atomic
def answer(request_id: int, by: Agent, *, accept: bool) -> TransferRequest:
    """The agent who was asked takes the session, or does not. Repeating it changes nothing.

    Raises TransferNotFound, NotYourRequest, TransferEnded, AtCapacity.
    """
    request = _locked(request_id, by)
    if request.to_agent_id != by.pk:
        raise NotYourRequest
    if request.state == (State.ACCEPTED if accept else State.DECLINED):
        return request
    if not TransferRequest.objects.standing().filter(pk=request.pk).exists():
        raise TransferEnded(status=request.state)
    if accept:
        _accept(request)
    else:
        _end(request, State.DECLINED).tell(request.session)
    return request


def _accept(request: TransferRequest) -> None:
    session, sender = request.session, request.asked_by or request.from_agent
    agent = assignment.check_room(request.to_agent, session)
    handoff.take_over_locked(
        session, agent.person, reason=Reason.TRANSFERRED, by=sender.person, force=True
    )
    assignment.tell_former_owner(session, request.from_agent.user_id, sender.person)
    ended = _end(request, State.ACCEPTED)
    ended += assists.end_fallen(session)
    if request.note:
        ended.told += notes.add_locked(session, sender, request.note)[1]
    announcements.to_agents(ended.told)
    access.end_streams_of_others(session)


@transaction.atomic
def cancel(request_id: int, by: Agent) -> TransferRequest:
    """The owner, whoever asked, or a supervisor takes it back.

    Raises TransferNotFound, NotYourRequest, TransferEnded.
    """
    request = _locked(request_id, by)
    if not (by.pk in (request.from_agent_id, request.asked_by_id) or by.supervises):
        raise NotYourRequest
    if request.state == State.PENDING:
        _end(request, State.CANCELLED).tell(request.session)
    elif request.state != State.CANCELLED:
        raise TransferEnded(status=request.state)
    return request


def expire(round: Round | None = None) -> None:
    """End what nobody answered in time, or whose conversation has moved on: transfers, and
    requests for help."""
    fallen = (TransferRequest.objects.fallen(), AssistRequest.objects.fallen())
    late, void = (Q(pk__in=requests.values("session")) for requests in fallen)
    sessions = ChatSession.objects.filter(late | void).order_by("pk")
    (round or Round()).each("requests among agents", sessions, _settle)


def _settle(session: ChatSession) -> None:
    _end_fallen(session).tell(session)


def _end_fallen(session: ChatSession) -> Ended:
    """End the session's requests that are void. Under the session's lock."""
    ended = assists.end_fallen(session)
    for request in _all().filter(
        pk__in=TransferRequest.objects.fallen().filter(session=session)
    ):
        request.session = session
        unchanged = request.ownership_epoch == session.ownership_epoch
        late = request.expires_at <= timezone.now()
        ended += _end(request, State.EXPIRED if unchanged and late else State.CANCELLED)
    return ended


def waiting_of(session: ChatSession) -> dict[str, Any] | None:
    """The request that the session's owner waits for."""
    request = _all().standing().filter(session=session).first()
    return as_json(request) if request else None


def waiting_for(agent: Agent) -> list[dict[str, Any]]:
    """What the agent was asked, and what the agent asked."""
    return [as_json(request) for request in _all().standing().filter(_of(agent))[:LISTED]]


def as_json(request: TransferRequest) -> dict[str, Any]:
    return {
        "id": request.pk,
        "session_name": request.session.name,
        "from_agent": request.from_agent.shown,
        "to_agent": request.to_agent.shown,
        "asked_by": request.asked_by.shown if request.asked_by else None,
        "note": request.note,
        "status": str(request.state),
        "created_at": events.stamp(request.created_at),
        "expires_at": events.stamp(request.expires_at),
        "answered_at": events.stamp(request.answered_at) if request.answered_at else None,
    }


def _end(request: TransferRequest, state: State) -> Ended:
    request.state, request.answered_at = state, timezone.now()
    request.save(update_fields=["state", "answered_at"])
    shown = as_json(request)
    parties = {request.from_agent, request.to_agent, request.asked_by or request.from_agent}
    return Ended(
        told=[(agent.user_id, "transfer_answer", shown) for agent in parties],
        guests=[request.to_agent],
    )


def _available(agent: Agent) -> Agent:
    """As the agent is now. Whether there is room is looked at again when it is accepted.

    Raises AgentNotFound, AgentUnavailable.
    """
    found = Agent.objects.select_related("user").filter(pk=agent.pk).first()
    if found is None:
        raise AgentNotFound
    assignment.check_available(found)
    return found


def _locked(request_id: int, by: Agent) -> TransferRequest:
    """A request that the agent is a party to, under its session's lock."""
    known = TransferRequest.objects.filter(pk=request_id)
    if not by.supervises:
        known = known.filter(_of(by))
    name = known.values_list("session__name", flat=True).first()
    if name is None:
        raise TransferNotFound
    session = handoff.lock(name)
    request = _all().filter(pk=request_id).first()
    if request is None:
        raise TransferNotFound
    request.session = session
    return request


def _of(agent: Agent) -> Q:
    return Q(to_agent=agent) | Q(from_agent=agent) | Q(asked_by=agent)


def _all() -> TransferRequestQuerySet:
    """With what a request is shown with."""
    return TransferRequest.objects.select_related(
        "session", "from_agent__user", "to_agent__user", "asked_by__user"
    )
