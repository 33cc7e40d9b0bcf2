"""The watch over what follows when time passes: agents and customers go and come back, hours
end, somebody does not answer.

Every process of either service keeps it, and one at a time has it (sse.process.leases), so it
dies with no process. What is judged by its age is judged by time in which there was a watch.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from datetime import datetime

from django.conf import settings
from django.db import Error
from django.db.models import Exists, OuterRef, Q

from agent_workbench import announcements, assignment, notices, presence, transfers
from agent_workbench.models import Agent, AgentQuerySet, Notice, Role
from ai_chatbot import events
from ai_chatbot.conversation import absences, availability, duty, handoff, idle
from ai_chatbot.conversation.rounds import WATCH, DutyLost, Round
from ai_chatbot.models import ChatSession, Reason, Status
from sse.process import leases, outages
from sse.process.runtime import Runtime, get_runtime
from sse.process.supervisor import Pulse

logger = logging.getLogger(__name__)

ROUND_SECONDS = 1.0
# Changes come in bursts.
GATHER_SECONDS = 0.1
# How far an agent's silence has been brought up: ChatSession.silence_noticed.
WARNED, ALERTED = 1, 2


async def keep_watch(pulse: Pulse) -> None:
    """Look every second, and at once when `availability.bell` rings, for as long as the process
    serves."""
    availability.bell.hang()
    runtime = get_runtime()
    watcher = _Watcher(runtime.name)
    try:
        await _look_again_and_again(watcher, runtime, pulse)
    finally:
        watcher.stop()
        try:
            # Behind a round that is under way.
            await runtime.database(watcher.release, purpose="rounds")
        except Error as error:
            logger.info("the watch is not given up, and ends by itself: %s", error)


async def _look_again_and_again(watcher: _Watcher, runtime: Runtime, pulse: Pulse) -> None:
    while True:
        pulse(None)
        more = False
        try:
            more = await runtime.database(watcher.look, purpose="rounds")
        except Error as error:
            if not outages.kind(error):
                raise
            outages.note("the watch over who waits", error)
        else:
            # Health says so for as long as a part of it is not done.
            pulse(not _failing)
        await asyncio.sleep(GATHER_SECONDS)
        if not more:
            await availability.bell.wait(ROUND_SECONDS)


class _Watcher:
    """One that has the watch when nobody else has, until it is told to stop."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._stopped = threading.Event()

    def look(self) -> bool:
        try:
            if self._hold():
                return look(self._hold)
            # What fails is now another's to say.
            _failing.clear()
            return False
        finally:
            if self._stopped.is_set():
                # Whoever stopped it may not have waited for the end of the round.
                self.release()

    def _hold(self) -> bool:
        return not self._stopped.is_set() and leases.hold(WATCH, self._name)

    def stop(self) -> None:
        """From any thread: a round under way ends soon, and none begins."""
        self._stopped.set()

    def release(self) -> None:
        leases.release(WATCH, self._name)


def look(renew: Callable[[], bool] | None = None) -> bool:
    """One round; whether it left something for another to do at once.

    A part that fails does not stop the others: it is logged once until it succeeds again.
    Raises the database's errors where no part could do anything.
    """
    round = Round(renew)
    try:
        for name, part in PARTS.items():
            try:
                part(round)
            except DutyLost:
                raise
            except Exception as error:
                trouble = outages.kind(error)
                if trouble == "away":
                    raise
                if trouble:
                    outages.note(f"the watch over {name}", error)
                elif name not in _failing:
                    _failing.add(name)
                    logger.exception("the watch over %s fails, and is tried again", name)
            else:
                _failing.discard(name)
    except DutyLost:
        logger.info("the watch goes on in another process")
        _failing.clear()
        return False
    return round.more


_failing: set[str] = set()


def _note_agents(round: Round) -> None:
    presence.note_presence()
    for pk in presence.gone():
        presence.note_absence(pk)


# --- Agents who are gone ----------------------------------------------------------------


def _requeue_of_the_lost(round: Round) -> None:
    """Live conversations whose agent has had no stream for too long, or may not work any more.

    Whoever has just taken one over was there.
    """
    mine = Agent.objects.active().filter(user_id=OuterRef("agent_id"))
    lost = Q(~Exists(mine))
    if limit := round.before(settings.AGENT_ABSENCE_SECONDS):
        lost |= Q(~Exists(mine.filter(seen_at__gt=limit)), taken_at__lt=limit)
    live = ChatSession.objects.filter(lost, status=Status.MANUAL_LIVE)
    round.each("agents are lost", live.order_by("escalated_at"), _lose)


def _lose(session: ChatSession) -> None:
    _requeue(session, Reason.AGENT_LOST, Notice.Kind.SESSION_LOST)


def _agent_of(session: ChatSession) -> AgentQuerySet:
    """The one, or none if the profile has been deleted."""
    return Agent.objects.filter(user__chat_sessions=session)


def _requeue(session: ChatSession, reason: Reason, kind: Notice.Kind) -> None:
    former = _agent_of(session).first()
    handoff.requeue_locked(session, reason)
    if former is not None:
        notices.tell(former, kind, session)


# --- Agents who do not answer -----------------------------------------------------------


def _bring_up_silence(round: Round) -> None:
    """Of customers who are there and wait for their agent's answer."""
    warn = _limit(round, settings.AGENT_SILENT_WARN_SECONDS)
    alert = _limit(round, settings.AGENT_SILENT_ALERT_SECONDS)
    requeue = _limit(round, settings.AGENT_SILENT_REQUEUE_SECONDS)
    waits = Q(pk__in=[])
    if warn:
        waits |= Q(_waiting_since(warn), silence_noticed__lt=WARNED)
    if alert:
        waits |= Q(_waiting_since(alert), silence_noticed__lt=ALERTED)
    if requeue:
        waits |= _waiting_since(requeue)

    def bring_up(session: ChatSession) -> None:
        assert session.unanswered_since  # noqa: S101 - asked for by the query
        since = max(session.unanswered_since, session.taken_at or session.unanswered_since)
        if requeue and since < requeue:
            _requeue(session, Reason.AGENT_SILENT, Notice.Kind.SESSION_SILENT)
        elif alert and since < alert:
            above = Agent.objects.active().filter(role__in=[Role.SUPERVISOR, Role.ADMIN])
            others = [agent for agent in above if agent.user_id != session.agent_id]
            _notice(session, ALERTED, others, Notice.Kind.AGENT_SILENT)
        else:
            own = _agent_of(session)
            _notice(session, WARNED, list(own), Notice.Kind.CUSTOMER_WAITS)

    if warn or alert or requeue:
        live = ChatSession.objects.filter(
            waits, status=Status.MANUAL_LIVE, customer_gone_at__isnull=True
        )
        round.each("agents are silent", live.order_by("unanswered_since"), bring_up)


def _limit(round: Round, seconds: float) -> datetime | None:
    return round.before(seconds) if seconds else None


def _waiting_since(limit: datetime) -> Q:
    return Q(unanswered_since__lt=limit, taken_at__lt=limit)


def _notice(session: ChatSession, noticed: int, agents: list[Agent], kind: Notice.Kind) -> None:
    assert session.unanswered_since  # noqa: S101 - see above
    session.silence_noticed = noticed
    session.save(update_fields=["silence_noticed"])
    announcements.hold_agents()
    for agent in sorted(agents, key=lambda each: each.user_id):
        notices.tell(
            agent,
            kind,
            session,
            agent=events.person(session.agent_id, session.agent_name),
            unanswered_since=events.stamp(session.unanswered_since),
        )


# --- Who waits, and could be served -----------------------------------------------------


def _assign(round: Round) -> None:
    round.more |= assignment.drain() >= assignment.GIVEN_AT_ONCE


# Free places are filled early: the other parts may have many to deal with. What these put in
# line rings for a next round at once.
PARTS: dict[str, Callable[[Round], None]] = {
    "agents' presence": _note_agents,
    "assignment": _assign,
    "lost agents": _requeue_of_the_lost,
    "silent agents": _bring_up_silence,
    "customers' presence": absences.follow,
    "who is on duty": duty.follow,
    "transfers": transfers.expire,
    "idle conversations": idle.follow,
}
