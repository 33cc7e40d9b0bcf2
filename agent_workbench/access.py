"""What an agent may see. The rule is the same over HTTP and for streams, and reads rows only:
nobody is let in or shut out by hand, but streams that are open must end when a right does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Q

from agent_workbench import tokens
from agent_workbench.exceptions import MayNotFollow, NotAnAgent, NotPermitted
from agent_workbench.models import Agent, AssistRequest, Role, TransferRequest
from ai_chatbot import events
from ai_chatbot.models import ChatSession, Status
from sse.revocation import close_streams


def agent_of(user: Any) -> Agent:
    """The active user's agent profile. Raises NotAnAgent."""
    agent = Agent.objects.active().select_related("user").filter(user_id=user.pk).first()
    if agent is None:
        raise NotAnAgent
    return agent


def may_follow(agent: Agent, session: ChatSession) -> bool:
    """Live: one's own conversations, those nobody has, and those one has been asked to help
    with or to take, while that is open; supervisors and administrators follow all.

    Whoever may not follow a conversation may not read it either.
    """
    return bool(readable(agent, [session]))


def readable(agent: Agent, sessions: Iterable[ChatSession]) -> set[int]:
    """The keys of those that the agent may follow."""
    free: set[int] = set()
    others: set[int] = set()
    for session in sessions:
        own = session.agent_id == agent.user_id
        open_to_all = agent.supervises or session.status != Status.MANUAL_LIVE
        (free if own or open_to_all else others).add(session.pk)
    if others:
        guests = ChatSession.objects.filter(_guest(agent), pk__in=others)
        free.update(guests.values_list("pk", flat=True))
    return free


def followed(agent: Agent) -> Q:
    """Those sessions of a query that the agent may follow."""
    if agent.supervises:
        return Q()
    return ~Q(status=Status.MANUAL_LIVE) | Q(agent_id=agent.user_id) | _guest(agent)


def _guest(agent: Agent) -> Q:
    assists = AssistRequest.objects.standing().filter(to_agent=agent)
    transfers = TransferRequest.objects.standing().filter(to_agent=agent)
    return Q(pk__in=assists.values("session")) | Q(pk__in=transfers.values("session"))


def check_may_follow(agent: Agent, session: ChatSession) -> None:
    """Raises MayNotFollow."""
    if not may_follow(agent, session):
        raise MayNotFollow(agent=events.person(session.agent_id, session.agent_name))


def check_administrates(agent: Agent) -> None:
    """Raises NotPermitted."""
    if agent.role != Role.ADMIN:
        raise NotPermitted(role=agent.role)


def internal_target(session_name: str) -> str:
    """The target of what agents see of a session and the customer never does."""
    return events.internal_target(session_name)


def targets_of(session: ChatSession) -> list[str]:
    return [session.name, internal_target(session.name)]


# --- Streams that end with a right ------------------------------------------------------


def follow_subject(session_name: str) -> str:
    """What streams that anybody might open to a session are revoked by."""
    return f"follow:{session_name}"


def guest_subject(session_name: str, agent: Agent) -> str:
    """What the streams of an agent who has been asked to help or to take it are revoked by."""
    return f"guest:{agent.pk}:{session_name}"


def subjects(agent: Agent, session: ChatSession) -> set[str]:
    """What ends the streams of an agent who may follow the session as it has been read: for
    supervisors and administrators nothing, for a guest of a live one the end of the request."""
    if agent.supervises:
        return set()
    # Reads no rows: what ended since the session was read would be missed by both subjects.
    guest = session.status == Status.MANUAL_LIVE and session.agent_id != agent.user_id
    return {guest_subject(session.name, agent) if guest else follow_subject(session.name)}


def end_streams_of_others(session: ChatSession) -> None:
    """The session has a new owner: streams end of those who may not follow it any more.

    In the transaction of the change, after everything in it that ends requests.
    """
    owner = Agent.objects.get(user=session.agent)
    close_streams(follow_subject(session.name), unless=tokens.stream_subject(owner))
    asked = Q()
    for requests in (AssistRequest.objects, TransferRequest.objects):
        asked |= Q(pk__in=requests.filter(session=session).values("to_agent"))
    for agent in Agent.objects.filter(asked).exclude(pk=owner.pk).order_by("pk"):
        end_streams_of_guest(session, agent)


def end_streams_of_guest(session: ChatSession, agent: Agent) -> None:
    """A request to the agent has ended: so do the streams that it had opened, unless the agent
    may follow the session still.

    In the transaction of the change, after it. When a request begins nothing is to be done.
    """
    if not may_follow(agent, session):
        close_streams(guest_subject(session.name, agent))
