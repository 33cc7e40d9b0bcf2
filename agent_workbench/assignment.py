"""Who has which conversation, seen from the workbench: the conversation's verbs, within what
each agent may have at once, and what they mean for the streams of agents.

Whether an agent has room is decided under the agent's lock, which follows the session's:
neither two processes nor many threads can exceed a limit together.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from agent_workbench import access, notices, presence
from agent_workbench.exceptions import (
    AgentNotFound,
    AgentUnavailable,
    AtCapacity,
    NotAnAgent,
    NotPermitted,
)
from agent_workbench.models import Agent, AgentQuerySet, Notice, PresenceStatus
from ai_chatbot import events
from ai_chatbot.conversation import handoff, hours
from ai_chatbot.conversation.people import Person
from ai_chatbot.models import (
    ChatSession,
    ChatSessionQuerySet,
    HandoffRecord,
    Outcome,
    Priority,
    Reason,
    Status,
)
from sse.process import outages

logger = logging.getLogger(__name__)

NEVER = datetime.min.replace(tzinfo=UTC)


def _turn(agent: Agent) -> tuple[Any, ...]:
    """Who was given a conversation longest ago is next."""
    return (agent.assigned_at or NEVER, agent.pk)


# ASSIGNMENT: in which order agents get those who wait. None: agents take them themselves.
WAYS: dict[str, Callable[[Agent], tuple[Any, ...]] | None] = {
    "off": None,
    "round_robin": _turn,
    "least_busy": lambda agent: (agent.live, *_turn(agent)),
}

# In one round of `drain`, each in a transaction of its own; what is left is for the next.
GIVEN_AT_ONCE = 20
# Of the line, by a round. Further behind is looked at when those in front are gone.
LOOKED_AT = 5000
# Others have raced us to an agent so often: the session waits for the next round.
TRIES = 3
REMEMBERED = 1000
# An agent from whom a conversation was taken does not get it back for so long, if others can.
SPARED = timedelta(minutes=1)


# --- By hand ----------------------------------------------------------------------------


def check_room(agent: Agent, session: ChatSession) -> Agent:
    """Whether the agent may have one more live conversation, this one, until the transaction
    ends; the agent as it is now.

    In a transaction that holds the session's lock; takes the agent's. An agent who has the
    session already needs no room. Raises AtCapacity, NotAnAgent.
    """
    locked = _lock(agent)
    if session.status == Status.MANUAL_LIVE and session.agent_id == agent.user_id:
        return locked
    if locked.live >= locked.max_sessions:
        raise AtCapacity(max_sessions=locked.max_sessions, sessions=locked.live)
    return locked


@transaction.atomic
def take_over(session_name: str, agent: Agent, *, force: bool = False) -> ChatSession:
    """Make the agent the owner; other agents who looked on are shut out of the streams.

    `force`: from another owner, too, and beyond the agent's limit; for supervisors. Raises
    AtCapacity, NotPermitted, and as ai_chatbot.conversation.handoff.take_over does.
    """
    if force:
        check_supervises(agent)
    session = handoff.lock(session_name)
    handoff.check_may_take(session, agent.person, force=force)
    agent = _lock(agent) if force else check_room(agent, session)
    return _give(session, agent, Reason.TAKEN_OVER, by=agent.person, force=force)


@transaction.atomic
def assign(session_name: str, agent_id: int, by: Agent) -> ChatSession:
    """A supervisor gives the session to the agent whose user has this id, also from another.

    Raises NotPermitted, SessionNotFound, SessionClosed, AgentNotFound, and AgentUnavailable for
    whoever is not on duty or has no room.
    """
    check_supervises(by)
    session = handoff.lock(session_name)
    agent = Agent.objects.filter(user_id=agent_id).first()
    if agent is None:
        raise AgentNotFound
    handoff.check_may_take(session, agent.person, force=True)
    if session.status == Status.MANUAL_LIVE and session.agent_id == agent_id:
        return session
    try:
        agent = _lock(agent)
    except NotAnAgent:
        raise AgentUnavailable(why="inactive") from None
    check_available(agent)
    return _give(session, agent, Reason.ASSIGNED, by=by.person, force=True)


def check_available(agent: Agent) -> None:
    """Whether somebody else may give the agent one more conversation, or ask that it be taken.

    Raises AgentUnavailable, which says why: `inactive`, `break`, `offline` or `full`, the first
    that is so.
    """
    if not agent.user.is_active:
        raise AgentUnavailable(why="inactive")
    if not presence.on_duty().filter(pk=agent.pk).exists():
        on_break = agent.status == PresenceStatus.BREAK
        raise AgentUnavailable(why="break" if on_break else "offline")
    live = agent.live
    if live >= agent.max_sessions:
        raise AgentUnavailable(why="full", max_sessions=agent.max_sessions, sessions=live)


@transaction.atomic
def requeue(session_name: str, by: Agent) -> ChatSession:
    """Put a live session back into the line. Raises SessionNotFound, NotLive, NotAssigned."""
    return requeue_locked(handoff.lock(session_name), by)


def requeue_locked(session: ChatSession, by: Agent) -> ChatSession:
    """`requeue` for a caller that holds the session's lock."""
    former = session.agent_id
    if session.status == Status.MANUAL_LIVE:
        handoff.check_owner(session, by.person)
    handoff.requeue_locked(session, Reason.REQUEUED, by.person)
    tell_former_owner(session, former, by.person)
    return session


@transaction.atomic
def prioritise(session_name: str, agent: Agent, priority: Priority) -> ChatSession:
    """Raises SessionNotFound, MayNotFollow, SessionClosed."""
    session = handoff.lock(session_name)
    access.check_may_follow(agent, session)
    return handoff.prioritise_locked(session, priority)


# --- By itself --------------------------------------------------------------------------


def drain() -> int:
    """Give those who wait to agents who are online and have room; how many were given.

    In the line's order; whom nobody fits blocks nobody behind, nor does a customer who is known
    to be gone, who keeps the place and is served when back. One round, of at most
    GIVEN_AT_ONCE. Rounds may run at the same time: they give no session twice and exceed no
    limit together, but each follows the line by itself.
    """
    way = WAYS[settings.ASSIGNMENT]
    if way is None or not (free := _Free(way)) or not hours.is_open():
        return 0
    line = _served().values_list("pk", "language", "skills", "former_agent_id", named=True)
    taken = _lately_taken()
    given = 0
    for waiting in line[:LOOKED_AT]:
        try:
            given += _serve(waiting, free, taken.get(waiting.pk, {}))
        except Exception as error:
            if outages.kind(error):
                raise
            _note_failure(waiting.pk)
        if given >= GIVEN_AT_ONCE or not free:
            break
    return given


def _served() -> ChatSessionQuerySet:
    """The line, without those who would keep an agent from others, and are not there."""
    return ChatSession.objects.pending().filter(customer_gone_at__isnull=True)


# Those that could not be given, and of which it has been said.
_failed: set[int] = set()


def _note_failure(pk: int) -> None:
    """The others do not wait for it, and agents can take it by hand."""
    if pk in _failed:
        return
    if len(_failed) >= REMEMBERED:
        _failed.clear()
    _failed.add(pk)
    logger.exception("session #%s cannot be assigned", pk)


# From whom a session was lately taken, by the user's id, and how.
Taken = dict[int | None, str]


def _serve(waiting: Any, free: _Free, taken: Taken) -> bool:
    for _ in range(TRIES):
        agent = free.best(waiting, taken)
        if agent is None:
            return False
        try:
            given_at = _assign_waiting(waiting.pk, agent)
        except _Moved:
            free.read()
            continue
        except _Held:
            break
        if given_at is not None:
            free.note(agent, given_at)
        return given_at is not None
    # None behind it gets its place: the next round tries again.
    if (agent := free.best(waiting, taken)) is not None:
        free.keep(agent)
    return False


class _Moved(Exception):
    """The agent is not any more as when it was chosen."""


class _Held(Exception):
    """Somebody is at the session right now."""


class _Free:
    """The agents who may be given a conversation, as they were when they were read."""

    def __init__(self, way: Callable[[Agent], tuple[Any, ...]]) -> None:
        self._way = way
        self._kept: Counter[int] = Counter()
        self.read()

    def read(self) -> None:
        self._agents = list(_candidates())
        # By what a session asks for: a long line asks for few different things.
        self._fitting: dict[tuple[str, frozenset[str]], list[Agent]] = {}

    def __bool__(self) -> bool:
        return any(map(self._has_room, self._agents))

    def _has_room(self, agent: Agent) -> bool:
        return agent.live + self._kept[agent.pk] < agent.max_sessions

    def best(self, waiting: Any, taken: Taken) -> Agent | None:
        need = _need(waiting)
        if need not in self._fitting:
            self._fitting[need] = [agent for agent in self._agents if _fits(agent, need)]

        def rank(agent: Agent) -> tuple[Any, ...]:
            former = agent.user_id == waiting.former_agent_id
            return (agent.user_id in taken, not former, *self._way(agent))

        able = (
            agent
            for agent in self._fitting[need]
            # Who has put it back, or from whom it was put back, is not sent it again at once.
            if self._has_room(agent) and taken.get(agent.user_id) != Outcome.REQUEUED
        )
        return min(able, key=rank, default=None)

    def note(self, agent: Agent, given_at: datetime) -> None:
        agent.live += 1
        agent.assigned_at = given_at

    def keep(self, agent: Agent) -> None:
        """For a session that cannot be given now: a place is left, for this round."""
        self._kept[agent.pk] += 1


def _candidates() -> AgentQuerySet:
    """Online, and there: who is busy goes on, and gets nothing new by itself."""
    return presence.on_duty().filter(status=PresenceStatus.ONLINE).with_room()


def _need(session: Any) -> tuple[str, frozenset[str]]:
    return _base(session.language), frozenset(skill.casefold() for skill in session.skills)


def _fits(agent: Agent, need: tuple[str, frozenset[str]]) -> bool:
    """Whether the agent speaks the language (who names none speaks all) and has the skills."""
    language, skills = need
    spoken = {_base(code) for code in agent.languages}
    return (not spoken or not language or language in spoken) and skills <= {
        skill.casefold() for skill in agent.skills
    }


def _base(code: str) -> str:
    """Whoever speaks en-GB understands en-US, whoever reads zh-Hans can help in zh."""
    return code.replace("_", "-").partition("-")[0].casefold()


def _lately_taken() -> dict[int, Taken]:
    """By waiting session: what was taken within SPARED."""
    found: dict[int, Taken] = {}
    records = HandoffRecord.objects.filter(
        ended_at__gt=timezone.now() - SPARED,
        outcome__in=[Outcome.AGENT_LOST, Outcome.AGENT_SILENT, Outcome.REQUEUED],
        session__status=Status.PENDING_MANUAL,
    )
    for session, agent, outcome in records.values_list("session_id", "agent_id", "outcome"):
        found.setdefault(session, {})[agent] = outcome
    return found


@transaction.atomic
def _assign_waiting(pk: int, chosen: Agent) -> datetime | None:
    """When it was given; None: the session does not wait any more, or its customer has gone.

    Raises _Moved: another agent may have become the better choice; _Held.
    """
    # Whoever has it locked may have it for long, and the others in line would wait as well.
    waiting = _served().filter(pk=pk)
    session = waiting.select_for_update(skip_locked=True).first()
    if session is None:
        if waiting.exists():
            raise _Held
        return None
    try:
        _lock(chosen)
    except NotAnAgent:
        raise _Moved from None
    agent = _candidates().select_related("user").filter(pk=chosen.pk).first()
    if (
        agent is None
        or (agent.live, agent.assigned_at) != (chosen.live, chosen.assigned_at)
        or not _fits(agent, _need(session))
    ):
        raise _Moved
    return _give(session, agent, Reason.ASSIGNED, by=None, force=False).taken_at


# --- What they share --------------------------------------------------------------------


def check_supervises(agent: Agent) -> None:
    """Raises NotPermitted."""
    if not agent.supervises:
        raise NotPermitted(role=agent.role)


def _lock(agent: Agent) -> Agent:
    """The active agent, with its lock. The key is not locked: rows that refer to the agent
    come into being meanwhile. Raises NotAnAgent."""
    locking = Agent.objects.select_for_update(of=("self",), no_key=True)
    locked = locking.active().select_related("user").filter(pk=agent.pk).first()
    if locked is None:
        raise NotAnAgent
    return locked


def _give(
    session: ChatSession, agent: Agent, reason: Reason, *, by: Person | None, force: bool
) -> ChatSession:
    """With the locks of the session and of the agent, who may have it."""
    former = session.agent_id if session.status == Status.MANUAL_LIVE else None
    if former == agent.user_id:
        return session
    handoff.take_over_locked(session, agent.person, reason=reason, by=by, force=force)
    if reason == Reason.ASSIGNED:
        Agent.objects.filter(pk=agent.pk).update(assigned_at=session.taken_at)
    tell_former_owner(session, former, by)
    access.end_streams_of_others(session)
    return session


def tell_former_owner(session: ChatSession, former: int | None, by: Person | None) -> None:
    """Unless it was the owner's own doing."""
    if former is None or (by is not None and by.id == former):
        return
    agent = Agent.objects.filter(user_id=former).first()
    if agent is not None:
        notices.tell(
            agent,
            Notice.Kind.SESSION_MOVED,
            session,
            by=by.name if by else None,
            owner=events.person(session.agent_id, session.agent_name),
        )
